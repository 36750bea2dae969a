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

// sightings tell how long something of another process has been there. By that
// process's own time alone, one whose clock is ahead could be waited for without
// end. The zero value is ready.
type sightings struct {
	once  sync.Once
	first *lru.Cache
}

// age is how long something has been there: by the time that it bears, or since
// it was first asked for here, whichever is longer.
func (s *sightings) age(what string, since, now time.Time) time.Duration {
	s.once.Do(func() { s.first = lru.New(maximumSightings) })
	first, known := s.first.Get(what)
	if !known {
		s.first.Add(what, now)
		first = now
	}
	return max(now.Sub(since), now.Sub(first.(time.Time)))
}
