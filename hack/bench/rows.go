// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Names of rows, for --rows.
const (
	rowColdStart = "coldstart"
	rowMemory    = "memory"
	rowResident  = "resident"
	rowList      = "list"
	rowKubectl   = "kubectl"
	rowFreshness = "freshness"
	rowCPU       = "cpu"
	rowSteady    = "steady"
	rowApprove   = "approve"
	rowWatchers  = "watchers"
)

// cheapRows take no more than a few starts of the programs.
var cheapRows = []string{rowColdStart, rowMemory, rowResident, rowList}

// group is one measurement, at one size, of one or more rows.
type group struct {
	rows    []string
	measure func(b *bench, ctx context.Context, size int) error
}

// groups are in the order in which they are measured: what wants fresh processes
// comes first, what leaves something behind comes last.
func groups() []group {
	return []group{
		{[]string{rowColdStart, rowMemory, rowResident}, (*bench).measureStarts},
		{[]string{rowList}, (*bench).measureList},
		{[]string{rowKubectl}, (*bench).measureKubectl},
		{[]string{rowFreshness}, (*bench).measureFreshness},
		{[]string{rowCPU}, (*bench).measureCPU},
		{[]string{rowSteady}, (*bench).measureSteady},
		{[]string{rowApprove}, (*bench).measureApprove},
		{[]string{rowWatchers}, (*bench).measureWatchers},
	}
}

func rowNames() []string {
	var names []string
	for _, g := range groups() {
		names = append(names, g.rows...)
	}
	return names
}

// selected tells whether a row is measured at all.
func (b *bench) selected(row string) bool { return slices.Contains(b.options.rows, row) }

// measure brings everything up, measures the selected rows at every size, and
// takes everything down, whatever happened.
func (b *bench) measure(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "srenix-bench-")
	if err != nil {
		return fmt.Errorf("making a directory for the plane: %w", err)
	}
	defer func() {
		b.progress.say("taking everything down")
		err = errors.Join(err, b.close(), os.RemoveAll(dir))
	}()
	if err := b.setUp(ctx, filepath.Join(dir, "plane")); err != nil {
		return err
	}
	if b.selected(rowColdStart) {
		if err := b.measureEmptyStart(ctx); err != nil {
			return err
		}
	}
	for _, size := range b.options.sizes {
		if err := b.measureSize(ctx, size); err != nil {
			return fmt.Errorf("at %d pods: %w", size, err)
		}
	}
	return nil
}

func (b *bench) measureSize(ctx context.Context, size int) error {
	// Filling is faster without a reader, and every size gets a fresh process.
	if err := b.stopServer(); err != nil {
		return err
	}
	b.progress.say("%s: filling the cluster", pods(size))
	if err := b.cluster.grow(ctx, size); err != nil {
		return err
	}
	if err := b.cluster.setTroubles(ctx, size/100); err != nil {
		return err
	}
	b.progress.say("%s: filled; a pod has %d bytes in JSON and %d in protobuf", pods(size), b.cluster.podJSON, b.cluster.podProtobuf)
	b.report.podJSON, b.report.podProtobuf = b.cluster.podJSON, b.cluster.podProtobuf
	if err := b.startServer(ctx); err != nil {
		return err
	}
	for i, g := range groups() {
		b.report.section = i
		if !slices.ContainsFunc(g.rows, func(row string) bool { return b.options.measures(row, size) }) {
			continue
		}
		if err := b.awaitAggregated(ctx); err != nil {
			return err
		}
		b.progress.say("%s: measuring %v", pods(size), g.rows)
		if err := g.measure(b, ctx, size); err != nil {
			return fmt.Errorf("measuring %v: %w", g.rows, err)
		}
		if err := b.profile(ctx, fmt.Sprintf("%d-%s-heap.pb.gz", size, g.rows[0]), "heap?gc=1"); err != nil {
			return err
		}
	}
	return nil
}

// pods writes a number of pods.
func pods(size int) string {
	if size%1000 == 0 {
		return fmt.Sprintf("%dk pods", size/1000)
	}
	return fmt.Sprintf("%d pods", size)
}

// settle waits until the server has little to do, so that what one measurement
// caused does not count in the next. Its end by deadline is no error: the next
// figure then shows it.
func (b *bench) settle(ctx context.Context) error {
	const window, deadline, quiet = time.Second, 15 * time.Second, 0.03
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		used, err := cpuOver(ctx, b.srenix.APIServer.PID(), window)
		if err != nil {
			return err
		}
		if used.Seconds() < quiet*window.Seconds() {
			return nil
		}
	}
	return nil
}
