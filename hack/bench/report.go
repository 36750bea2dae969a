// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Names of results that the chart draws.
const (
	nameLiveHeap = "live heap"
	nameListTime = "LIST of %d findings"
	nameChange   = "CPU for one pod change, against bare informers"
)

// result is one line of the table.
type result struct {
	Name string `json:"name"`
	// Size is the number of pods.
	Size  int     `json:"size"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Baseline is in the same unit; absent where there is none.
	Baseline *float64 `json:"baseline,omitempty"`
	Ratio    *float64 `json:"ratio,omitempty"`
	// Reach is what was promised, and Met whether it was kept; both are absent
	// from results that only explain others.
	Reach string `json:"reach,omitempty"`
	Met   *bool  `json:"met,omitempty"`
	// Note tells how it was measured, where that is not plain.
	Note string `json:"note,omitempty"`

	// section is the place of its measurement in groups.
	section int
}

// report collects results and what they were measured on.
type report struct {
	results                          []result
	kubernetesVersion, srenixVersion string
	podJSON, podProtobuf             int
	// load is the machine's load average when the run began: with what others do
	// on it, latencies mean little.
	load string
	// section is that of what is measured now.
	section int
}

func some[T any](value T) *T { return &value }

func (r *report) add(one result) {
	one.section = r.section
	r.results = append(r.results, one)
}

// find returns a result that was added, or nil.
func (r *report) find(name string, size int) *result {
	for i := range r.results {
		if r.results[i].Name == name && r.results[i].Size == size {
			return &r.results[i]
		}
	}
	return nil
}

func (r *report) print(to io.Writer) error {
	model, memory := machine()
	fmt.Fprintf(to, "%s, %d cores, %s of memory; %s; Kubernetes %s; srenix %s; load average %s before\n",
		model, runtime.NumCPU(), memory, runtime.Version(), r.kubernetesVersion, r.srenixVersion, r.load)
	fmt.Fprintf(to, "A pod has %d bytes in JSON and %d in protobuf.\n\n", r.podJSON, r.podProtobuf)
	sorted := slices.Clone(r.results)
	order := map[string]int{}
	for i, one := range sorted {
		if _, seen := order[one.Name]; !seen {
			order[one.Name] = i
		}
	}
	slices.SortStableFunc(sorted, func(a, b result) int {
		return cmp.Or(a.section-b.section, order[a.Name]-order[b.Name])
	})
	table := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tPODS\tVALUE\tUNIT\tBASELINE\tRATIO\tREACH\tMET")
	for _, one := range sorted {
		met, reach, ratio := "-", "-", "-"
		if one.Met != nil {
			met = map[bool]string{true: "yes", false: "NO"}[*one.Met]
		}
		if one.Reach != "" {
			reach = one.Reach
		}
		if one.Ratio != nil {
			ratio = strconv.FormatFloat(*one.Ratio, 'f', 2, 64) + "x"
		}
		baseline := "-"
		if one.Baseline != nil {
			baseline = number(*one.Baseline)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", one.Name, one.Size, number(one.Value), one.Unit, baseline, ratio, reach, met)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(to, "\nNotes:")
	for _, one := range sorted {
		if one.Note != "" {
			fmt.Fprintf(to, "- %s, %s: %s.\n", one.Name, pods(one.Size), one.Note)
		}
	}
	return nil
}

// number writes three significant digits, and all of an integer part.
func number(f float64) string {
	switch {
	case f >= 100 || f == 0:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// machine tells the processor's model and the size of memory, as Linux has them.
func machine() (model, memory string) {
	field := func(file, name string) string {
		content, err := os.ReadFile(file)
		if err != nil {
			return "unknown"
		}
		for line := range strings.Lines(string(content)) {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
				return strings.TrimSpace(value)
			}
		}
		return "unknown"
	}
	memory = field("/proc/meminfo", "MemTotal")
	if kib, err := strconv.ParseInt(strings.TrimSuffix(memory, " kB"), 10, 64); err == nil {
		memory = fmt.Sprintf("%.0f GiB", float64(kib)/mebibyte)
	}
	return field("/proc/cpuinfo", "model name"), memory
}

// loadAverage is that of the last minute.
func loadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	last, _, _ := strings.Cut(string(content), " ")
	return last
}

func writeResults(file string, results []result) error {
	content, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	if err := os.WriteFile(file, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// readResults reads the results of runs; where several have the same, the last counts.
func readResults(files []string) ([]result, error) {
	var all []result
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading results: %w", err)
		}
		var results []result
		if err := json.Unmarshal(content, &results); err != nil {
			return nil, fmt.Errorf("reading results in %s: %w", file, err)
		}
		for _, one := range results {
			all = slices.DeleteFunc(all, func(r result) bool { return r.Name == one.Name && r.Size == one.Size })
			all = append(all, one)
		}
	}
	return all, nil
}
