// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// limiterSize bounds for how many sources a Limiter remembers what they did. A
// source that is forgotten begins anew.
const limiterSize = 4096

// Limiter bounds how fast one source makes the chain grow by what nothing else
// bounds: minting tokens, and being refused. It is kept in the memory of each
// process, because it guards capacity and decides nothing.
type Limiter struct {
	every rate.Limit
	burst int
	clock clock.PassiveClock

	mu      sync.Mutex
	buckets *lru.Cache
}

// NewLimiter returns a limiter of perHour events an hour for each source, all of
// which may come at once.
func NewLimiter(perHour int, clock clock.PassiveClock) *Limiter {
	return &Limiter{
		every: rate.Limit(float64(perHour) / time.Hour.Seconds()), burst: perHour,
		clock: clock, buckets: lru.New(limiterSize),
	}
}

// Take counts an event of a source. It returns zero, or how long the source has
// to wait for the next one, in which case nothing was counted.
func (l *Limiter) Take(source string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket, known := l.buckets.Get(source)
	if !known {
		bucket = rate.NewLimiter(l.every, l.burst)
		l.buckets.Add(source, bucket)
	}
	now := l.clock.Now()
	reservation := bucket.(*rate.Limiter).ReserveN(now, 1)
	if !reservation.OK() {
		return time.Hour
	}
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}
