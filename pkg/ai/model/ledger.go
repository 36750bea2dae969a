// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Spent are tokens that were used at a time.
type Spent struct {
	At     time.Time
	Tokens int
}

// ledger holds calls to what they may use together in any hour.
type ledger struct {
	clock clock.PassiveClock
	limit int

	mu sync.Mutex
	// reserved are tokens of requests that are under way.
	reserved int
	// spent are those of the last hour, in the order in which they were entered.
	spent []Spent
}

// reserve sets tokens aside for a request, or tells when there may be enough: at once
// only when requests under way use less than they might.
func (l *ledger) reserve(tokens int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	kept, used := l.spent[:0], l.reserved
	for _, spent := range l.spent {
		if now.Sub(spent.At) < time.Hour {
			kept = append(kept, spent)
			used += spent.Tokens
		}
	}
	l.spent = kept
	if tokens > l.limit-used {
		refused := &Error{Outcome: Budget, detail: "of the hour"}
		for _, spent := range l.spent {
			if used -= spent.Tokens; tokens <= l.limit-used {
				refused.RetryAfter = time.Hour - now.Sub(spent.At)
				break
			}
		}
		return refused
	}
	l.reserved += tokens
	return nil
}

// settle enters what a request has used in the end.
func (l *ledger) settle(reserved, used int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved -= reserved
	if used > 0 {
		l.spent = append(l.spent, Spent{At: l.clock.Now(), Tokens: used})
	}
}

// restore enters what was used before.
func (l *ledger) restore(spent []Spent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent = append(l.spent, spent...)
}
