// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// loadWriters is how many changes are on their way at a time.
	loadWriters = 16
	// contractRate is how many changes a second the contract speaks of.
	contractRate = 500
	// unlimitedRate is more than any plane can take.
	unlimitedRate  = 1e6
	capacityWindow = 3 * time.Second
	capacityShare  = 0.7
)

// load makes changes at a steady rate until it is stopped.
type load struct {
	began   time.Time
	cancel  context.CancelFunc
	group   *errgroup.Group
	changes atomic.Int64
}

// startLoad calls change with 0, 1, 2 and so on, so many times a second, as long
// as the machine keeps up.
func startLoad(ctx context.Context, rate float32, change func(ctx context.Context, i int) error) *load {
	loading, cancel := context.WithCancel(ctx)
	l := &load{began: time.Now(), cancel: cancel}
	limiter := flowcontrol.NewTokenBucketRateLimiter(rate, max(1, int(rate/50)))
	var next atomic.Int64
	l.group, loading = errgroup.WithContext(loading)
	for range loadWriters {
		l.group.Go(func() error {
			for limiter.Wait(loading) == nil && loading.Err() == nil {
				// A change that was begun is finished, so that the state stays known.
				if err := change(ctx, int(next.Add(1)-1)); err != nil {
					return err
				}
				l.changes.Add(1)
			}
			return nil
		})
	}
	return l
}

// stop ends the load and returns how many changes a second there were.
func (l *load) stop() (rate float64, err error) {
	l.cancel()
	err = l.group.Wait()
	return float64(l.changes.Load()) / time.Since(l.began).Seconds(), err
}

// loadRate returns how many changes a second to make: those of the contract, or,
// on a machine that is busy with fewer, a share of what it can do. A control plane
// that is saturated delays everything, whatever the server under test does.
func (b *bench) loadRate(ctx context.Context) (rate float32, note string, err error) {
	l := startLoad(ctx, unlimitedRate, b.restartOthers)
	err = pass(ctx, capacityWindow)
	capacity, loadErr := l.stop()
	if err := errors.Join(err, loadErr); err != nil {
		return 0, "", fmt.Errorf("measuring how many changes the plane can take: %w", err)
	}
	if rate = float32(capacityShare * capacity); rate < contractRate {
		return rate, fmt.Sprintf("; %d changes/s were asked for, and this machine is busy with %.0f: it got %.0f %% of them", contractRate, capacity, 100*capacityShare), nil
	}
	return contractRate, "", nil
}

// judged tells whether a reach was met under a load of a rate. What holds under less
// than the contract's says nothing of the contract's; what fails already then, does.
func judged(rate float64, met bool) *bool {
	if met && rate < 0.98*contractRate {
		return nil
	}
	return &met
}

// restartOthers makes a change of one of the pods that no finding is about.
func (b *bench) restartOthers(ctx context.Context, i int) error {
	return b.cluster.restart(ctx, b.cluster.others[i%len(b.cluster.others)])
}

// burst makes count changes at a rate, and returns how long that took.
func (b *bench) burst(ctx context.Context, count int, rate float32) (time.Duration, error) {
	began := time.Now()
	limiter := flowcontrol.NewTokenBucketRateLimiter(rate, max(1, int(rate/50)))
	defer limiter.Stop()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loadWriters)
	for i := range count {
		if err := limiter.Wait(ctx); err != nil {
			break // A change has failed, and the group tells why.
		}
		group.Go(func() error { return b.restartOthers(ctx, i) })
	}
	err := group.Wait()
	return time.Since(began), err
}
