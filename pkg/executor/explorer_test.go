// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"runtime/debug"
	"testing"
	"testing/synctest"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// TestExplorer walks through everything that can happen in each scenario: it is
// exhaustive within what a scenario allows to go wrong, and how often. What it
// checks after each step is in explorer_invariants_test.go.
//
// The processes run the shipped code: reconciler.Reconcile with the policy, the
// tokens, the audit chain and what gathers facts, and the storage of
// proposals/token and proposals/approve with the webhook. They stand still at
// each request to the API server, which is explorer_server_test.go.
//
// Not in it: the index of the chain, with which the other tests of executors run (here
// they list it, which is fewer places to stand still at), several approvals at work in one process (their targets are locked
// against each other), clocks that differ, an API server that acts on a request
// later than its client waits, and the cluster's own admission.
func TestExplorer(t *testing.T) {
	// What is seen stays in memory, and looking through it for garbage takes time.
	percent := debug.SetGCPercent(400)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	for _, s := range scenarios() {
		if testing.Short() {
			s.crashes, s.failures = min(s.crashes, 1), min(s.failures, 1)
		}
		if testing.Short() && !s.short {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			// In a bubble of its own, so that the deadlines of contexts do not depend on
			// how fast this machine is.
			synctest.Test(t, func(t *testing.T) { explore(t, s) })
		})
	}
}

// leastStates come about in any scenario.
const leastStates = 1500

func explore(t *testing.T, s scenario) {
	e := newExplorer(t, s)
	defer e.trie.close()
	first := e.first(t)
	found := e.visit(first)
	t.Logf("%d states, %d transitions, %d paths, depth %d, %d actions; the code ran to %d nodes, and %d times anew from its beginning",
		len(e.seen), e.transitions, e.paths, e.deepest, e.executions, e.trie.nodes, e.trie.repeated)
	if found != nil {
		t.Fatal(e.shortest(first, found))
	}
	least := leastStates
	if !testing.Short() {
		least = max(least, s.states)
	}
	if len(e.seen) < least {
		t.Errorf("only %d states came about, and there were at least %d before: something keeps them from happening", len(e.seen), least)
	}
	if (e.executions == 0) != (s.idle || s.kind == srenix.ActionRunbook) {
		t.Errorf("%d actions were carried out", e.executions)
	}
	if e.cut > 0 {
		t.Errorf("%d paths have more than %d steps and were cut", e.cut, maximumDepth)
	}
}
