// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// breaker leaves an endpoint alone that failed several times in a row. After a pause
// one call tries whether it is back.
type breaker struct {
	clock     clock.PassiveClock
	threshold int
	pause     time.Duration

	mu       sync.Mutex
	failures int
	// until is when the pause ends; zero while the breaker is closed.
	until time.Time
	// trying tells that a call is under way that decides how it goes on.
	trying bool
}

// enter tells whether a call may go ahead. If so, leave must be called once.
func (b *breaker) enter() (leave func(Outcome), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := b.until.Sub(b.clock.Now()); !b.until.IsZero() && left > 0 {
		return nil, &Error{Outcome: BreakerOpen, RetryAfter: left}
	}
	trial := !b.until.IsZero()
	if trial && b.trying {
		return nil, &Error{Outcome: BreakerOpen}
	}
	b.trying = trial
	return func(outcome Outcome) { b.leave(trial, outcome) }, nil
}

func (b *breaker) leave(trial bool, outcome Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if trial {
		b.trying = false
	} else if !b.until.IsZero() {
		return // it opened meanwhile, and the trial decides
	}
	switch outcome {
	case Timeout, ServerError, Unauthorized, Rejected, Unreachable:
		if b.failures++; trial || b.failures >= b.threshold {
			b.until = b.clock.Now().Add(b.pause)
		}
	case Budget, Canceled, NoKey, RateLimited:
		// They tell nothing of the endpoint's health.
	default:
		b.failures, b.until = 0, time.Time{}
	}
}

func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.until.IsZero()
}
