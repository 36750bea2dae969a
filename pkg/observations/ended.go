// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"cmp"
	"slices"
	"time"
)

// end is when a condition was over. What is stored of it from before then says
// nothing of a condition that began since.
type end struct {
	at     time.Time
	number int // of all ends
}

// numbered is an end as it was once; another may have taken its place.
type numbered struct {
	key    string
	number int
}

// end notes that a condition is over by now, stored or not: it may be on its way.
func (s *Store) end(key string) {
	at := s.clock.Now()
	for _, since := range []time.Time{s.since(s.held[key]), s.stored[key].since} {
		if since.After(at) { // by the clock of another replica
			at = since
		}
	}
	delete(s.held, key)
	delete(s.retracted, key)
	s.ends++
	s.ended[key] = end{at: at, number: s.ends}
	if _, stored := s.stored[key]; !stored {
		s.forgettable = append(s.forgettable, numbered{key, s.ends})
	}
	if len(s.forgettable) > 2*(len(s.ended)+capacity) {
		s.orderEnds() // most are outdated
	}
}

// orderEnds finds anew which ends can be forgotten.
func (s *Store) orderEnds() {
	s.forgettable = s.forgettable[:0]
	for key, end := range s.ended {
		if _, stored := s.stored[key]; !stored {
			s.forgettable = append(s.forgettable, numbered{key, end.number})
		}
	}
	slices.SortFunc(s.forgettable, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
}

// forgetAnEnd drops the oldest end of what is not stored. Should it be on its way
// nevertheless, it comes back as an entry that nobody observes.
func (s *Store) forgetAnEnd() {
	for len(s.forgettable) > 0 {
		oldest := s.forgettable[0]
		s.forgettable = s.forgettable[1:]
		if s.ended[oldest.key].number == oldest.number {
			delete(s.ended, oldest.key)
			return
		}
	}
}
