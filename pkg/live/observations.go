// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"slices"
	"time"
)

// observation is the start of a condition that no object carries.
type observation struct{ since time.Time }

// Observation is what View.FirstObserved remembers of one condition.
type Observation struct {
	Rule    string
	Subject Key
	ID      string
	Since   time.Time
}

// Observations returns all that View.FirstObserved remembers, sorted by rule,
// subject and ID, to be stored and given back through Options.RecallFirstObserved
// after a restart. It looks at every subject that depends on another object.
func (e *Engine) Observations() []Observation {
	e.mu.RLock()
	rules := e.rules
	e.mu.RUnlock()
	var all []Observation
	for _, r := range rules {
		r.mu.Lock()
		for key, n := range r.nodes {
			for id, seen := range n.observed {
				all = append(all, Observation{Rule: r.Name, Subject: key, ID: id, Since: seen.since})
			}
		}
		r.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Observation) int {
		return cmp.Or(
			cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Subject.Namespace, b.Subject.Namespace),
			cmp.Compare(a.Subject.Name, b.Subject.Name),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return all
}

// observe makes observed all that is remembered of a subject.
func (r *rule) observe(n *node, observed map[string]observation) {
	if len(observed) == 0 && len(n.observed) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n.observed = observed
}
