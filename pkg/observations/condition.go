// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"slices"
	"time"

	"github.com/srenix/srenix/pkg/live"
)

// condition is one that holds, with all times that were said of it.
type condition struct {
	live.Observation
	// seen is when the engine saw it first, by a clock that nobody sets: the time of
	// day without Store.offset.
	seen time.Time
	// told is what an object told, and kept what the ConfigMap says; zero if nothing.
	told, kept time.Time
}

// add takes over what a sighting says that is not known yet.
func (c *condition) add(s live.Sighting, offset time.Duration) {
	if c.seen.IsZero() && s.Since.Before(s.Seen) && (s.Told.IsZero() || s.Since.Before(s.Told)) {
		c.kept = s.Since.UTC() // as was recalled
	}
	c.Observation = s.Observation
	c.seen = earliest(c.seen, s.Seen.UTC().Add(-offset))
	c.told = earliest(c.told, s.Told.UTC())
}

// earliest leaves out what is zero.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, at := range times {
		if first.IsZero() || !at.IsZero() && at.Before(first) {
			first = at
		}
	}
	return first
}

// since is when a condition holds since.
func (s *Store) since(c condition) time.Time {
	return earliest(s.sawAt(c), c.told, c.kept)
}

// sawAt is when a condition was seen first, by the time of day as it is now.
func (s *Store) sawAt(c condition) time.Time {
	if c.seen.IsZero() {
		return time.Time{}
	}
	return c.seen.Add(s.offset).Round(time.Second)
}

// noticeable is how far the clock has to be set for times to move with it. Two
// readings of it are never as far apart.
const noticeable = time.Second

// retraction is what must have been written of a condition and is not so.
type retraction struct {
	times  []time.Time
	number int // of all retractions
}

func (r retraction) has(at time.Time) bool { return slices.ContainsFunc(r.times, at.Equal) }

// watchClock moves the times of what was seen with the clock, if it was set: how long
// ago that was tells a clock that nobody sets.
func (s *Store) watchClock() {
	now := s.clock.Now()
	offset := now.Round(0).Sub(s.started.Round(0)) - s.elapsed()
	if (offset - s.offset).Abs() < noticeable {
		return
	}
	before := map[string]time.Time{}
	for key, known := range s.held {
		before[key] = s.sawAt(known)
	}
	s.offset = offset
	for key, known := range s.held {
		was := earliest(before[key], known.told, known.kept)
		if wrong := s.retracted[key]; known.kept.Equal(before[key]) || wrong.has(known.kept) {
			known.kept = time.Time{} // which was ours
			s.held[key] = known
		}
		if !s.since(known).Equal(was) {
			s.moved = append(s.moved, known.Observation)
		}
		s.retract(key, before[key], s.sawAt(known))
	}
	s.markDirty()
}

// retract takes back what was written, or is being written, and what is so instead may
// have been taken back before.
func (s *Store) retract(key string, wrong, right time.Time) {
	times := append(slices.Clone(s.retracted[key].times), wrong)
	s.retractions++
	s.retracted[key] = retraction{times: slices.DeleteFunc(times, right.Equal), number: s.retractions}
}

// Synced says that the engine has evaluated everything once. What was stored before
// and is not observed has ended meanwhile.
func (s *Store) Synced() {
	doubt := s.doubt()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced = true
	s.review(doubt)
}

// look is called every few seconds.
func (s *Store) look() {
	// Asked before the lock is held, and in this order: what is known again is queued
	// before it counts as known.
	doubt := s.doubt()
	settled := s.settled()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchClock()
	if settled && s.synced {
		s.review(doubt)
	}
}

// review drops what was stored before the start and is not observed, unless it is in
// doubt. What is stored later is another replica's.
func (s *Store) review(d doubt) {
	for key := range s.unreviewed {
		stored, still := s.stored[key]
		if still && d.covers(stored) {
			continue
		}
		delete(s.unreviewed, key)
		if still {
			s.end(key)
			s.markDirty()
		}
	}
}
