// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Failed evaluations are retried after one second, doubling up to five minutes.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// work evaluates subjects of a rule until its queue stops.
func (e *Engine) work(r *rule) {
	for {
		subject, ok := r.queue.next(e.options.Clock.Now)
		if !ok {
			return
		}
		e.evaluate(task{r, subject})
		e.changing.begin() // until what waits for the rule is queued
		if r.queue.done(subject) && !r.primedFast.Load() {
			e.advance()
		}
		if r.slowFast.Load() {
			r.watchDuration()
		}
		e.changing.end()
	}
}

// verdict is how an evaluation ended.
type verdict struct {
	reason string // one of the reasons of a Status, "" if it went well
	err    error
	stack  []byte // of a panic
	// unknown tells that the result was discarded since an input is not known.
	unknown bool
}

func (v verdict) result() string {
	switch {
	case v.unknown:
		return "Unknown"
	case v.reason == "":
		return "Succeeded"
	}
	return v.reason
}

// evaluate brings one subject up to date. No other worker has the same one.
func (e *Engine) evaluate(t task) {
	r := t.rule
	n := r.find(t.subject)
	if _, exists := r.subject.get(t.subject); !exists {
		e.forget(t, n)
		return
	}
	started := e.options.Clock.Now() // with its monotonic part, as the clock may be set meanwhile
	now := started.Round(0)
	e.watchClock(now)
	v := &View{engine: e, now: now, rule: r, subject: t.subject, node: n}
	verdict := e.attempt(v)
	e.metrics.evaluated(r, verdict.result(), e.options.Clock.Since(started))
	e.conclude(v, verdict)
}

// attempt evaluates and, if all went well, applies the outputs.
func (e *Engine) attempt(v *View) (result verdict) {
	defer func() {
		if p := recover(); p != nil {
			result = verdict{reason: ReasonPanicked, err: fmt.Errorf("panic: %v", p), stack: debug.Stack()}
		}
	}()
	outputs, err := v.rule.Evaluate(v, v.subject)
	switch {
	case v.misuse != nil:
		return verdict{reason: ReasonUndeclaredRead, err: v.misuse}
	case v.unknown != nil, v.engine.abandoned.Load():
		return verdict{unknown: true}
	case err != nil:
		return verdict{reason: ReasonFailed, err: err}
	}
	if err := v.rule.check(outputs); err != nil {
		return verdict{reason: ReasonFailed, err: err}
	}
	if len(outputs) > 0 && v.node == nil {
		v.node = v.rule.ensure(v.subject)
	}
	if v.node == nil {
		return verdict{}
	}
	if err := v.node.apply(outputs); err != nil {
		return verdict{reason: ReasonConflict, err: err}
	}
	return verdict{}
}

// check refuses outputs that the rule may not write.
func (r *rule) check(outputs []Output) error {
	seen := make(map[outputRef]struct{}, len(outputs))
	for _, output := range outputs {
		c := r.outputs[output.Kind.kind]
		switch {
		case c == nil:
			return fmt.Errorf("it wrote %s, which is not among its Outputs: declare it", output.Kind)
		case output.Object == nil || !c.kind.holds(output.Object):
			return fmt.Errorf("it wrote %T to %s, which holds %T", output.Object, output.Kind, c.kind.example())
		case output.Object.GetName() == "":
			return fmt.Errorf("it wrote an object without a name to %s", output.Kind)
		}
		if err := c.kind.indexable(output.Object); err != nil {
			return fmt.Errorf("it wrote what cannot be found: %w", err)
		}
		ref := outputRef{c, keyOf(output.Object)}
		if _, again := seen[ref]; again {
			return fmt.Errorf("it wrote %s %s twice for one subject", output.Kind, ref.key)
		}
		seen[ref] = struct{}{}
	}
	return nil
}

