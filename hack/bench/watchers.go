// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	watchers      = 100
	watcherWindow = 15 * time.Second
	// troubleShare is which part of the changes begins or ends a finding.
	troubleShare = 0.1
	// watcherMemory bounds what a watcher may cost, in bytes.
	watcherMemory = mebibyte
	// harmReach is how much a stuck client may delay others.
	harmReach = 1.5
	// deliveryDeadline is how long watchers may take to get what was sent.
	deliveryDeadline = time.Minute
)

// crowd is what one number of watchers led to.
type crowd struct {
	samples []sample
	rate    float64
	peak    int64   // bytes
	cpu     float64 // percent of a core
	// sent is how many findings came and went, together.
	sent    int
	streams []*stream
	// terminated is how many watches the server ended because nobody read.
	terminated float64
}

// measureWatchers makes the same changes under one watcher, under many, and under
// many with a client beside them that never reads.
func (b *bench) measureWatchers(ctx context.Context, size int) error {
	rate, capacity, err := b.loadRate(ctx)
	if err != nil {
		return err
	}
	var one, many, beside *crowd
	for _, phase := range []struct {
		crowd **crowd
		count int
		stuck bool
	}{{&one, 1, false}, {&many, watchers, false}, {&beside, watchers, true}} {
		if err := b.settle(ctx); err != nil {
			return err
		}
		if *phase.crowd, err = b.watch(ctx, rate, phase.count, phase.stuck); err != nil {
			return err
		}
	}
	b.reportDelivery(size, beside, capacity)
	with, without := beside.onTop(50), many.onTop(50)
	b.report.add(result{
		Name: "100 watchers and a stuck client, median on top of the pod's event", Size: size, Value: milliseconds(with), Unit: "ms", Baseline: some(milliseconds(without)),
		Ratio: some(float64(with) / float64(without)), Reach: fmt.Sprintf("%.1fx or %d ms", harmReach, loadedReach.Milliseconds()),
		Met: judged(beside.rate, with <= loadedReach || float64(with) <= harmReach*float64(without)),
		Note: fmt.Sprintf("at one of the watchers; the baseline is without the stuck client; with 1 watcher it is %.1f ms; p99 are %.0f, %.0f and %.0f ms with 1, with 100, and with 100 and a stuck one, at %.0f, %.0f and %.0f changes/s, and the server used %.0f, %.0f and %.0f %% of a core",
			milliseconds(one.onTop(50)), milliseconds(one.onTop(99)), milliseconds(many.onTop(99)), milliseconds(beside.onTop(99)),
			one.rate, many.rate, beside.rate, one.cpu, many.cpu, beside.cpu),
	})
	growth := max(many.peak, beside.peak) - one.peak
	b.report.add(result{
		Name: "100 watchers, growth of peak resident memory", Size: size, Value: mebibytes(growth), Unit: "MiB", Baseline: some(mebibytes(one.peak)),
		Reach: fmt.Sprintf("%d MiB", watchers*watcherMemory/mebibyte), Met: judged(beside.rate, growth <= watchers*watcherMemory),
		Note: "on top of the peak with 1 watcher, which is the baseline; the bound is 1 MiB a watcher",
	})
	return b.awaitFindings(ctx, b.cluster.troubles)
}

// reportDelivery tells whether every watcher got all that was sent.
func (b *bench) reportDelivery(size int, c *crowd, capacity string) {
	lost, cuts := 0, 0
	kinds := map[uint64]bool{}
	for _, s := range c.streams {
		if s.err != nil {
			b.progress.say("a watcher failed: %v", s.err)
		}
		lost += s.lost(c.sent)
		cuts += s.cuts
		kinds[s.sum] = true
	}
	same := "all got the same bytes"
	if len(kinds) > 1 {
		same = fmt.Sprintf("they got %d different streams of bytes", len(kinds))
	}
	b.report.add(result{
		Name: "100 watchers and a stuck client, events lost", Size: size, Value: float64(lost), Baseline: some(0.0), Reach: "0", Met: judged(c.rate, lost == 0 && len(kinds) == 1),
		Note: fmt.Sprintf("%d findings came or went, each seen by %d watchers through the aggregator, each on a connection of its own; %s; the server cut %d of them; the stuck client is at the server itself, which ended %.0f watches that nobody read; %.0f changes/s, of which a tenth began or ended a finding%s",
			c.sent, len(c.streams)+1, same, cuts, c.terminated, c.rate, capacity),
	})
}

// onTop is a percentile of how much later than the pod's events the findings' are.
func (c *crowd) onTop(percent float64) time.Duration {
	var onTop []time.Duration
	for _, s := range c.samples {
		onTop = append(onTop, s.onTop)
	}
	return percentile(onTop, percent)
}

