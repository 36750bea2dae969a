// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// advance moves the engine toward its first sync. A rule opens, and all its
// subjects are evaluated, once every kind it reads has reached a first state; it
// is primed once each of them has been evaluated, with none of these kinds lost
// meanwhile, whatever changes go on to come; and a derived kind is reached, and known,
// once all rules that write it are primed; of the statuses that is every rule but those
// that follow from them. So no rule sees half of a derived collection at the start, and
// no subject is evaluated in vain; but for a rule that hangs, which is not waited for:
// what it has written by then is what others see.
func (e *Engine) advance() {
	e.changing.begin()
	defer e.changing.end()
	e.progress.Lock()
	defer e.progress.Unlock()
	for moved := true; moved; {
		moved = false
		for _, c := range e.collections {
			if c.kind.derived && !c.reached.Load() && allPrimed(c.first) {
				c.reached.Store(true)
				c.setKnown(true)
				moved = true
			}
		}
		for _, r := range e.rules {
			if !r.open.Load() && allReached(r.reads) {
				// Open first: a change from here on is queued by whoever makes it.
				r.open.Store(true)
				for _, key := range r.subject.keys() {
					r.queue.add(key)
				}
				r.queue.mark()
				moved = true
			}
			if r.open.Load() && !r.primed && allReached(r.reads) && (r.queue.caughtUp() || r.isSlow()) {
				r.primed = true
				r.primedFast.Store(true)
				moved = true
			}
		}
	}
	if !e.Synced() && allReached(e.collections) && allPrimed(e.rules) {
		close(e.synced)
	}
}

// reach notes that a collection has a state, and that all that follows from it is
// queued: what its readers wait for anew if it was lost before they were primed.
func (e *Engine) reach(c *collection) {
	e.progress.Lock()
	if c.reached.CompareAndSwap(false, true) {
		for _, r := range c.readBy {
			if !r.primed {
				r.queue.mark()
			}
		}
	}
	e.progress.Unlock()
	e.advance()
}

// orderSync settles whose work makes the first state of each derived kind.
func (e *Engine) orderSync() {
	late := map[*rule]bool{}
	var follow func(c *collection)
	follow = func(c *collection) {
		for _, r := range c.readBy {
			if late[r] {
				continue
			}
			late[r] = true
			for _, written := range r.outputs {
				follow(written)
			}
		}
	}
	follow(e.statuses)
	for _, c := range e.collections {
		c.first = c.producers
	}
	e.statuses.first = slices.DeleteFunc(slices.Clone(e.rules), func(r *rule) bool { return late[r] })
}

func allPrimed(rules []*rule) bool {
	for _, r := range rules {
		if !r.primed {
			return false
		}
	}
	return true
}

func allReached(collections map[*kind]*collection) bool {
	for _, c := range collections {
		if !c.reached.Load() {
			return false
		}
	}
	return true
}

// Synced tells whether every input has once reached a known state (synced, not
// installed, forbidden, or failing for all of SyncTimeout) and all that followed
// from it is evaluated. Once true it stays true: an input that fails later shows in
// the Statuses.
func (e *Engine) Synced() bool {
	select {
	case <-e.synced:
		return true
	default:
		return false
	}
}

// WaitForSync waits until Synced. Its error is that of ctx, with the inputs and rules
// that were still awaited.
func (e *Engine) WaitForSync(ctx context.Context) error {
	select {
	case <-e.synced:
		return nil
	case <-ctx.Done():
	}
	return fmt.Errorf("waiting for the first sync, inputs without an answer: %v, rules with subjects not evaluated yet: %v: %w",
		e.Awaited(), e.unprimed(), ctx.Err())
}

// unprimed are the rules whose first evaluations have begun and are not done.
func (e *Engine) unprimed() (names []string) {
	e.progress.Lock()
	defer e.progress.Unlock()
	for _, r := range e.rules {
		if r.open.Load() && !r.primed {
			names = append(names, r.Name)
		}
	}
	return names
}

// Awaited are the inputs that the first sync waits for, in the order of their names.
func (e *Engine) Awaited() []KindRef {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var awaited []KindRef
	for k, c := range e.collections {
		if c.input != nil && !c.reached.Load() {
			awaited = append(awaited, KindRef{k})
		}
	}
	slices.SortFunc(awaited, func(a, b KindRef) int { return strings.Compare(a.String(), b.String()) })
	return awaited
}

// boundSync keeps an input that never answers, or with nothing but errors, from
// holding up the first sync.
func (e *Engine) boundSync(ctx context.Context) {
	timer := e.options.Clock.NewTimer(e.options.SyncTimeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-e.synced:
		return
	case <-timer.C():
	}
	for _, c := range e.collections {
		if c.input != nil {
			c.input.awaitNoLonger(e.options.SyncTimeout)
		}
	}
}
