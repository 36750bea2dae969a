// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/breaker"
)

// fate is what becomes of a request and of who made it.
type fate string

const (
	answered fate = "answered"
	// failed did not reach the API server; lost did, and its answer did not come
	// back; echoed was sent twice by a client that had lost the first answer.
	dropped fate = "failed"
	lost    fate = "went through, answer lost"
	echoed  fate = "went through, sent again and refused"
	// died before the request reached the API server, or after it did and before
	// the answer came.
	diedBefore fate = "never sent, the process died"
	diedAfter  fate = "went through, the process died"
)

func (f fate) arrives() bool { return f != dropped && f != diedBefore }
func (f fate) kills() bool   { return f == diedBefore || f == diedAfter }

// move makes the world that there is after something that can happen next.
type move func() (*position, *violation)

// moves lists everything that can happen next.
func (e *explorer) moves(p *position) []move {
	var moves []move
	for _, i := range e.order(p) {
		cost := 0
		if p.mover != i && p.busy(p.mover) {
			cost = 1
		}
		if e.bounded() && p.switches+cost > e.switches {
			continue
		}
		if p.busy(i) {
			moves = append(moves, e.steps(p, i, cost)...)
			continue
		}
		if p.actors[i].executor {
			moves = append(moves, e.reconciliations(p, i, cost)...)
		} else {
			moves = append(moves, e.operations(p, i, cost)...)
		}
		if p.crashes < e.crashes && p.actors[i].head >= 0 {
			moves = append(moves, func() (*position, *violation) {
				q := p.next(step{what: p.actors[i].name + " restarts"})
				q.crashes++
				q.disturbed = true
				e.kill(q, i)
				return q, nil
			})
		}
	}
	for i, event := range e.events {
		if p.events[i] >= event.times {
			continue
		}
		if q := p.next(step{what: event.name}); event.happen(e, q) {
			q.events[i]++
			moves = append(moves, func() (*position, *violation) { return q, nil })
		}
	}
	return moves
}

// order puts the actor first that moved last.
func (e *explorer) order(p *position) []int {
	var order []int
	if p.mover >= 0 {
		order = append(order, p.mover)
	}
	for i := range p.actors {
		if i != p.mover {
			order = append(order, i)
		}
	}
	return order
}

// steps are what can become of the request at which an actor stands.
func (e *explorer) steps(p *position, i, cost int) []move {
	asked := p.actors[i].at.pending
	fates := []fate{answered}
	if p.crashes < e.crashes {
		fates = append(fates, diedBefore)
		if asked.mutates() {
			fates = append(fates, diedAfter)
		}
	}
	if p.failures < e.failures {
		fates = append(fates, dropped)
		if asked.mutates() {
			fates = append(fates, lost, echoed)
		}
	}
	var moves []move
	for _, fate := range fates {
		moves = append(moves, func() (*position, *violation) { return e.step(p, i, cost, fate) })
	}
	return moves
}

// step lets the request of an actor have its fate, and its run go on.
func (e *explorer) step(p *position, i, cost int, fate fate) (*position, *violation) {
	asked := p.actors[i].at.pending
	q := p.next(step{what: p.actors[i].name, asked: asked, fate: fate})
	q.mover, q.switches = i, p.switches+cost
	given := answer{}
	var change *item
	var broken *violation
	late := !asked.deadline.IsZero() && !p.clock.Before(asked.deadline)
	switch {
	case late:
		// The process has stopped waiting, and so the request was taken back.
		q.step.late = true
		given = refusal(context.DeadlineExceeded)
	case fate.arrives():
		given, change = e.arrive(q, i)
		if change != nil {
			q.stored = q.stored.put(change)
		}
		broken = e.observe(p, q, i, asked, given, change)
	}
	q.step.err = given.err
	q.disturbed = q.disturbed || late || fate != answered
	switch {
	case fate.kills():
		q.crashes++
		e.kill(q, i)
		return q, broken
	case fate == dropped, fate == lost && given.err == nil:
		given = refusal(apierrors.NewInternalError(errors.New("the explorer lets this request fail")))
		q.failures++
	case fate == echoed && given.err == nil:
		q.failures++
		again, _ := asked.serve(q.stored, q.clock, q.rights)
		given = again
	case fate != answered:
		q.failures++
	}
	e.advance(q, i, given)
	return q, broken
}

// arrive is what the API server does with the request of an actor.
func (e *explorer) arrive(q *position, i int) (answer, *item) {
	at := q.actors[i].at
	asked := at.pending
	if !asked.mutates() {
		return asked.serve(q.stored, q.clock, q.rights)
	}
	// The same change of the same object is made once, and shared.
	key := q.clock.String()
	if last := q.stored.last(asked.key()); last != nil {
		key += last.version
	}
	known, seen := at.served[key]
	if !seen {
		known.answer, known.change = asked.serve(q.stored, q.clock, q.rights)
		at.served[key] = known
	}
	return known.answer, known.change
}

// advance hands an answer to an actor, and lets it go on to the next request at
// which there is something to choose.
func (e *explorer) advance(q *position, i int, given answer) {
	actor := &q.actors[i]
	actor.at = e.trie.answered(actor.at, given, q.clock)
	for actor.at.pending != nil && actor.at.pending.quiet {
		given, _ := actor.at.pending.serve(q.stored, q.clock, q.rights)
		actor.at = e.trie.answered(actor.at, given, q.clock)
	}
	e.settle(q, i)
}