// watch makes changes for a while under a number of watchers.
func (b *bench) watch(ctx context.Context, rate float32, count int, stuck bool) (*crowd, error) {
	sets := b.cluster.healthySets()
	toggled, last := sets[:len(sets)-1], sets[len(sets)-1]
	c := &crowd{}
	// Closed last, so that all of it is under the same load.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o, err := b.observe(ctx)
	if err != nil {
		return nil, err
	}
	defer o.stop()
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	if err := b.startStreams(ctx, c, &reading, count-1, last.name); err != nil {
		return nil, err
	}
	before, err := b.terminatedWatchers(ctx)
	if err != nil {
		return nil, err
	}
	if stuck {
		connection, err := b.openStuck(ctx, c.streams[0].version)
		if err != nil {
			return nil, err
		}
		defer connection.Close() //nolint:errcheck // Nothing was to be read from it.
	}
	pid := b.srenix.APIServer.PID()
	if err := resetPeak(pid); err != nil {
		return nil, err
	}
	usedBefore, err := cpuTime(pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	t := &toggles{bench: b, observer: o, sets: toggled}
	others := startLoad(ctx, rate*(1-troubleShare), b.restartOthers)
	troubles := startLoad(ctx, rate*troubleShare, t.change)
	err = pass(ctx, watcherWindow)
	troublesRate, troublesErr := troubles.stop()
	othersRate, othersErr := others.stop()
	if err := errors.Join(err, troublesErr, othersErr); err != nil {
		return nil, err
	}
	used, err := cpuTime(pid)
	if err != nil {
		return nil, err
	}
	c.cpu = 100 * (used - usedBefore).Seconds() / time.Since(began).Seconds()
	c.rate, c.samples = troublesRate+othersRate, t.samples
	if c.peak, err = peakMemory(pid); err != nil {
		return nil, err
	}
	if c.sent, err = t.finish(ctx, last); err != nil {
		return nil, err
	}
	deadline := time.AfterFunc(deliveryDeadline, cancel)
	reading.Wait()
	if !deadline.Stop() {
		b.progress.say("some watchers did not get all that was sent")
		return c, nil
	}
	after, err := b.terminatedWatchers(ctx)
	c.terminated = after - before
	return c, err
}

// startStreams starts watchers from now on.
func (b *bench) startStreams(ctx context.Context, c *crowd, reading *sync.WaitGroup, count int, last string) error {
	client, err := findingsClient(b.admin)
	if err != nil {
		return err
	}
	var list v1alpha1.FindingList
	if err := client.Get().Resource("findings").VersionedParams(&metav1.ListOptions{}, metav1.ParameterCodec).Do(ctx).Into(&list); err != nil {
		return fmt.Errorf("listing findings: %w", err)
	}
	for range count {
		s, err := b.newStream(&list, last)
		if err != nil {
			return err
		}
		c.streams = append(c.streams, s)
		reading.Go(func() { s.run(ctx) })
	}
	return nil
}

// terminatedWatchers is how many watches srenix's server has ended because
// nobody read them.
func (b *bench) terminatedWatchers(ctx context.Context) (float64, error) {
	body, err := get(ctx, b.directHTTP, b.direct.Host+"/metrics")
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	return sumMetric(body, "apiserver_terminated_watchers_total", nil), nil
}

// toggles put StatefulSets in trouble and back, in turn.
type toggles struct {
	bench    *bench
	observer *observer
	sets     []*workload

	mu      sync.Mutex
	samples []sample
	// troubled are those that are in trouble now.
	troubled map[*workload]bool
}

func (t *toggles) change(ctx context.Context, i int) error {
	w, trouble := t.sets[i%len(t.sets)], i/len(t.sets)%2 == 0
	s, err := t.bench.sampleChange(ctx, t.observer, w, trouble)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples = append(t.samples, s)
	if t.troubled == nil {
		t.troubled = map[*workload]bool{}
	}
	t.troubled[w] = trouble
	return nil
}

// finish ends every trouble, makes and ends the one that watchers stop at, and
// returns how many changes there were in all.
func (t *toggles) finish(ctx context.Context, last *workload) (sent int, err error) {
	sent = len(t.samples)
	change := func(w *workload, trouble bool) {
		if err == nil {
			_, err = t.bench.sampleChange(ctx, t.observer, w, trouble)
			sent++
		}
	}
	for w, trouble := range t.troubled {
		if trouble {
			change(w, false)
		}
	}
	change(last, true)
	change(last, false)
	return sent, err
}
