// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// View is what a rule reads through. Each read is recorded as a dependency of
// (rule, subject): when what was read changes, the subject is evaluated again. A
// view belongs to one evaluation and one goroutine; it must not be kept.
type View struct {
	engine *Engine
	now    time.Time

	// The rest is unused by the view that Engine.Snapshot makes.
	rule     *rule
	subject  Key
	node     *node
	deps     depSet
	recheck  time.Time
	timed    bool // it has asked for the time
	observed []Sighting

	unknown *UnknownError
	misuse  error
}

// UnknownError tells that a collection was read whose content is not known.
type UnknownError struct {
	Kind KindRef
	// Reason is one of the Input reasons of a Status, for example InputForbidden.
	Reason string
	// Cause is the error of the API server, if there was one.
	Cause error
}

func (e *UnknownError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s is unknown (%s): %v", e.Kind, e.Reason, e.Cause)
	}
	return fmt.Sprintf("%s is unknown (%s)", e.Kind, e.Reason)
}

func (e *UnknownError) Unwrap() error { return e.Cause }

// Unknown tells whether anything read so far was unknown: not yet synced,
// forbidden, failing, or not installed without being optional. Its error is an
// *UnknownError, for the first such read. An evaluation which read something
// unknown is discarded, so rules need not ask; users of a Snapshot must.
func (v *View) Unknown() error {
	if v.unknown == nil {
		return nil
	}
	return v.unknown
}

// Now is the time of this evaluation: it does not move during one.
func (v *View) Now() time.Time {
	v.timed = true
	return v.now
}

// RecheckAt asks for the subject to be evaluated again at t. The earliest call of
// an evaluation wins; a time that is not after Now is ignored. It holds until the
// next evaluation, which has to ask again.
func (v *View) RecheckAt(t time.Time) {
	if !t.After(v.now) {
		return
	}
	if v.recheck.IsZero() || t.Before(v.recheck) {
		v.recheck = t
	}
}

func (v *View) get(k *kind, key Key) (Object, bool) {
	c := v.open(k)
	if c == nil {
		return nil, false
	}
	// A change of the subject itself evaluates it anyway.
	if v.rule != nil && (c != v.rule.subject || key != v.subject) {
		v.depend(dep{collection: c, by: byKey, a: key.Namespace, b: key.Name}, nil)
	}
	v.know(c)
	return c.get(key)
}

func (v *View) list(k *kind, namespace string, selector labels.Selector) []Object {
	c := v.open(k)
	if c == nil {
		return nil
	}
	text := ""
	if selector != nil {
		if _, selects := selector.Requirements(); !selects {
			return nil // labels.Nothing(): no change can alter that
		}
		if text = selector.String(); text == "" {
			selector = nil
		}
	}
	v.depend(dep{collection: c, by: bySelector, a: namespace, b: text}, selector)
	v.know(c)
	return c.list(namespace, selector)
}

func (v *View) byIndex(k *kind, index, value string) []Object {
	c := v.open(k)
	if c == nil {
		return nil
	}
	if !k.hasIndex(index) {
		v.misused(fmt.Errorf("%s has no index %q", k.name, index))
		return nil
	}
	v.depend(dep{collection: c, by: byIndex, a: index, b: value}, nil)
	v.know(c)
	return c.byIndex(index, value)
}

// open returns the collection of a kind, or nil if it may not be read.
func (v *View) open(k *kind) *collection {
	if v.rule != nil {
		c := v.rule.reads[k]
		if c == nil {
			v.misused(fmt.Errorf("rule %s read %s, which is not among its Reads: declare it", v.rule.Name, KindRef{k}))
		}
		return c
	}
	c := v.engine.lookup(k)
	if c == nil && v.unknown == nil {
		v.unknown = &UnknownError{Kind: KindRef{k}, Reason: ReasonNotCollected}
	}
	return c
}

func (v *View) misused(err error) {
	if v.misuse == nil {
		v.misuse = err
	}
}

// depend records a read before it happens: whatever changes after this line
// evaluates the subject again, so no change is lost between reading and recording.
func (v *View) depend(d dep, selector labels.Selector) {
	if v.rule == nil || v.deps.has(d) {
		return
	}
	v.deps.add(d)
	if v.node == nil {
		v.node = v.rule.ensure(v.subject)
	}
	if !v.node.deps.has(d) {
		d.collection.dependents.add(d, v.node, selector)
	}
}

// know notes when a collection is read that is not known; the subject is then
// evaluated again as soon as it is.
func (v *View) know(c *collection) {
	if c.known.Load() {
		return
	}
	if v.rule != nil && c.await(task{v.rule, v.subject}) {
		return
	}
	if v.unknown == nil {
		v.unknown = c.unknown()
	}
}
