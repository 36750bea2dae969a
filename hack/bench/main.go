// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures srenix's aggregated server on a local control plane
// with synthetic clusters, each figure against a baseline that is measured in
// the same run. It prints a table of what was promised and what was measured; a
// figure that misses its reach is a result, not a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		err = runBare(ctx, os.Args[2:], os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:])
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	sizes []int
	// between are those of sizes at which only cheapRows are measured.
	between     []int
	rows        []string
	out         string
	chart       string
	inputs      []string
	profiles    string
	startRounds int
	events      int
}

// comparedSize is measured too where no size is as small.
const comparedSize = 1000

func parse(arguments []string) (options, error) {
	var o options
	var sizes, between, rows string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&sizes, "size", "1k,10k", "Numbers of pods, comma separated, as in 1k,10k,50k; 1k is measured too if none is as small.")
	flags.StringVar(&between, "between", "3k,10k", "Numbers of pods, comma separated, that are measured too where they lie between the others, as points of the curves: only "+strings.Join(cheapRows, ", ")+".")
	flags.StringVar(&rows, "rows", strings.Join(rowNames(), ","), "Rows to measure, comma separated.")
	flags.StringVar(&o.out, "out", "", "File to write the results to, as JSON.")
	flags.StringVar(&o.chart, "chart", "", "File to draw the curves into, as SVG: of this run, or of the JSON files given as arguments, in which case nothing is measured.")
	flags.StringVar(&o.profiles, "profiles", "", "Directory to write CPU and heap profiles of srenix's server to.")
	flags.IntVar(&o.startRounds, "starts", 3, "How often each program is started to measure cold starts.")
	flags.IntVar(&o.events, "audit-events", 0, "Measure approving once more with an audit chain of so many events, which takes some minutes for each 100,000; 0 leaves it as it is.")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "bench [flags]\nbench --chart FILE.svg RUN.json...")
		flags.PrintDefaults()
	}
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	var err error
	if o.sizes, err = parseSizes("--size", sizes); err != nil {
		return o, err
	}
	// What is said of a size is mostly said against a small one.
	if slices.Min(o.sizes) > comparedSize {
		o.sizes = append(o.sizes, comparedSize)
	}
	var points []int
	if between != "" {
		if points, err = parseSizes("--between", between); err != nil {
			return o, err
		}
	}
	for _, name := range strings.Split(rows, ",") {
		if name = strings.TrimSpace(name); !slices.Contains(rowNames(), name) {
			return o, fmt.Errorf("--rows: there is no %q; these exist: %s", name, strings.Join(rowNames(), ", "))
		}
		o.rows = append(o.rows, name)
	}
	smallest, largest := slices.Min(o.sizes), slices.Max(o.sizes)
	for _, size := range points {
		if smallest < size && size < largest && !slices.Contains(o.sizes, size) && slices.ContainsFunc(cheapRows, func(row string) bool { return slices.Contains(o.rows, row) }) {
			o.between = append(o.between, size)
		}
	}
	// A plane only grows.
	o.sizes = slices.Concat(o.sizes, o.between)
	slices.Sort(o.sizes)
	o.sizes = slices.Compact(o.sizes)
	if o.startRounds < 1 {
		return o, fmt.Errorf("--starts %d: must be at least 1", o.startRounds)
	}
	o.inputs = flags.Args()
	if len(o.inputs) > 0 && o.chart == "" {
		return o, fmt.Errorf("arguments %q: only --chart takes files", o.inputs)
	}
	return o, nil
}

// measures tells whether a row is measured at a size.
func (o *options) measures(row string, size int) bool {
	return slices.Contains(o.rows, row) && (slices.Contains(cheapRows, row) || !slices.Contains(o.between, size))
}

func parseSizes(name, list string) (sizes []int, err error) {
	for _, text := range strings.Split(list, ",") {
		size, err := parseSize(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

// parseSize reads a number of pods, with k for thousands.
func parseSize(text string) (int, error) {
	digits, thousands := strings.CutSuffix(strings.ToLower(strings.TrimSpace(text)), "k")
	size, err := strconv.Atoi(digits)
	if thousands {
		size *= 1000
	}
	if err != nil || size < smallestSize || size > largestSize {
		return 0, fmt.Errorf("%q must be between %d and %d pods, as 1k or 10000", text, smallestSize, largestSize)
	}
	return size, nil
}

func run(ctx context.Context, arguments []string) error {
	o, err := parse(arguments)
	if err != nil {
		return err
	}
	if len(o.inputs) > 0 {
		results, err := readResults(o.inputs)
		if err != nil {
			return err
		}
		return writeChart(o.chart, results)
	}
	b := &bench{options: o, progress: newProgress(os.Stderr), report: report{load: loadAverage()}}
	if err := b.measure(ctx); err != nil {
		return err
	}
	if err := b.report.print(os.Stdout); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	if o.out != "" {
		if err := writeResults(o.out, b.report.results); err != nil {
			return err
		}
	}
	if o.chart != "" {
		return writeChart(o.chart, b.report.results)
	}
	return nil
}

// progress tells on standard error what takes time.
type progress struct {
	to    io.Writer
	began time.Time
}

func newProgress(to io.Writer) *progress { return &progress{to: to, began: time.Now()} }

func (p *progress) say(format string, arguments ...any) {
	fmt.Fprintf(p.to, "[%5.1fs] %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, arguments...))
}
