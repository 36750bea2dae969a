// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// maximumParked bounds how many goroutines stand still at a time. More make
// exploring faster, because a run that is continued need not be repeated.
const maximumParked = 3000

var errAbandoned = errors.New("the explorer has no more use for this run")

// run is shipped code at work in a goroutine of its own: one call of Reconcile,
// or one request to the apiserver. It stands still at each request to the API
// server until the explorer answers.
type run struct {
	clock     *watchedClock
	requests  chan *request
	answers   chan answer
	outcome   outcome
	abandoned bool
	// admitting is set where a webhook begins to judge an Approval.
	admitting bool
	// head, if not nil, answers everything: the process remembers the audit chain.
	head *opsv1alpha1.AuditEvent
	// deadlines are those of contexts, in the explorer's time.
	deadlines map[time.Time]time.Time
}

// watchedClock knows whether it was looked at. Only one goroutine at a time does.
type watchedClock struct {
	now  time.Time
	read bool
}

func (c *watchedClock) Now() time.Time {
	c.read = true
	return c.now
}

func (c *watchedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// outcome is how a run ended.
type outcome struct {
	err error
	// again is when a reconciliation wants to be called again; 0 is never.
	again time.Duration
	// head is the index of the last audit event that the process knows; -1 is none.
	head int64
	// minted is the token that a person got.
	minted *minted
}

// root is how a run begins.
type root struct {
	clock time.Time
	body  func(*run) outcome
}

// node is where a run stands after certain answers. The same code with the same
// answers, and the same times where it looks at the clock, does the same, so that
// a node is visited in any number of worlds, and the code runs once for each.
type node struct {
	*root
	parent *node
	answer answer
	at     time.Time
	// pending is what the run asks for; nil once it has ended.
	pending *request
	outcome outcome
	next    map[string]*node
	served  map[string]served
	mark    sum
	// live is the goroutine that stands here, if there still is one.
	live *run
}

// served is what the API server did with a request, given what was stored.
type served struct {
	answer answer
	change *item
}

// ask hands a request to the explorer, and stands still until it is answered.
func (r *run) ask(ctx context.Context, asked *request) answer {
	if r.abandoned {
		return answer{err: errAbandoned}
	}
	if deadline, has := ctx.Deadline(); has {
		known, seen := r.deadlines[deadline]
		if !seen {
			// A context is made right before the request that it is first seen at.
			known = r.clock.Now().Add(time.Until(deadline).Round(time.Millisecond))
			r.deadlines[deadline] = known
		}
		asked.deadline = known
	}
	asked.admits, r.admitting = r.admitting, false
	r.requests <- asked
	given := <-r.answers
	if errors.Is(given.err, errAbandoned) {
		r.abandoned = true
	}
	return given
}

// trie holds the nodes of all runs.
type trie struct {
	roots  map[string]*node
	parked []*node
	// live counts goroutines, nodes where the code ran to, and repeated how often a
	// run had to be repeated for it.
	live, nodes, repeated int
}

// begin returns where a run stands at first. The key tells runs apart.
func (t *trie) begin(key string, clock time.Time, body func(*run) outcome) *node {
	timed := atTime(key, clock)
	for _, key := range []string{key, timed} {
		if known := t.roots[key]; known != nil {
			return known
		}
	}
	begun := &node{root: &root{clock: clock, body: body}}
	live := begun.start()
	if t.stand(begun, live); live.clock.read {
		key = timed
	}
	begun.mark = sumOf(key)
	t.roots[key] = begun
	return begun
}

// atTime is the key of what depends on the time, because the clock was looked at.
func atTime(key string, clock time.Time) string {
	return key + "@" + strconv.FormatInt(clock.UnixNano(), 10)
}

func (r *root) start() *run {
	started := &run{
		clock: &watchedClock{now: r.clock}, requests: make(chan *request), answers: make(chan answer),
		deadlines: map[time.Time]time.Time{},
	}
	go func() {
		started.outcome = r.body(started)
		close(started.requests)
	}()
	return started
}

// stand waits for the next request of a run, and lets it stand at a new node.
func (t *trie) stand(at *node, live *run) {
	t.nodes++
	asked, more := <-live.requests
	if !more {
		at.outcome = live.outcome
		return
	}
	at.pending, at.live = asked, live
	at.next, at.served = map[string]*node{}, map[string]served{}
	t.parked = append(t.parked, at)
	for t.live++; t.live > maximumParked; {
		oldest := t.parked[0]
		t.parked = t.parked[1:]
		t.abandon(oldest)
	}
}

func (t *trie) abandon(at *node) {
	if at.live == nil {
		return
	}
	at.live.answers <- answer{err: errAbandoned}
	at.live = nil
	t.live--
}

// close ends every goroutine.
func (t *trie) close() {
	for _, at := range t.parked {
		t.abandon(at)
	}
	t.parked = nil
}

// answered returns where a run goes on to with an answer that it gets at a time.
func (t *trie) answered(at *node, given answer, clock time.Time) *node {
	key := given.mark
	if known := at.next[key]; known != nil {
		return known
	}
	timed := atTime(key, clock)
	if known := at.next[timed]; known != nil {
		return known
	}
	live := at.live
	if live == nil {
		live = at.repeat()
		t.repeated++
	} else {
		at.live = nil
		t.live--
	}
	live.hear(given, clock)
	child := &node{root: at.root, parent: at, answer: given, at: clock}
	if t.stand(child, live); live.clock.read {
		key = timed
	}
	child.mark = sumOf(at.mark.String(), key)
	at.next[key] = child
	return child
}

func (r *run) hear(given answer, clock time.Time) {
	r.clock.now, r.clock.read = clock, false
	// Contexts made at different moments of a run get different deadlines by this. The
	// clock is that of the bubble, which moves only while everybody in it waits.
	time.Sleep(time.Nanosecond)
	r.answers <- given
}

// repeat brings a new goroutine to where another one stood before.
func (n *node) repeat() *run {
	if n.parent == nil {
		live := n.start()
		n.check(<-live.requests)
		return live
	}
	live := n.parent.repeat()
	live.hear(n.answer, n.at)
	n.check(<-live.requests)
	return live
}

// check makes sure that what everything here rests on is true.
func (n *node) check(asked *request) {
	if asked == nil || asked.String() != n.pending.String() || asked.deadline != n.pending.deadline {
		panic(fmt.Sprintf("the same run did two different things: %v and %v", n.pending, asked))
	}
}