// apply makes outputs all that the subject has put out. The error tells of
// objects which others own.
func (n *node) apply(outputs []Output) error {
	next := make([]outputRef, len(outputs))
	stays := make(map[outputRef]struct{}, len(outputs))
	for i, output := range outputs {
		next[i] = outputRef{n.rule.outputs[output.Kind.kind], keyOf(output.Object)}
		stays[next[i]] = struct{}{}
	}
	all := next[:len(next):len(next)]
	var gone []outputRef
	for _, ref := range n.outputs {
		if _, ok := stays[ref]; !ok {
			gone = append(gone, ref)
		}
	}
	n.outputs = slices.Concat(all, gone) // should a panic end this half way
	var conflict error
	for i, ref := range next {
		if owner := ref.collection.put(n, ref.key, outputs[i].Object); owner != nil && conflict == nil {
			conflict = fmt.Errorf("%s %s is already written by rule %s for %s", ref.collection.kind.name, ref.key, owner.rule.Name, owner.subject)
		}
	}
	for _, ref := range gone {
		ref.collection.release(n, ref.key)
	}
	n.outputs = next
	return conflict
}

// conclude keeps what the evaluation learned, and sees to it that there is another
// one when there has to be.
func (e *Engine) conclude(v *View, result verdict) {
	r, t := v.rule, task{v.rule, v.subject}
	failed := result.reason != "" && result.reason != ReasonConflict
	if v.node == nil && (result.reason != "" || len(v.observed) > 0 || v.timed) {
		v.node = r.ensure(v.subject)
	}
	n := v.node
	if n != nil {
		n.depend(v.deps)
		timed := v.timed || failed // what failed is tried again at a time
		r.setTimed(n, timed)
		if timed && v.now.UnixNano()-e.latest.Load() >= int64(noticeable) {
			e.enqueue(t) // the clock was set back meanwhile
		}
	}
	switch {
	case result.unknown:
		// Outputs, trouble and first-observed times stay as they are. The read that
		// was unknown has the subject evaluated again, so it needs no timer.
		e.timers.cancel(t)
		r.tidy(n)
		return
	case failed:
		n.failures++
		e.logFailure(n, result)
		if result.reason == ReasonUndeclaredRead {
			e.timers.cancel(t) // trying again cannot help
		} else {
			e.timers.set(t, e.now().Add(retryDelay(n.failures)))
		}
	default:
		if n != nil {
			n.failures = 0
			n.observe(e.options.Memory, v.observed)
		}
		if v.recheck.IsZero() {
			e.timers.cancel(t)
		} else {
			e.timers.set(t, v.recheck)
		}
	}
	r.setTrouble(n, v.subject, result.reason, result.err)
	r.tidy(n)
}

// depend makes deps all that the subject depends on. They are registered already.
func (n *node) depend(deps depSet) {
	for _, old := range n.deps.list {
		if !deps.has(old) {
			old.collection.dependents.remove(old, n)
		}
	}
	n.deps = deps
}

// forget removes all traces of a subject that is gone.
func (e *Engine) forget(t task, n *node) {
	e.timers.cancel(t)
	for _, read := range t.rule.reads {
		read.forsake(t)
	}
	if n == nil {
		return
	}
	n.depend(depSet{})
	for _, ref := range n.outputs {
		ref.collection.release(n, ref.key)
	}
	n.outputs = nil
	n.failures = 0
	t.rule.setTimed(n, false)
	n.observe(e.options.Memory, nil)
	t.rule.setTrouble(n, t.subject, "", nil)
	t.rule.tidy(n)
}

// logFailure logs the first of a row of failures; the status tells that it lasts.
func (e *Engine) logFailure(n *node, result verdict) {
	logger := e.options.Logger.WithValues("rule", n.rule.Name, "subject", n.subject.String(), "reason", result.reason)
	if n.failures > 1 {
		logger.V(2).Info("Evaluation failed again", "err", result.err, "failures", n.failures)
		return
	}
	err := result.err
	if err == nil {
		err = errors.New(result.reason)
	}
	if result.stack != nil {
		logger = logger.WithValues("stack", string(result.stack))
	}
	logger.Error(err, "Evaluation failed")
}

func retryDelay(failures int) time.Duration {
	delay := firstRetry
	for ; failures > 1 && delay < lastRetry; failures-- {
		delay *= 2
	}
	return min(delay, lastRetry)
}
