// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Rule computes the objects of derived collections from one subject at a time.
type Rule struct {
	// Name identifies the rule in its Status, in metrics and in logs; unique
	// within an engine.
	Name string
	// Group is what the rule belongs to, for example the analyzer it is part of.
	// Several rules may share one; it is copied into their statuses.
	Group string
	// Subject is the kind whose every object the rule is evaluated for.
	Subject KindRef
	// Reads are the other kinds which Evaluate may read. Reading any other kind
	// degrades the rule.
	Reads []KindRef
	// Outputs are the derived kinds which Evaluate may return objects of. Rules
	// must not form a cycle: nothing may be computed from itself.
	Outputs []KindRef
	// Evaluate returns all that the rule has to say of one subject: what it
	// returned before and does not return now is removed. It must be a function
	// of what it reads through the view, and of nothing else; it is called from
	// several goroutines, for one subject never twice at a time. Returned objects
	// belong to the engine from then on. An error degrades the rule, keeps the
	// prior outputs of the subject and is retried with backoff.
	//
	// It is called for existing subjects only. When a subject goes, its outputs,
	// timers and first-observed times go with it, without a call.
	Evaluate func(v *View, subject Key) ([]Output, error)
}

// Output is one object for one derived kind; see Emit.
type Output struct {
	Kind   KindRef
	Object Object
}

// Emit makes an Output whose object is sure to be of the kind's type.
func Emit[T Object](k Kind[T], object T) Output {
	return Output{Kind: k.Ref(), Object: object}
}

// rule is a Rule within one engine.
type rule struct {
	Rule
	statusName string
	engine     *Engine
	subject    *collection
	reads      map[*kind]*collection // the subject's kind included
	outputs    map[*kind]*collection
	inputs     []*collection // those of reads that are fed from the API server

	// open is false until every kind the rule reads has reached a first state;
	// until then nothing is evaluated, since all of it would be unknown.
	open atomic.Bool
	// primed is set once all that the first states caused is evaluated. Guarded
	// by Engine.progress; primedFast mirrors it.
	primed     bool
	primedFast atomic.Bool
	queue      *queue
	// slowFast mirrors whether health.slow is set.
	slowFast atomic.Bool

	mu    sync.Mutex
	nodes map[Key]*node

	health health
}

// node is what is remembered of one subject of one rule. Subjects which read
// nothing but themselves and have no outputs have none. Its fields belong to the
// worker that evaluates the subject, except timed.
type node struct {
	task
	deps     depSet
	outputs  []outputRef
	failures int
	trouble  string // reason, "" if the last evaluation went well
	observed []Observation
	timed    bool // the last evaluation asked for the time, or failed; guarded by rule.mu
}

type outputRef struct {
	collection *collection
	key        Key
}

func (n *node) empty() bool {
	return len(n.deps.list) == 0 && len(n.outputs) == 0 && n.failures == 0 && n.trouble == "" && len(n.observed) == 0 && !n.timed
}

// find returns the node of a subject, or nil.
func (r *rule) find(subject Key) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[subject]
}

// ensure returns the node of a subject, made if need be.
func (r *rule) ensure(subject Key) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[subject]
	if n == nil {
		n = &node{task: task{r, subject}}
		r.nodes[subject] = n
	}
	return n
}

// setTimed notes whether an evaluation asked for the time.
func (r *rule) setTimed(n *node, timed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n.timed = timed
}

// timedSubjects are those whose last evaluation asked for the time, or failed.
func (r *rule) timedSubjects() []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	var timed []Key
	for key, n := range r.nodes {
		if n.timed {
			timed = append(timed, key)
		}
	}
	return timed
}

// tidy forgets a node that holds nothing.
func (r *rule) tidy(n *node) {
	if n == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.empty() {
		delete(r.nodes, n.subject)
	}
}

func validateRule(r Rule) error {
	switch {
	case r.Name == "":
		return errors.New("a rule needs a name")
	case r.Evaluate == nil:
		return fmt.Errorf("rule %s has no Evaluate", r.Name)
	case r.Subject.kind == nil:
		return fmt.Errorf("rule %s has no subject", r.Name)
	}
	for _, ref := range r.Reads {
		if ref.kind == nil {
			return fmt.Errorf("rule %s reads a kind that was never declared", r.Name)
		}
	}
	for _, ref := range r.Outputs {
		if ref.kind == nil {
			return fmt.Errorf("rule %s writes a kind that was never declared", r.Name)
		}
		if !ref.kind.derived || ref == Statuses().Ref() {
			return fmt.Errorf("rule %s cannot write %s: only kinds made by NewDerived are written by rules", r.Name, ref)
		}
	}
	return nil
}
