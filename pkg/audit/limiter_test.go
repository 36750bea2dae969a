// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestLimiterBoundsEachSourceByItself(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	limiter := NewLimiter(60, clock)
	for i := range 60 {
		if wait := limiter.Take("alice"); wait != 0 {
			t.Fatalf("event %d has to wait %s", i, wait)
		}
	}
	if wait := limiter.Take("alice"); wait <= 0 || wait > time.Minute {
		t.Errorf("the next one has to wait %s, want up to a minute", wait)
	}
	if wait := limiter.Take("bob"); wait != 0 {
		t.Errorf("somebody else has to wait %s", wait)
	}
	clock.SetTime(clock.Now().Add(time.Minute))
	if wait := limiter.Take("alice"); wait != 0 {
		t.Errorf("a minute later there is a wait of %s", wait)
	}
	if wait := limiter.Take("alice"); wait == 0 {
		t.Error("being refused gave something back")
	}
}

func TestLimiterIsBoundedAndDoesNotMindAClockSetBack(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	limiter := NewLimiter(1, clock)
	limiter.Take("alice")
	clock.SetTime(clock.Now().Add(-24 * time.Hour))
	if wait := limiter.Take("alice"); wait <= 0 || wait > time.Hour {
		t.Errorf("after the clock was set back the wait is %s", wait)
	}
	for i := range 2 * limiterSize {
		limiter.Take(fmt.Sprint(i))
	}
	if n := limiter.buckets.Len(); n > limiterSize {
		t.Errorf("%d sources are remembered", n)
	}
}
