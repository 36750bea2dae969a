// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
)

// figures are of one program, each the median over its starts.
type figures struct {
	start    time.Duration
	liveHeap int64 // bytes
	peak     int64 // bytes
}

// sizeStarts are the figures of srenix's server and of the bare program at one size.
type sizeStarts struct {
	size       int
	ours, bare figures
}

const (
	coldStartReach = 1.3
	processReach   = time.Second
	memoryReach    = 0.35
	residentReach  = 0.8
)

// measureEmptyStart measures what the process itself takes: a start on a plane
// without a single workload.
func (b *bench) measureEmptyStart(ctx context.Context) error {
	b.progress.say("measuring starts on the empty plane")
	var starts []time.Duration
	for range b.options.startRounds {
		if err := b.stopServer(); err != nil {
			return err
		}
		began := time.Now()
		if err := b.startServer(ctx); err != nil {
			return err
		}
		starts = append(starts, time.Since(began))
	}
	b.emptyStart = median(starts)
	return nil
}

// measureStarts starts both programs in turn and measures the time until each is
// complete, its peak of resident memory, and its live heap.
func (b *bench) measureStarts(ctx context.Context, size int) error {
	var ours, bare []figures
	for round := range b.options.startRounds {
		b.progress.say("%s: start %d of %d of each program", pods(size), round+1, b.options.startRounds)
		if err := b.stopServer(); err != nil {
			return err
		}
		f, err := b.measureBareStart(ctx)
		if err != nil {
			return err
		}
		bare = append(bare, f)
		if f, err = b.measureOurStart(ctx); err != nil {
			return err
		}
		ours = append(ours, f)
	}
	if err := b.profileStart(ctx, size); err != nil {
		return err
	}
	b.started = append(b.started, sizeStarts{size: size, ours: medians(ours), bare: medians(bare)})
	b.reportStarts()
	return nil
}

// profileStart writes a CPU profile of one more start, if profiles are wanted. It
// begins with what can be asked first.
func (b *bench) profileStart(ctx context.Context, size int) error {
	if b.options.profiles == "" {
		return nil
	}
	if err := b.stopServer(); err != nil {
		return err
	}
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error {
		var last error
		err := wait.PollUntilContextTimeout(groupContext, pollInterval, readyDeadline, true, func(ctx context.Context) (bool, error) {
			last = b.profile(ctx, fmt.Sprintf("%d-coldstart-cpu.pb.gz", size), "profile?seconds=5")
			return last == nil, nil //nolint:nilerr // Asked again until the deadline.
		})
		if err != nil {
			return errors.Join(err, last)
		}
		return nil
	})
	return errors.Join(b.startServer(ctx), group.Wait())
}

func (b *bench) measureBareStart(ctx context.Context) (f figures, err error) {
	p, err := b.startBare(ctx)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	f.start = p.syncedAfter
	if f.peak, err = peakMemory(p.pid()); err != nil {
		return f, err
	}
	f.liveHeap, err = p.liveHeap()
	return f, err
}

// measureOurStart leaves the server running.
func (b *bench) measureOurStart(ctx context.Context) (f figures, err error) {
	began := time.Now()
	if err := b.startServer(ctx); err != nil {
		return f, err
	}
	f.start = time.Since(began)
	if f.peak, err = peakMemory(b.srenix.APIServer.PID()); err != nil {
		return f, err
	}
	// The views over proposals and the like are done with what the start caused.
	if err := b.settle(ctx); err != nil {
		return f, err
	}
	peak, err := peakMemory(b.srenix.APIServer.PID())
	if err != nil {
		return f, err
	}
	f.peak = max(f.peak, peak)
	f.liveHeap, err = b.liveHeap(ctx)
	return f, err
}

func medians(all []figures) figures {
	var starts []time.Duration
	var heaps, peaks []int64
	for _, f := range all {
		starts, heaps, peaks = append(starts, f.start), append(heaps, f.liveHeap), append(peaks, f.peak)
	}
	return figures{start: median(starts), liveHeap: medianOf(heaps), peak: medianOf(peaks)}
}

// reportStarts adds the rows of the size that was measured last.
func (b *bench) reportStarts() {
	now := b.started[len(b.started)-1]
	if b.selected(rowColdStart) {
		ours, bare := now.ours.start, now.bare.start
		allowed := time.Duration(coldStartReach*float64(bare)) + processReach
		note := "process start to readyz and the right number of findings, asked of the server itself"
		if b.emptyStart > 0 {
			note += fmt.Sprintf("; %d ms on an empty plane", b.emptyStart.Milliseconds())
		}
		b.report.add(result{
			Name: "cold start", Size: now.size, Value: milliseconds(ours), Unit: "ms", Baseline: some(milliseconds(bare)),
			Ratio: some(float64(ours) / float64(bare)), Reach: fmt.Sprintf("%.1fx + 1 s", coldStartReach), Met: some(ours <= allowed), Note: note,
		})
	}
	if b.selected(rowMemory) {
		b.report.add(result{
			Name: nameLiveHeap, Size: now.size, Value: mebibytes(now.ours.liveHeap), Unit: "MiB", Baseline: some(mebibytes(now.bare.liveHeap)),
			Ratio: some(float64(now.ours.liveHeap) / float64(now.bare.liveHeap)), Note: "after garbage collection",
		})
		if first := b.started[0]; first.size < now.size {
			perPod := func(before, after figures) float64 {
				return float64(after.liveHeap-before.liveHeap) / float64(now.size-first.size) / 1024
			}
			ours, bare := perPod(first.ours, now.ours), perPod(first.bare, now.bare)
			b.report.add(result{
				Name: "memory per pod, growth of live heap", Size: now.size, Value: ours, Unit: "KiB", Baseline: some(bare),
				Ratio: some(ours / bare), Reach: fmt.Sprintf("%.2fx", memoryReach), Met: some(ours <= memoryReach*bare),
				Note: "since " + pods(first.size),
			})
		}
	}
	if b.selected(rowResident) {
		ours, bare := now.ours.peak, now.bare.peak
		r := result{
			Name: "resident memory, peak of the cold start", Size: now.size, Value: mebibytes(ours), Unit: "MiB", Baseline: some(mebibytes(bare)),
			Ratio: some(float64(ours) / float64(bare)), Note: "VmHWM",
		}
		// The figure is of 10k pods; below, the process itself outweighs the pods.
		if now.size >= 10_000 {
			r.Reach, r.Met = fmt.Sprintf("%.1fx", residentReach), some(float64(ours) <= residentReach*float64(bare))
		}
		b.report.add(r)
	}
}
