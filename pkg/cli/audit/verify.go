// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

const (
	outputText = "text"
	outputJSON = "json"
)

func outputs() []string { return []string{outputText, outputJSON} }

// VerifyOptions are the flags of verify and what follows from them.
type VerifyOptions struct {
	connection *genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	// Files are paths, or "-" for standard input; none means the cluster.
	Files  []string
	Output string

	clock clock.Clock
	// Filled in by Complete, and nil for a file.
	client *cli.Client
}

// NewVerifyOptions returns the defaults.
func NewVerifyOptions(connection *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *VerifyOptions {
	return &VerifyOptions{connection: connection, IOStreams: streams, Output: outputText, clock: clock.RealClock{}}
}

func newVerifyCommand(options *VerifyOptions) *cobra.Command {
	command := &cobra.Command{
		Use:   "verify [-f FILE]...",
		Short: "Check the hash chain of a cluster, or of files",
		Long: `Check every event of the audit chain: that its content has the hash that it
names, that it names the hash of the event before, and that none is missing
between the first and the last. The first event that is wrong is named, and the
exit code is then 1.

A chain that was cut at its end is right up to there: keep the head that is
printed somewhere else, and compare. A file may begin at any event, as logs do
that were rotated; a cluster's chain has to begin at event 0.

Each component logs the events that it has appended itself. Give the logs of all
of them: they are put together in the order of the chain, and an event that is in
several is taken once.`,
		Example: `  # Check the chain of the cluster
  kubectl srenix audit verify

  # Check what a log shipper kept, with no cluster at all
  kubectl srenix audit verify -f audit.jsonl

  # Check what the components themselves have logged
  kubectl srenix audit verify -f apiserver-0.jsonl -f apiserver-1.jsonl -f executor.jsonl

  # Keep a copy, and check it
  kubectl srenix audit export | tee audit.jsonl | kubectl srenix audit verify -f -`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE:                  runE(options),
	}
	command.Flags().StringArrayVarP(&options.Files, "filename", "f", options.Files, `File of one event a line as JSON, or "-" for standard input; may be given several times. Without it, the cluster's chain is checked.`)
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "text" or "json".`)
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("completing --output: %v", err))
	}
	return command
}

// Complete makes the client, if there is no file.
func (o *VerifyOptions) Complete() (err error) {
	if len(o.Files) == 0 {
		o.client, err = cli.NewClient(o.connection, opsv1alpha1.SchemeGroupVersion, opsv1alpha1.AddToScheme, o.ErrOut)
	}
	return err
}

// Validate checks the flags.
func (o *VerifyOptions) Validate() error {
	if !slices.Contains(outputs(), o.Output) {
		return fmt.Errorf("unknown output format %q: it must be one of %s", o.Output, strings.Join(outputs(), ", "))
	}
	return nil
}

// report is what -o json prints.
type report struct {
	Valid bool `json:"valid"`
	// Count, First, Last and Head are of the events that verified.
	Count int64  `json:"count"`
	First int64  `json:"first"`
	Last  int64  `json:"last"`
	Head  string `json:"head"`
	// Bad is the first event that did not verify.
	Bad *badEvent `json:"bad,omitempty"`
}

type badEvent struct {
	Index   int64  `json:"index"`
	Problem string `json:"problem"`
}

// Run checks the chain and tells the result.
func (o *VerifyOptions) Run(command *cobra.Command) error {
	events := links(clusterEvents(command.Context(), o.client))
	var logs []iter.Seq2[opsv1alpha1.AuditEventSpec, error]
	for _, name := range o.Files {
		file, err := o.open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		logs = append(logs, audit.ReadJSONL(file))
	}
	switch len(logs) {
	case 0:
	case 1: // as it is: lines that are out of order, or there twice, are reported
		events = logs[0]
	default:
		events = audit.Merge(logs...)
	}
	var read atomic.Int64
	stop := cli.Progress(o.ErrOut, o.clock, func() string { return fmt.Sprintf("%d events read so far", read.Load()) })
	result, err := audit.Verify(counted(events, &read))
	stop()
	return o.tell(result, err)
}

func (o *VerifyOptions) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(o.In), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening the file of events: %w", err)
	}
	return file, nil
}

// counted counts what is handed on.
func counted(events iter.Seq2[opsv1alpha1.AuditEventSpec, error], count *atomic.Int64) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		for event, err := range events {
			count.Add(1)
			if !yield(event, err) {
				return
			}
		}
	}
}

// tell prints the result, and returns what is wrong with the chain.
func (o *VerifyOptions) tell(result audit.Result, err error) error {
	var bad *audit.BadLink
	broken := errors.As(err, &bad)
	switch {
	case broken:
		// Only what is wrong, and not who was reading when it showed.
		err = fmt.Errorf("the chain is broken at %w; %s", bad, before(result))
	case err != nil:
		return fmt.Errorf("verifying the chain: %w; %s", err, before(result))
	case result.Count == 0:
		err = errors.New("there are no audit events, so nothing was verified: a chain has at least its first event")
	}
	if o.Output == outputJSON {
		summary := report{Valid: err == nil, Count: result.Count, First: result.First, Last: result.Last, Head: result.Head}
		if broken {
			summary.Bad = &badEvent{Index: bad.Index, Problem: bad.Problem}
		}
		encoder := json.NewEncoder(o.Out)
		encoder.SetIndent("", "  ")
		return errors.Join(encoder.Encode(summary), err)
	}
	if err != nil {
		return err
	}
	if result.First > 0 {
		fmt.Fprintf(o.ErrOut, "Warning: the file begins with event %d: what came before was not verified.\n", result.First)
	}
	_, err = fmt.Fprintf(o.Out, "verified %d events, index %d to %d, head %s\n", result.Count, result.First, result.Last, result.Head)
	return err
}

func before(result audit.Result) string {
	if result.Count == 0 {
		return "no event before it verified"
	}
	if result.Count == 1 {
		return fmt.Sprintf("one event before it verified, index %d", result.First)
	}
	return fmt.Sprintf("%d events before it verified, index %d to %d", result.Count, result.First, result.Last)
}
