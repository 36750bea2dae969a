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
package observations

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/live"
)

// Name of the ConfigMap. Each entry of its data is one condition, by the hash of
// what identifies it, and an RFC 3339 time.
const Name = "srenix-first-observed"

const (
	// capacity bounds the ConfigMap to about half of what etcd takes. Conditions
	// beyond it are kept in memory only.
	capacity = 10_000
	// orphaned is how long an entry stays that this process does not observe, though
	// no rule is degraded. It may be another replica's.
	orphaned = time.Hour
)

// Options are what a Store is made with.
type Options struct {
	// Clock is required.
	Clock clock.WithTicker
	// Degraded tells whether some rule cannot be relied on just now; nil means never.
	// What such a rule does not observe may hold all the same.
	Degraded func() bool
}

// Store is a live.Memory. Its methods may be called from any goroutine.
type Store struct {
	clock    clock.WithTicker
	degraded func() bool
	dirty    chan struct{} // has one element if there may be something to write

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
	// stored is what the ConfigMap says, as of its resourceVersion.
	stored  map[string]time.Time
	version string
	// orphans are the entries that are not held, with since when that counts.
	orphans map[string]time.Time
}

type condition struct {
	live.Observation
	since time.Time
}

// end is when a condition was over. What is stored of it from before then says
// nothing of a condition that began since.
type end struct {
	at     time.Time
	number int // of all ends
}

var _ live.Memory = &Store{}

// NewStore returns an empty store; Load and Run connect it with the cluster.
func NewStore(options Options) *Store {
	if options.Degraded == nil {
		options.Degraded = func() bool { return false }
	}
	return &Store{
		clock: options.Clock, degraded: options.Degraded, dirty: make(chan struct{}, 1),
		held: map[string]condition{}, ended: map[string]end{},
		stored: map[string]time.Time{}, orphans: map[string]time.Time{},
		writes: map[string]int{},
	}
}

// keyLength is in hexadecimal digits: 80 bits, so that two conditions never share one.
const keyLength = 20

func keyOf(o live.Observation) string {
	identity := strings.Join([]string{o.Rule, o.Subject.Namespace, o.Subject.Name, string(o.UID), o.ID}, "\x00")
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:])[:keyLength]
}

// Recall implements live.Memory.
func (s *Store) Recall(o live.Observation) (time.Time, bool) {
	key := keyOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.held[key]; ok {
		return known.since, true
	}
	return s.remembered(key)
}

// remembered is since when a condition holds as far as is stored.
func (s *Store) remembered(key string) (time.Time, bool) {
	since, ok := s.stored[key]
	if !ok || s.over(key, since) {
		return time.Time{}, false
	}
	return since, true
}

// over tells whether what holds since a time has ended.
func (s *Store) over(key string, since time.Time) bool {
	end, ended := s.ended[key]
	return ended && !since.After(end.at)
}

// Begin implements live.Memory.
func (s *Store) Begin(o live.Observation, since time.Time) {
	key := keyOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.held[key]; ok && !since.Before(known.since) {
		return
	}
	s.held[key] = condition{Observation: o, since: since.UTC()}
	delete(s.orphans, key)
	stored, ok := s.remembered(key)
	if ok && !since.Equal(stored) || !ok && s.room() {
		s.markDirty() // to write it, or to learn of an earlier time just missed
	}
}

// End implements live.Memory.
func (s *Store) End(o live.Observation) {
	key := keyOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.clock.Now()
	for _, since := range []time.Time{s.held[key].since, s.stored[key]} {
		if since.After(at) { // the clock was set back
			at = since
		}
	}
	delete(s.held, key)
	s.ends++
	s.ended[key] = end{at: at, number: s.ends} // stored or not: it may be on its way
	if len(s.ended) > capacity {
		s.forgetAnEnd()
	}
	s.markDirty()
}

// forgetAnEnd drops the oldest end of what is not stored. Should it be on its way
// nevertheless, it comes back as an entry that nobody observes.
func (s *Store) forgetAnEnd() {
	var oldest string
	for key, end := range s.ended {
		if _, stored := s.stored[key]; !stored && (oldest == "" || end.number < s.ended[oldest].number) {
			oldest = key
		}
	}
	delete(s.ended, oldest)
}

// room tells whether the ConfigMap takes one more condition.
func (s *Store) room() bool { return len(s.stored) < capacity }

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
	// settled are the ends that it takes into account.
	settled map[string]end
}

// learn takes over what the ConfigMap says and returns the conditions of which it
// knows an earlier time.
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
	var earlier []live.Observation
	for key, known := range s.held {
		since, ok := s.remembered(key)
		switch {
		case ok && since.Before(known.since):
			known.since = since
			s.held[key] = known
			earlier = append(earlier, known.Observation)
		case ok && known.since.Before(since), !ok && s.room():
			s.markDirty()
		}
	}
	s.noticeOrphans()
	return earlier
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

// parse leaves out what is no time: nobody but srenix writes here, and what
// somebody else wrote is replaced.
func parse(data map[string]string) map[string]time.Time {
	stored := make(map[string]time.Time, len(data))
	for key, text := range data {
		if since, err := time.Parse(time.RFC3339, text); err == nil && len(key) == keyLength {
			stored[key] = since.UTC()
		}
	}
	return stored
}

// merge returns what the ConfigMap should say instead of data, with the ends that
// this takes into account, and how many conditions found no room.
func (s *Store) merge(data map[string]string) (merged state, left int) {
	// Asked before the lock is held: the engine waits for the store at times.
	degraded := s.degraded()
	s.mu.Lock()
	defer s.mu.Unlock()
	if degraded {
		// Nobody can tell what does not hold any more. Their hour begins when all is known.
		for key := range s.orphans {
			s.orphans[key] = s.clock.Now()
		}
	}
	stored := parse(data)
	for key, since := range stored {
		if s.over(key, since) || s.forsaken(key) {
			delete(stored, key)
		}
	}
	spare := s.spare(stored)
	for key, known := range s.held {
		since, ok := stored[key]
		if !ok && len(stored) >= capacity && len(spare) > 0 {
			delete(stored, spare[0])
			spare = spare[1:]
		}
		switch {
		case !ok && len(stored) >= capacity:
			left++
		case !ok || known.since.Before(since):
			stored[key] = known.since
		}
	}
	merged = state{data: make(map[string]string, len(stored)), settled: maps.Clone(s.ended)}
	for key, since := range stored {
		merged.data[key] = since.Format(time.RFC3339)
	}
	return merged, left
}

// spare are the stored entries that nobody here observes, the oldest first: they make
// room for those that somebody does, should there be none.
func (s *Store) spare(stored map[string]time.Time) []string {
	if len(stored)+len(s.held) < capacity {
		return nil
	}
	var spare []string
	for key := range s.orphans {
		if _, ok := stored[key]; ok {
			spare = append(spare, key)
		}
	}
	slices.SortFunc(spare, func(a, b string) int { return cmp.Or(stored[a].Compare(stored[b]), cmp.Compare(a, b)) })
	return spare
}

func (s *Store) forsaken(key string) bool {
	noticed, orphan := s.orphans[key]
	return orphan && s.clock.Since(noticed) >= orphaned
}
