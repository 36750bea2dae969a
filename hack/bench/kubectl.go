// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/srenix/srenix/test/plane"
)

// kubectlRuns is how often each command is run, after one run that does not count.
const kubectlRuns = 7

// measureKubectl measures what a person waits for: kubectl from its start to its end,
// as it prints all findings, against kubectl as it prints all pods.
func (b *bench) measureKubectl(ctx context.Context, size int) error {
	if err := b.awaitFindings(ctx, b.cluster.troubles); err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	ours := &command{arguments: []string{"get", "findings", "--all-namespaces", "--output", "wide"}}
	all := &command{arguments: []string{"get", "pods", "--all-namespaces"}}
	start := &command{arguments: []string{"version", "--client"}}
	commands := []*command{ours, all, start}
	for i := range kubectlRuns + 1 {
		for _, c := range commands { // in turn, so that whatever else the machine does hits all
			if err := c.run(ctx, b.plane); err != nil {
				return err
			}
		}
		if i == 0 {
			for _, c := range commands {
				c.took = nil
			}
		}
	}
	if ours.lines != b.cluster.troubles+1 {
		return fmt.Errorf("kubectl printed %d lines of findings, want %d and a header", ours.lines, b.cluster.troubles)
	}
	if all.lines != size+1 {
		return fmt.Errorf("kubectl printed %d lines of pods, want %d and a header", all.lines, size)
	}
	value, baseline := milliseconds(median(ours.took)), milliseconds(median(all.took))
	b.report.add(result{
		Name: "kubectl get findings, all of them", Size: size, Value: value, Unit: "ms", Baseline: &baseline, Ratio: some(value / baseline),
		Note: fmt.Sprintf("medians of %d runs of kubectl from start to end, of %d findings with --output wide and of all pods; kubectl that asks nobody takes %.0f ms; at its peak kubectl had %.0f and %.0f MiB",
			kubectlRuns, b.cluster.troubles, milliseconds(median(start.took)), mebibytes(ours.peak), mebibytes(all.peak)),
	})
	return nil
}

// command is one call of kubectl that is made again and again.
type command struct {
	arguments []string

	took  []time.Duration
	lines int   // that it printed last
	peak  int64 // of its resident memory, in bytes
}

func (c *command) run(ctx context.Context, p *plane.Plane) error {
	process := p.KubectlCommand(ctx, p.Kubeconfig(), c.arguments...)
	began := time.Now()
	printed, _, err := plane.RunCommand(process)
	if err != nil {
		return err
	}
	c.took = append(c.took, time.Since(began))
	c.lines = strings.Count(printed, "\n")
	if usage, ok := process.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = max(c.peak, usage.Maxrss*1024)
	}
	return nil
}
