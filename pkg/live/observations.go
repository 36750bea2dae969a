// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Observation identifies one condition that View.FirstObserved or View.Began dates. A subject
// that is made anew under its old name is another one, by its UID.
type Observation struct {
	Rule    string
	Subject Key
	UID     types.UID
	ID      string
}

// Sighting is a condition that an evaluation has found to hold. Its times are in whole
// seconds.
type Sighting struct {
	Observation
	// Since is when it holds since: the earliest of Seen, Told and what was recalled.
	Since time.Time
	// Seen is when it was seen, by the clock of the engine.
	Seen time.Time
	// Told is the earliest time that an object told for it, before Seen; zero if none did.
	Told time.Time
}

// Memory keeps since when conditions hold that no object dates. One that outlives
// the engine lets first-observed times survive a restart; one that several engines
// share lets them agree. When what it recalls of a condition changes by itself, it
// calls Engine.Reconsider. An engine calls it from several goroutines, and waits.
type Memory interface {
	// Recall returns since when a condition holds, if that is known.
	Recall(Observation) (since time.Time, known bool)
	// Begin says that a condition holds. Of all times that were said of it the
	// earliest counts.
	Begin(Sighting)
	// End says that a condition does not hold any more.
	End(Observation)
}

// Reconsider evaluates a subject of a rule again. Rules or subjects that do not
// exist are ignored.
func (e *Engine) Reconsider(rule string, subject Key) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, r := range e.rules {
		if r.Name == rule {
			e.enqueue(task{r, subject})
		}
	}
}

// FirstObserved returns when this rule, for this subject, first asked for id: the
// start of a condition which no object carries, in whole seconds as all times of
// the API. It is forgotten once an evaluation does not ask for it. Evaluations
// that are discarded (unknown, an error, a panic) neither start nor end anything.
func (v *View) FirstObserved(id string) time.Time { return v.Began(id, time.Time{}) }

// Began is FirstObserved for a condition of which an object tells since when it
// holds, and may tell a later time while it goes on: the earliest time that was told
// for id, and never later than it was first asked for. Nothing is told with zero.
func (v *View) Began(id string, told time.Time) time.Time {
	now := v.now.Truncate(time.Second)
	seen := Sighting{Since: now, Seen: now}
	if told = told.Truncate(time.Second); !told.IsZero() && told.Before(now) {
		seen.Since, seen.Told = told, told
	}
	if v.rule == nil {
		return seen.Since
	}
	v.timed = true
	for i := range v.observed {
		if known := &v.observed[i]; known.ID == id {
			known.add(seen)
			return known.Since
		}
	}
	seen.Observation = v.observation(id)
	if remembered, known := v.recall(seen.Observation); known && remembered.Before(seen.Since) {
		seen.Since = remembered
	}
	v.observed = append(v.observed, seen)
	return seen.Since
}

// add takes over what another sighting of the same evaluation was told.
func (s *Sighting) add(other Sighting) {
	if other.Since.Before(s.Since) {
		s.Since = other.Since
	}
	if s.Told.IsZero() || !other.Told.IsZero() && other.Told.Before(s.Told) {
		s.Told = other.Told
	}
}

// Observed tells whether the last evaluation of this subject asked FirstObserved for
// id, and since when that holds. It neither begins id nor keeps it, so a rule can ask
// what it saw without saying that it sees it still.
func (v *View) Observed(id string) (since time.Time, holds bool) {
	if v.rule == nil {
		return time.Time{}, false
	}
	v.timed = true
	return v.recall(v.observation(id))
}

func (v *View) observation(id string) Observation {
	o := Observation{Rule: v.rule.Name, Subject: v.subject, ID: id}
	if subject, exists := v.rule.subject.get(v.subject); exists {
		o.UID = subject.GetUID()
	}
	return o
}

// recall leaves out what is remembered as later than now, if the clock was set back.
func (v *View) recall(o Observation) (since time.Time, known bool) {
	since, known = v.engine.options.Memory.Recall(o)
	return since, known && !since.After(v.now)
}

// observe makes what an evaluation saw all that is remembered of a subject.
func (n *node) observe(memory Memory, now []Sighting) {
	for _, before := range n.observed {
		if !slices.ContainsFunc(now, func(s Sighting) bool { return s.Observation == before }) {
			memory.End(before)
		}
	}
	n.observed = n.observed[:0]
	for _, seen := range now {
		memory.Begin(seen)
		n.observed = append(n.observed, seen.Observation)
	}
}

// forgetful is the Memory that ends with its engine.
type forgetful struct {
	mu    sync.Mutex
	since map[Observation]time.Time
}

func (m *forgetful) Recall(o Observation) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since, known := m.since[o]
	return since, known
}

func (m *forgetful) Begin(s Sighting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before, known := m.since[s.Observation]; known && !s.Since.Before(before) {
		return
	}
	if m.since == nil {
		m.since = map[Observation]time.Time{}
	}
	m.since[s.Observation] = s.Since
}

func (m *forgetful) End(o Observation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.since, o)
}
