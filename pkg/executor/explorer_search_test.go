// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// maximumDepth is how many steps are followed. No scenario has a path as long, so
// that each is walked through to its end: a path that is cut fails the test.
const maximumDepth = 500

// maximumShortest bounds how many states are looked at for the shortest way to
// what the search has found.
const maximumShortest = 300_000

// explorer walks through everything that can happen in a scenario, depth first.
//
// It is a model checker without a model: what moves is the shipped code, in
// goroutines that stand still at each request to the API server, and the explorer
// decides whose request is answered next, and how, or who dies. What cannot be
// copied is the goroutine: one that is wanted at a place where it was before is
// made anew, and given the same answers up to there. States that were seen before
// are not gone on from.
type explorer struct {
	scenario
	cluster *cluster
	trie    *trie
	seen    map[sum]struct{}
	// good are worlds from which everything comes to a good end.
	good   map[sum]struct{}
	linked map[*opsv1alpha1.AuditEvent]bool

	transitions, executions, paths, deepest, cut int
}

func newExplorer(t *testing.T, s scenario) *explorer {
	t.Helper()
	e := &explorer{
		scenario: s, cluster: newCluster(t, s.kind), trie: &trie{roots: map[string]*node{}},
		good: map[sum]struct{}{}, seen: map[sum]struct{}{}, linked: map[*opsv1alpha1.AuditEvent]bool{},
	}
	// Where requests may fail, or rights may go, every request is worth a stop.
	e.cluster.stops = s.failures > 0 || s.revokes
	if s.configure != nil {
		s.configure(&e.cluster.config)
	}
	return e
}

// bounded tells whether the scenario limits how often a run is interrupted by another.
func (e *explorer) bounded() bool { return e.switches >= 0 }

// first is the world in which everything begins, after the prologue.
func (e *explorer) first(t *testing.T) *position {
	t.Helper()
	p := &position{
		clock: start, rights: true, mover: -1, born: e.executors,
		script: make([]progress, len(e.script)), tokens: make([]*minted, len(e.script)), events: make([]int, len(e.events)),
	}
	p.stored = p.stored.
		store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "shop-uid"}}).
		store(newTarget(e.kind)).store(e.cluster.proposal.DeepCopy()).store((&world{}).finding())
	if slices.ContainsFunc(e.script, func(part personal) bool { return part.another }) {
		p.stored = p.stored.store(e.cluster.another.DeepCopy())
	}
	for i := range e.executors {
		p.actors = append(p.actors, actor{name: fmt.Sprintf("executor-%d", i), executor: true, head: -1})
	}
	for _, name := range []string{replicaA, replicaB} {
		p.actors = append(p.actors, actor{name: name, head: -1})
	}
	for _, name := range e.prologue {
		if e.script[e.number(name)].another {
			// Restarts by tokens of the same second write the same.
			p.clock = p.clock.Add(time.Second)
		}
		p = e.alone(t, p, name)
	}
	p.parent, p.depth, p.mover, p.switches = nil, 0, -1, 0
	return p
}

// alone lets one operation run with nothing in between.
func (e *explorer) alone(t *testing.T, p *position, name string) *position {
	t.Helper()
	n := e.number(name)
	for i := range p.actors {
		if p.actors[i].name != e.script[n].replica {
			continue
		}
		p = e.operate(p, i, n, 0)
		for p.busy(i) {
			var broken *violation
			if p, broken = e.step(p, i, 0, answered); broken != nil {
				t.Fatalf("prologue: %s: %s", broken.invariant, broken.text)
			}
		}
		if p.script[n] != wentWell {
			t.Fatalf("prologue: %s: %v", name, p.actors[i].result.err)
		}
		// What a replica remembers makes no difference, and fewer states.
		p.actors[i].head = -1
	}
	return p
}

// visit goes on from a world in every way there is.
func (e *explorer) visit(p *position) *violation {
	identity := p.identity(e.bounded())
	if _, known := e.seen[identity]; known {
		e.paths++
		return nil
	}
	e.seen[identity] = struct{}{}
	e.deepest = max(e.deepest, p.depth)
	if found := inspect(p); found != nil {
		return found
	}
	if p.depth >= maximumDepth {
		e.cut++
		return e.finish(p)
	}
	moves := e.moves(p)
	if len(moves) == 0 {
		e.paths++
	}
	for _, move := range moves {
		e.transitions++
		q, found := move()
		if found == nil {
			found = e.visit(q)
		}
		if found != nil {
			return found
		}
	}
	return e.finish(p)
}

