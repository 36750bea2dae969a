// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"sync"
	"time"

	"k8s.io/utils/lru"
)

// maximumSightings is more than there are claims and intents of others at a time.
const maximumSightings = 1000

// sightings tell since when this process has known of something. By another process's
// own time alone, one whose clock is ahead could be waited for without end. The zero
// value is ready.
type sightings struct {
	once        sync.Once
	first, last *lru.Cache
}

func (s *sightings) begin() {
	s.once.Do(func() { s.first, s.last = lru.New(maximumSightings), lru.New(maximumSightings) })
}

// again tells whether something was looked at here no longer than within ago, and notes
// that it is now.
func (s *sightings) again(what string, within time.Duration, now time.Time) bool {
	s.begin()
	last, known := s.last.Get(what)
	s.last.Add(what, now)
	return known && now.Sub(last.(time.Time)) <= within
}

// age is how long something has been there: by the time that it bears, or since
// it was first asked for here, whichever is longer.
func (s *sightings) age(what string, since, now time.Time) time.Duration {
	s.begin()
	first, known := s.first.Get(what)
	if !known {
		s.first.Add(what, now)
		first = now
	}
	return max(now.Sub(since), now.Sub(first.(time.Time)))
}

// forget has again begin anew.
func (s *sightings) forget(what string) {
	s.begin()
	s.last.Remove(what)
}
