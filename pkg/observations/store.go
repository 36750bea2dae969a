// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observations keeps in one ConfigMap since when conditions hold that no
// object dates, so that a finding's start survives restarts and is the same on
// every replica. It is the Memory of a live.Engine and knows nothing of what the
// conditions are about.
//
// Of several times for one condition the earliest counts, whoever wrote it: that
// is what makes replicas agree. Writes are few: one shortly after conditions begin
// or end, for all that did so meanwhile, and none while nothing does.
//
// A replica vouches for what it has seen itself, and knows by a clock that nobody sets,
// and that goes on while the machine sleeps, how long ago that was. (A hypervisor that
// halts a machine halts that one too: what is told from before then is later by as
// long.) When the time of day is set, forward or back, the times that it vouches for
// move with it, and what was written of them before is taken back: a clock that was
// wrong for a while leaves no wrong times. For a time that was only taken over from the
// ConfigMap nobody vouches, so it follows the ConfigMap, to a later time too; and one
// that a replica took for its own while it was started by a clock that was behind is not
// known any more.
//
// What is stored and nobody observes may have ended while no replica ran. It is dropped
// once the first view is complete and the rule that would observe it can be relied on, so
// that a condition that begins anew has a new time. Another replica that does observe it
// puts it back. What a rule would observe that cannot be relied on stays: nobody knows
// whether it has ended. Each entry names its rule for that, so that one rule that fails
// for long keeps its own entries and no others.
package observations

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/live"
)

// Name of the ConfigMap. Each entry of its data is one condition, by the hashes of its
// rule and of all that identifies it, and an RFC 3339 time.
const Name = "srenix-first-observed"

const (
	// capacity bounds the ConfigMap to about half of what etcd takes. Conditions
	// beyond it are kept in memory only.
	capacity = 10_000
	// orphaned is how long an entry stays that this process does not observe, though
	// its rule can be relied on. It may be another replica's.
	orphaned = time.Hour
)

// Options are what a Store is made with.
type Options struct {
	// Clock is required.
	Clock clock.WithTicker
	// Unreliable names the rules that cannot be relied on just now; nil means none ever.
	// What such a rule does not observe may hold all the same.
	Unreliable func() []string
	// Elapsed is a clock that nobody sets, and that goes on while the machine sleeps;
	// nil means the monotonic one of Clock, which may not.
	Elapsed func() time.Duration
	// Settled tells whether nothing waits to be evaluated; nil means always.
	Settled func() bool
}

// Store is a live.Memory. Its methods may be called from any goroutine.
type Store struct {
	clock      clock.WithTicker
	unreliable func() []string
	settled    func() bool
	elapsed    func() time.Duration // since the start, whatever the time of day is set to
	dirty      chan struct{}        // has one element if there may be something to write
	started    time.Time            // with the reading of the monotonic clock

	mu sync.Mutex
	// writes counts attempts to write, by result.
	writes map[string]int
	// held is what the engine observes.
	held map[string]condition
	// ended is what it did not observe at some time since the last write, whether or
	// not it does again; bounded, for there may be no write for long.
	ended map[string]end
	// ends counts all ends there were.
	ends int
	// forgettable are the ends of what is not stored, the oldest first, some of them
	// outdated.
	forgettable []numbered
	// stored is what the ConfigMap says, as of its resourceVersion.
	stored  map[string]entry
	version string
	// orphans are the entries that are not held, with since when that counts.
	orphans map[string]time.Time
	// loaded tells that the ConfigMap was read, and synced that the first view is complete.
	loaded, synced bool
	// unreviewed are the entries that were there when it was read first, until they are
	// held or dropped.
	unreviewed map[string]struct{}
	// offset is how far the time of day was set since the start.
	offset time.Duration
	// retracted are times that were written and that the clock has proved wrong.
	retracted map[string]retraction
	// retractions counts all retractions there were.
	retractions int
	// moved are the conditions whose times moved with the clock, to be reconsidered.
	moved []live.Observation
}

var _ live.Memory = &Store{}

// NewStore returns an empty store; Load and Run connect it with the cluster.
func NewStore(options Options) *Store {
	if options.Unreliable == nil {
		options.Unreliable = func() []string { return nil }
	}
	if options.Settled == nil {
		options.Settled = func() bool { return true }
	}
	started := options.Clock.Now()
	if options.Elapsed == nil {
		options.Elapsed = func() time.Duration { return options.Clock.Since(started) }
	}
	atStart := options.Elapsed()
	return &Store{
		elapsed: func() time.Duration { return options.Elapsed() - atStart },
		clock:   options.Clock, unreliable: options.Unreliable, settled: options.Settled,
		dirty: make(chan struct{}, 1), started: started, retracted: map[string]retraction{},
		held: map[string]condition{}, ended: map[string]end{},
		stored: map[string]entry{}, orphans: map[string]time.Time{}, unreviewed: map[string]struct{}{},
		writes: map[string]int{},
	}
}

// Recall implements live.Memory.
func (s *Store) Recall(o live.Observation) (time.Time, bool) {
	key := keyOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchClock()
	if known, ok := s.held[key]; ok {
		return s.since(known), true
	}
	return s.remembered(key)
}

// remembered is since when a condition holds as far as is stored.
func (s *Store) remembered(key string) (time.Time, bool) {
	stored, ok := s.stored[key]
	if !ok || s.over(key, stored.since) || s.retracted[key].has(stored.since) {
		return time.Time{}, false
	}
	return stored.since, true
}

