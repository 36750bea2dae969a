// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// actor is a process: an executor, or a replica of the apiserver.
type actor struct {
	name     string
	executor bool
	// head is the index of the audit event that it remembers; -1 is none.
	head int64
	// at is where its run stands; nil while it is idle.
	at *node
	// task is the name of the approval that is reconciled, or of the operation that
	// is served; approval is the former, as it was stored then.
	task     string
	approval *opsv1alpha1.Approval
	// since is how many audit events there were when the run, or the webhook that
	// judges in it, began; and began what else was so then.
	since int
	began circumstances
	// result is that of its last run.
	result outcome
}

// circumstances are what an action is judged by: they held when its run began.
type circumstances struct {
	rights bool
	// digest of the proposal; empty if it was gone.
	digest string
	// open tells whether as many executions had failed as open the breaker.
	open bool
}

// act is one action that went through.
type act struct {
	approval, digest string
	at               time.Time
}

// progress is how far an operation of the script got.
type progress int

const (
	notBegun progress = iota
	underWay
	wentWell
	wentWrong
)

// position is the world at one moment. Like what it is made of, it does not
// change: a move makes another one.
type position struct {
	stored shelf
	clock  time.Time
	// rights tells whether access reviews say yes.
	rights bool
	// meddled tells whether somebody else touched the target, so that what looking
	// at it shows need not be srenix's doing.
	meddled bool
	// opposed tells whether something happened that may end any approval: rights or
	// the proposal went, the target is another, tokens may have expired. Disturbed
	// tells whether a process or a request was hindered, so that actions may fail.
	opposed, disturbed bool
	actors             []actor
	// born counts executors, for their identities.
	born int

	script []progress
	tokens []*minted
	// events, crashes, failures and switches that happened already.
	events                      []int
	crashes, failures, switches int
	// mover is the actor that moved last; -1 is none.
	mover int

	// acts are the actions that went through, in their order.
	acts []act

	// parent and step tell how the world got here.
	parent *position
	step   step
	depth  int

	// worldSum is that of world, once it is known.
	worldSum sum
	known    bool
}

// step is what led to a world.
type step struct {
	// what happened, or who asked for what, with which fate and which error.
	what  string
	asked *request
	fate  fate
	err   error
	late  bool
}

func (s *step) String() string {
	if s.asked == nil {
		return s.what
	}
	text := fmt.Sprintf("%s: %s (%s)", s.what, s.asked, s.fate)
	if s.late {
		text += ", too late"
	}
	if s.err != nil {
		text += fmt.Sprintf(": %v", s.err)
	}
	return text
}

// reads tells whether nothing but a successful reading happened.
func (s *step) reads() bool {
	return s.asked != nil && !s.asked.mutates() && !s.asked.dryRun && s.fate == answered && !s.late
}

// next is a copy that a move may change.
func (p *position) next(step step) *position {
	q := *p
	q.actors, q.script, q.tokens, q.events = slices.Clone(p.actors), slices.Clone(p.script), slices.Clone(p.tokens), slices.Clone(p.events)
	q.acts = slices.Clip(p.acts)
	q.parent, q.step, q.depth, q.known = p, step, p.depth+1, false
	return &q
}

// world identifies what there is, whatever is still allowed to happen. Of times
// only the clock counts, and stored objects hold no other ones than it had.
func (p *position) world() sum {
	if p.known {
		return p.worldSum
	}
	text := make([]byte, 0, 512)
	number := func(n int64) { text = append(strconv.AppendInt(text, n, 36), ' ') }
	name := func(name string) { text = append(append(text, name...), ' ') }
	for _, is := range []bool{p.rights, p.meddled, p.opposed, p.disturbed} {
		text = strconv.AppendBool(text, is)
	}
	number(p.clock.UnixNano())
	number(int64(p.born))
	for i := range p.actors {
		actor := &p.actors[i]
		name(actor.name)
		number(actor.head)
		if actor.at != nil {
			text = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(text, actor.at.mark[0]), actor.at.mark[1])
			number(int64(actor.since))
			text = strconv.AppendBool(strconv.AppendBool(text, actor.began.rights), actor.began.open)
			name(actor.began.digest)
		}
	}
	for i := range p.script {
		number(int64(p.script[i]))
		if p.tokens[i] != nil {
			name(p.tokens[i].jti)
		}
	}
	for _, act := range p.acts {
		name(act.approval)
		name(act.digest)
	}
	p.known, p.worldSum = true, p.stored.mark.xor(sumOf(string(text)))
	return p.worldSum
}

// identity is world, and what is still allowed to happen.
func (p *position) identity(bounded bool) sum {
	rest := make([]byte, 0, 64)
	for _, times := range p.events {
		rest = append(rest, byte(times))
	}
	rest = append(rest, byte(p.crashes), byte(p.failures))
	if bounded {
		if rest = append(rest, byte(p.switches)); p.busy(p.mover) {
			rest = append(rest, byte(p.mover))
		}
	}
	return p.world().xor(sumOf(string(rest)))
}

func (p *position) busy(i int) bool { return i >= 0 && p.actors[i].at != nil }

// approval is the stored one of a name, or nil.
func (p *position) approval(name string) *opsv1alpha1.Approval {
	if found := p.stored.get(keyFor("approvals", "shop", name)); found != nil {
		return found.object.(*opsv1alpha1.Approval)
	}
	return nil
}

// remembered is the audit event that an actor knows of.
func (p *position) remembered(i int) *opsv1alpha1.AuditEvent {
	if p.actors[i].head < 0 {
		return nil
	}
	return p.stored.events()[p.actors[i].head]
}
