// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

const (
	idleSamples   = 200
	loadedSamples = 300
	// samplesPerSecond leaves time between two samples for what the first caused.
	samplesPerSecond = 10
	idleReach        = 5 * time.Millisecond
	loadedReach      = 50 * time.Millisecond
)

// measureFreshness measures how much later than the pod's own event the
// finding's event is, while nothing else happens and while other pods change.
func (b *bench) measureFreshness(ctx context.Context, size int) (err error) {
	o, err := b.observe(ctx)
	if err != nil {
		return err
	}
	defer o.stop()
	samples, err := b.sampleChanges(ctx, o, idleSamples)
	if err != nil {
		return err
	}
	b.reportFreshness("freshness, idle", size, samples, some[bool], idleReach, "")

	asked, capacity, err := b.loadRate(ctx)
	if err != nil {
		return err
	}
	cuts := o.cuts.Load()
	l := startLoad(ctx, asked, b.restartOthers)
	samples, err = b.sampleChanges(ctx, o, loadedSamples)
	rate, loadErr := l.stop()
	if err := errors.Join(err, loadErr); err != nil {
		return err
	}
	b.reportFreshness("freshness, up to 500 changes/s", size, samples, func(met bool) *bool { return judged(rate, met) }, loadedReach, fmt.Sprintf("; at %.0f changes/s; watches were cut %d times%s", rate, o.cuts.Load()-cuts, capacity))
	return nil
}

// sampleChanges puts healthy StatefulSets in trouble and back, one after the other.
func (b *bench) sampleChanges(ctx context.Context, o *observer, count int) ([]sample, error) {
	limiter := flowcontrol.NewTokenBucketRateLimiter(samplesPerSecond, 1)
	defer limiter.Stop()
	sets := b.cluster.healthySets()
	var samples []sample
	for i := range count {
		if err := limiter.Wait(ctx); err != nil {
			return nil, err
		}
		s, err := b.sampleChange(ctx, o, sets[i/2%len(sets)], i%2 == 0)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
	return samples, nil
}

func (b *bench) reportFreshness(name string, size int, samples []sample, judge func(bool) *bool, reach time.Duration, more string) {
	var pod, onTop, apart []time.Duration
	for _, s := range samples {
		pod, onTop, apart = append(pod, s.pod), append(onTop, s.onTop), append(apart, s.apart)
	}
	p99 := percentile(onTop, 99)
	b.report.add(result{
		Name: name + ", p99 on top of the pod's event", Size: size, Value: milliseconds(p99), Unit: "ms", Baseline: some(milliseconds(percentile(pod, 99))),
		Reach: fmt.Sprintf("%d ms", reach.Milliseconds()), Met: judge(p99 <= reach),
		Note: fmt.Sprintf("the baseline is from the write to the pod's own event, p99; medians %.2f ms on top of %.2f ms; worst %.2f ms on top; two raw watchers see a pod's event %.2f ms apart at p99, which is this machine's noise; %d samples, findings through the aggregator%s",
			milliseconds(median(onTop)), milliseconds(median(pod)), milliseconds(percentile(onTop, 100)), milliseconds(percentile(apart, 99)), len(samples), more),
	})
}
