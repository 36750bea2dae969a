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
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"time"

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
	// orphaned is how long an entry stays that this process does not observe. It may
	// be another replica's, or one whose input cannot be read just now.
	orphaned = time.Hour
)

// Store is a live.Memory. Its methods may be called from any goroutine.
type Store struct {
	clock clock.WithTicker
	dirty chan struct{} // has one element if there may be something to write

	mu sync.Mutex
	// writes counts attempts to write, by result.
	writes map[string]int
	// held is what the engine observes.
	held map[string]condition
	// ended is what it does not observe any more, until that is written.
	ended map[string]struct{}
	// stored is what the ConfigMap says.
	stored map[string]time.Time
	// orphans are the entries that are not held, with when that was first noticed.
	orphans map[string]time.Time
}

type condition struct {
	live.Observation
	since time.Time
}

var _ live.Memory = &Store{}

// NewStore returns an empty store; Load and Run connect it with the cluster.
func NewStore(c clock.WithTicker) *Store {
	return &Store{
		clock: c, dirty: make(chan struct{}, 1),
		held: map[string]condition{}, ended: map[string]struct{}{},
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
	if _, over := s.ended[key]; over {
		return time.Time{}, false // it is stored until that is written
	}
	since, known := s.stored[key]
	return since, known
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
	delete(s.ended, key)
	delete(s.orphans, key)
	if stored, ok := s.stored[key]; !ok || !since.Equal(stored) {
		s.markDirty() // to write it, or to learn of an earlier time just missed
	}
}

// End implements live.Memory.
func (s *Store) End(o live.Observation) {
	key := keyOf(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, key)
	s.ended[key] = struct{}{} // stored or not: it may be on its way
	s.markDirty()
}

func (s *Store) markDirty() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// learn takes over what the ConfigMap says and returns the conditions of which it
// knows an earlier time.
func (s *Store) learn(data map[string]string) []live.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = parse(data)
	var earlier []live.Observation
	for key, known := range s.held {
		since, ok := s.stored[key]
		switch {
		case !ok || known.since.Before(since):
			s.markDirty()
		case since.Before(known.since):
			known.since = since
			s.held[key] = known
			earlier = append(earlier, known.Observation)
		}
	}
	now := s.clock.Now()
	for key := range s.stored {
		_, held := s.held[key]
		_, noticed := s.orphans[key]
		if !held && !noticed {
			s.orphans[key] = now
		}
	}
	for key := range s.orphans {
		if _, stays := s.stored[key]; !stays {
			delete(s.orphans, key)
		}
	}
	for key := range s.ended {
		if _, stays := s.stored[key]; !stays {
			delete(s.ended, key)
		}
	}
	return earlier
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

// merge returns what the ConfigMap should say instead of data, whether that
// differs, and how many conditions found no room.
func (s *Store) merge(data map[string]string) (merged map[string]string, differs bool, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := parse(data)
	differs = len(stored) != len(data)
	for key := range stored {
		if _, over := s.ended[key]; over || s.forsaken(key) {
			delete(stored, key)
			differs = true
		}
	}
	for key, known := range s.held {
		since, ok := stored[key]
		switch {
		case !ok && len(stored) >= capacity:
			left++
		case !ok || known.since.Before(since):
			stored[key] = known.since
			differs = true
		}
	}
	merged = make(map[string]string, len(stored))
	for key, since := range stored {
		merged[key] = since.Format(time.RFC3339)
	}
	return merged, differs, left
}

func (s *Store) forsaken(key string) bool {
	noticed, orphan := s.orphans[key]
	return orphan && s.clock.Since(noticed) >= orphaned
}
