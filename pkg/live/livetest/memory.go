// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package livetest

import (
	"maps"
	"sync"
	"time"

	"github.com/srenix/srenix/pkg/live"
)

// Memory is a live.Memory that a test can look into and carry over to another
// engine. The zero value is empty and ready to use.
type Memory struct {
	mu    sync.Mutex
	since map[live.Observation]time.Time
}

var _ live.Memory = &Memory{}

// Recall implements live.Memory.
func (m *Memory) Recall(o live.Observation) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since, known := m.since[o]
	return since, known
}

// Begin implements live.Memory.
func (m *Memory) Begin(s live.Sighting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before, known := m.since[s.Observation]; known && !s.Since.Before(before) {
		return
	}
	m.set(s.Observation, s.Since)
}

// End implements live.Memory.
func (m *Memory) End(o live.Observation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.since, o)
}

// Set has a condition begin at a time, earlier or later than it did.
func (m *Memory) Set(o live.Observation, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(o, since)
}

func (m *Memory) set(o live.Observation, since time.Time) {
	if m.since == nil {
		m.since = map[live.Observation]time.Time{}
	}
	m.since[o] = since
}

// All returns what is remembered.
func (m *Memory) All() map[live.Observation]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.since)
}

// Copy returns a memory of its own with the same content.
func (m *Memory) Copy() *Memory { return &Memory{since: m.All()} }