// over tells whether what holds since a time has ended.
func (s *Store) over(key string, since time.Time) bool {
	end, ended := s.ended[key]
	return ended && !since.After(end.at)
}

// Begin implements live.Memory.
func (s *Store) Begin(sighting live.Sighting) {
	key := keyOf(sighting.Observation)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchClock()
	known, held := s.held[key]
	before := s.since(known)
	known.add(sighting, s.offset)
	s.held[key] = known
	since := s.since(known)
	if held && since.Equal(before) {
		return
	}
	delete(s.orphans, key)
	delete(s.unreviewed, key)
	if stored, ok := s.remembered(key); ok && !since.Equal(stored) || !ok && s.takes(key) {
		s.markDirty() // to write it, or to learn of an earlier time just missed
	}
}

// End implements live.Memory.
func (s *Store) End(o live.Observation) {
	key := keyOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchClock()
	s.end(key)
	if len(s.ended) > capacity {
		s.forgetAnEnd()
	}
	s.markDirty()
}

// takes tells whether the ConfigMap takes a condition: it has it, or has room.
func (s *Store) takes(key string) bool {
	_, has := s.stored[key]
	return has || len(s.stored) < capacity
}

func (s *Store) markDirty() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// state is what the ConfigMap says at some time.
type state struct {
	data    map[string]string
	version string // its resourceVersion; empty if there is none
	// watched says that it may be behind what was read or written meanwhile.
	watched bool
	// settled are the ends, and retracted the retractions by number, that it takes into
	// account.
	settled   map[string]end
	retracted map[string]int
}

// learn takes over what the ConfigMap says and returns the conditions whose time is
// another one for it.
func (s *Store) learn(now state) []live.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if order, err := resourceversion.CompareResourceVersion(now.version, s.version); now.watched && err == nil && order < 0 {
		return nil
	}
	s.stored, s.version = parse(now.data), now.version
	for key, settled := range now.settled {
		if s.ended[key] == settled {
			delete(s.ended, key)
		}
	}
	s.orderEnds()
	for key, number := range now.retracted {
		if s.retracted[key].number == number {
			delete(s.retracted, key)
		}
	}
	changed := s.moved
	s.moved = nil
	for key, known := range s.held {
		before := s.since(known)
		stored, ok := s.remembered(key)
		if _, there := s.stored[key]; there {
			known.kept = stored // or nothing, if it is over or taken back
			s.held[key] = known
		}
		since := s.since(known)
		if !since.Equal(before) {
			changed = append(changed, known.Observation)
		}
		if ok && since.Before(stored) || !ok && s.takes(key) {
			s.markDirty()
		}
	}
	if !s.loaded {
		s.loaded = true
		for key := range s.stored {
			if _, held := s.held[key]; !held {
				s.unreviewed[key] = struct{}{}
			}
		}
	}
	s.noticeOrphans()
	return changed
}

// noticeOrphans brings orphans up to date with what is stored and held.
func (s *Store) noticeOrphans() {
	for key := range s.stored {
		_, held := s.held[key]
		_, noticed := s.orphans[key]
		if !held && !noticed {
			s.orphans[key] = s.clock.Now()
		}
	}
	for key := range s.orphans {
		if _, stays := s.stored[key]; !stays {
			delete(s.orphans, key)
		}
	}
}

// merge returns what the ConfigMap should say instead of data, with the ends that
// this takes into account, and how many conditions found no room.
func (s *Store) merge(data map[string]string) (merged state, left int) {
	doubt := s.doubt()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchClock()
	for key := range s.orphans {
		if doubt.covers(s.stored[key]) {
			s.orphans[key] = s.clock.Now() // its hour begins when its rule can be relied on
		}
	}
	stored := parse(data)
	for key, entry := range stored {
		if s.over(key, entry.since) || s.forsaken(key) || s.retracted[key].has(entry.since) {
			delete(stored, key)
		}
	}
	spare := s.spare(stored)
	for key, known := range s.held {
		there, ok := stored[key]
		mine := entry{since: s.since(known), rule: ruleMark(known.Rule)}
		if !ok && len(stored) >= capacity && len(spare) > 0 {
			delete(stored, spare[0])
			spare = spare[1:]
		}
		switch {
		case !ok && len(stored) >= capacity:
			left++
		case !ok || mine.since.Before(there.since):
			stored[key] = mine
		default:
			stored[key] = entry{since: there.since, rule: mine.rule}
		}
	}
	merged = state{data: format(stored), settled: maps.Clone(s.ended), retracted: map[string]int{}}
	for key, retraction := range s.retracted {
		merged.retracted[key] = retraction.number
	}
	return merged, left
}

// spare are the stored entries that nobody here observes, the oldest first: they make
// room for those that somebody does, should there be none.
func (s *Store) spare(stored map[string]entry) []string {
	if len(stored)+len(s.held) < capacity {
		return nil
	}
	var spare []string
	for key := range s.orphans {
		if _, ok := stored[key]; ok {
			spare = append(spare, key)
		}
	}
	slices.SortFunc(spare, func(a, b string) int { return cmp.Or(stored[a].since.Compare(stored[b].since), cmp.Compare(a, b)) })
	return spare
}

func (s *Store) forsaken(key string) bool {
	noticed, orphan := s.orphans[key]
	return orphan && s.clock.Since(noticed) >= orphaned
}