// settle takes notice of a run that has ended.
func (e *explorer) settle(q *position, i int) {
	actor := &q.actors[i]
	if actor.at.pending != nil {
		return
	}
	actor.result = actor.at.outcome
	actor.at, actor.head = nil, actor.result.head
	if !actor.executor {
		n := e.number(actor.task)
		if q.script[n] = wentWell; actor.result.err != nil {
			q.script[n] = wentWrong
		}
		q.tokens[n] = actor.result.minted
	}
	actor.task, actor.approval = "", nil
}

// kill ends a process. Another one takes its place, which is not it: an executor
// gets an identity of its own.
func (e *explorer) kill(q *position, i int) {
	actor := &q.actors[i]
	if !actor.executor && actor.at != nil {
		q.script[e.number(actor.task)] = wentWrong
	}
	actor.at, actor.head, actor.task, actor.approval = nil, -1, "", nil
	if actor.executor {
		actor.name = fmt.Sprintf("executor-%d", q.born)
		q.born++
	}
}

// reconciliations are the approvals that an executor can begin with.
func (e *explorer) reconciliations(p *position, i, cost int) []move {
	var moves []move
	for _, approval := range p.stored.approvals() {
		if completed(approval) && e.leavesAlone(p, i, approval.Name) {
			continue
		}
		moves = append(moves, func() (*position, *violation) { return e.reconcile(p, i, cost, approval.Name), nil })
	}
	return moves
}

// leavesAlone tells whether an executor that looks at an approval which is at its end
// leaves everything as it is: then nothing is gained by going that way.
func (e *explorer) leavesAlone(p *position, i int, approval string) bool {
	q := e.reconcile(p, i, 0, approval)
	for q.busy(i) {
		var found *violation
		if q, found = e.step(q, i, 0, answered); found != nil {
			return false
		}
	}
	return q.stored.mark == p.stored.mark && q.actors[i].result.err == nil
}

func (e *explorer) reconcile(p *position, i, cost int, approval string) *position {
	name := p.actors[i].name
	q := p.next(step{what: name + " begins to reconcile " + shortName(approval)})
	key := name + " reconciles " + approval
	e.begin(q, i, cost, key, approval, e.cluster.reconcile(name, approval, p.remembered(i)))
	return q
}

// begin starts a run of an actor.
func (e *explorer) begin(q *position, i, cost int, key, task string, body func(*run) outcome) {
	if head := q.remembered(i); head != nil {
		key += ", knowing " + head.Spec.Hash
	}
	q.mover, q.switches = i, q.switches+cost
	actor := &q.actors[i]
	actor.task, actor.approval, actor.since = task, q.approval(task), len(q.stored.events())
	actor.began = circumstances{rights: q.rights, open: e.open(q)}
	named := e.cluster.proposal.Name
	if actor.approval != nil {
		named = actor.approval.Spec.Proposal.Name
	}
	if proposal := q.stored.get(keyFor("proposals", "shop", named)); proposal != nil {
		actor.began.digest = proposal.object.(*srenix.Proposal).Spec.Digest
	}
	actor.at = e.trie.begin(key, q.clock, body)
	for actor.at.pending != nil && actor.at.pending.quiet {
		given, _ := actor.at.pending.serve(q.stored, q.clock, q.rights)
		actor.at = e.trie.answered(actor.at, given, q.clock)
	}
	e.settle(q, i)
}

// open tells whether the breaker is open: nothing succeeds in between here.
func (e *explorer) open(p *position) bool {
	failures := int32(0)
	for _, approval := range p.stored.approvals() {
		if breaker.Failed(approval) {
			failures++
		}
	}
	return failures >= *e.cluster.config.Executor.BreakerThreshold
}

// operations are the parts of the script that a replica can begin with.
func (e *explorer) operations(p *position, i, cost int) []move {
	var moves []move
	for n, operation := range e.script {
		if operation.replica != p.actors[i].name || p.script[n] != notBegun || !e.ready(p, n) {
			continue
		}
		moves = append(moves, func() (*position, *violation) { return e.operate(p, i, n, cost), nil })
	}
	return moves
}

func (e *explorer) ready(p *position, n int) bool {
	for _, before := range e.script[n].after {
		if p.script[e.number(before)] != wentWell {
			return false
		}
	}
	return true
}

// number is the place of an operation in the script.
func (e *explorer) number(name string) int {
	for n := range e.script {
		if e.script[n].name == name {
			return n
		}
	}
	panic("the script has no operation " + name)
}

func (e *explorer) operate(p *position, i, n, cost int) *position {
	operation := e.script[n]
	q := p.next(step{what: p.actors[i].name + " begins: " + operation.name})
	q.script[n] = underWay
	with := minted{}
	if operation.with != "" {
		with = *p.tokens[e.number(operation.with)]
	}
	key := p.actors[i].name + " serves " + operation.name + " with " + with.jti
	e.begin(q, i, cost, key, operation.name, e.cluster.serve(p.actors[i].name, operation.name, e.cluster.about(operation.another), p.remembered(i), func(r *replica) (*minted, error) {
		return operation.ask(r, with)
	}))
	return q
}