// shortest looks, breadth first, for the shortest way to the like of what was
// found, and returns what was found if it is too far.
func (e *explorer) shortest(first *position, like *violation) *violation {
	seen := map[sum]struct{}{first.identity(e.bounded()): {}}
	for layer := []*position{first}; len(layer) > 0 && len(seen) < maximumShortest; {
		var next []*position
		for _, p := range layer {
			for _, move := range e.moves(p) {
				q, found := move()
				if found == nil {
					identity := q.identity(e.bounded())
					if _, known := seen[identity]; known {
						continue
					}
					seen[identity] = struct{}{}
					if found = inspect(q); found == nil {
						found = e.finish(q)
					}
				}
				if found != nil && found.invariant == like.invariant {
					return found
				}
				if found == nil {
					next = append(next, q)
				}
			}
		}
		layer = next
	}
	return like
}

// trace tells how a world came about. Reads in a row are one line.
func trace(p *position) string {
	var steps []*position
	for ; p != nil && p.parent != nil; p = p.parent {
		steps = append(steps, p)
	}
	var text strings.Builder
	reads := 0
	for _, p := range slices.Backward(steps) {
		if p.step.reads() {
			reads++
			continue
		}
		if reads > 0 {
			fmt.Fprintf(&text, "\n\t      ... %d reads", reads)
			reads = 0
		}
		fmt.Fprintf(&text, "\n\t%s  %s", p.clock.Sub(start), &p.step)
	}
	return text.String()
}

// finish lets everything that is under way end, and one executor go on, with
// nothing failing any more: every approval must come to its end.
func (e *explorer) finish(p *position) *violation {
	var passed []sum
	for range maximumRounds {
		world := p.world()
		if _, known := e.good[world]; known {
			break
		}
		passed = append(passed, world)
		if i := p.firstBusy(); i >= 0 {
			var found *violation
			if p, found = e.step(p, i, 0, answered); found != nil {
				return found
			}
			continue
		}
		before := p
		q, wait, found := e.round(p)
		if found != nil {
			return found
		}
		if q == nil {
			if found := e.ended(p); found != nil {
				return found
			}
			break
		}
		if p = q; p.stored.mark != before.stored.mark {
			continue
		}
		if p = e.passTime(p, wait); p == nil {
			return broken(nothingIsLost, before, "nobody looks again: %v", phases(before))
		}
	}
	if len(passed) == maximumRounds {
		return broken(nothingIsLost, p, "no end after %d rounds: %v", maximumRounds, phases(p))
	}
	for _, world := range passed {
		e.good[world] = struct{}{}
	}
	return nil
}

// maximumRounds is more than any approvals need to come to their end.
const maximumRounds = 2000

func (p *position) firstBusy() int {
	for i := range p.actors {
		if p.busy(i) {
			return i
		}
	}
	return -1
}

// round reconciles each approval once, and tells when the first of them wants to
// be looked at again. Nil means that all are at their end.
func (e *explorer) round(p *position) (*position, time.Duration, *violation) {
	var q *position
	var wait time.Duration
	for _, approval := range p.stored.approvals() {
		if completed(approval) {
			continue
		}
		if q == nil {
			q = p
		}
		q = e.reconcile(q, 0, 0, approval.Name)
		for q.busy(0) {
			var found *violation
			if q, found = e.step(q, 0, 0, answered); found != nil {
				return nil, 0, found
			}
		}
		again := q.actors[0].result.again
		if q.actors[0].result.err != nil {
			again = maximumBackoff
		}
		if again > 0 && (wait == 0 || again < wait) {
			wait = again
		}
	}
	return q, wait, nil
}

// passTime lets the time pass that everybody waits. Those who wait for another
// person, who does not come, wait until the proposal goes.
func (e *explorer) passTime(p *position, wait time.Duration) *position {
	if wait == 0 {
		return nil
	}
	for _, approval := range p.stored.approvals() {
		if !completed(approval) && approval.Status.Phase != opsv1alpha1.PhaseAwaitingSecondApproval {
			q := p.next(step{what: "time passes"})
			q.clock = p.clock.Add(wait)
			return q
		}
	}
	q := p.next(step{what: "the proposal goes, for which nobody else had a say"})
	q.stored = p.stored.remove(keyOf(e.cluster.proposal))
	return q
}

func phases(p *position) []string {
	var phases []string
	for _, approval := range p.stored.approvals() {
		phases = append(phases, fmt.Sprintf("%s is %q (%s)", shortName(approval.Name), approval.Status.Phase, approval.Status.Message))
	}
	return phases
}
