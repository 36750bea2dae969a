// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

var errAway = errors.New("etcd is away")

// atFirst tells, once an engine is synced, what the notes said at that moment.
func (f *fixture) atFirst() <-chan map[string]string {
	said := make(chan map[string]string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if f.engine.WaitForSync(ctx) == nil {
			said <- texts(f.engine, notes)
		}
	}()
	f.Cleanup(func() { cancel(); <-done })
	return said
}

func (f *fixture) notSynced() {
	f.Helper()
	livetest.Eventually(f, "nothing is left to do", f.engine.Settled)
	if f.engine.Synced() {
		f.Fatal("synced without what cannot be read")
	}
}

// TestTheFirstSyncWaitsForAnInputThatFails: what a replica that has just started
// does not say is taken for gone.
func TestTheFirstSyncWaitsForAnInputThatFails(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	f.cluster.Fail(configResource, errAway)
	said := f.atFirst()
	livetest.Start(t, f.engine, f.cluster)
	livetest.Settle(t, f.engine, f.cluster, pods)
	f.eventuallyStatus("rule", live.ReasonInputFailing)
	f.notSynced()

	f.cluster.Serve(configResource)
	if diff := cmp.Diff(map[string]string{"ns/a": "x"}, <-said); diff != "" {
		t.Errorf("said once synced (-want +got):\n%s", diff)
	}
}

func TestTheFirstSyncDoesNotWaitForeverForAnInputThatFails(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Fail(configResource, errAway)
	livetest.Start(t, f.engine, f.cluster)
	f.eventuallyStatus("rule", live.ReasonInputFailing)
	f.clock.Step(time.Minute - time.Nanosecond)
	f.notSynced()
	// The timer of the first sync may be set only after a step.
	livetest.Eventually(t, "it is synced", func() bool {
		f.clock.Step(time.Minute)
		return f.engine.Synced()
	})
	f.eventuallyStatus("rule", live.ReasonInputFailing)
	noted(t, f, map[string]string{})
}

// TestTheFirstSyncWaitsForAnInputThatIsLostBeforeIt, be that before its readers are
// evaluated for the first time, or while they are.
func TestTheFirstSyncWaitsForAnInputThatIsLostBeforeIt(t *testing.T) {
	lose := func(f *fixture) {
		for range 3 {
			live.FeedError(f.engine, configs.Ref(), errAway)
		}
	}
	t.Run("before its readers are evaluated", func(t *testing.T) {
		f := newFixture(t, readsConfig("rule"))
		live.Feed(t, f.engine)
		said := f.atFirst()
		live.FeedReplace(f.engine, configs, text("ns", "a", "x"))
		lose(f)
		live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
		f.notSynced()
		live.FeedReplace(f.engine, configs, text("ns", "a", "y"))
		if diff := cmp.Diff(map[string]string{"ns/a": "y"}, <-said); diff != "" {
			t.Errorf("said once synced (-want +got):\n%s", diff)
		}
	})
	t.Run("while they are", func(t *testing.T) {
		entered, leave := make(chan struct{}, 2), make(chan struct{})
		rule := readsConfig("rule")
		reads := rule.Evaluate
		rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
			entered <- struct{}{}
			<-leave
			return reads(v, subject)
		}
		f := newFixture(t, rule)
		live.Feed(t, f.engine)
		said := f.atFirst()
		live.FeedReplace(f.engine, configs, text("ns", "a", "x"))
		live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
		<-entered
		lose(f)
		close(leave)
		f.notSynced()
		live.FeedReplace(f.engine, configs, text("ns", "a", "y"))
		if diff := cmp.Diff(map[string]string{"ns/a": "y"}, <-said); diff != "" {
			t.Errorf("said once synced (-want +got):\n%s", diff)
		}
	})
}

// TestTheFirstSyncDoesNotWaitForChangesToCease: each subject has been evaluated with the
// first state, and what is queued by then says no more than what will be.
func TestTheFirstSyncDoesNotWaitForChangesToCease(t *testing.T) {
	const subjects = 30
	f := newFixture(t)
	rule := readsConfig("rule")
	reads := rule.Evaluate
	var evaluations atomic.Int64
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		outputs, err := reads(v, subject)
		// It is queued again before it is done, by a change that it sees next time.
		live.FeedSet(f.engine, configs, text("ns", subject.Name, fmt.Sprint(evaluations.Add(1))))
		return outputs, err
	}
	if err := f.engine.AddRule(rule); err != nil {
		t.Fatal(err)
	}
	live.Feed(t, f.engine)
	var all []*corev1.Pod
	for i := range subjects {
		all = append(all, pod("ns", fmt.Sprint(i), nil))
	}
	live.FeedReplace(f.engine, configs)
	live.FeedReplace(f.engine, pods, all...)
	livetest.Eventually(t, "it is synced", f.engine.Synced)
	if n := len(live.List(f.engine, notes)); n != subjects {
		t.Errorf("%d of %d pods are noted once synced", n, subjects)
	}
}

func TestTheErrorOfWaitingNamesTheRulesThatAreAwaited(t *testing.T) {
	leave := make(chan struct{})
	rule := readsConfig("busy")
	reads := rule.Evaluate
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		<-leave
		return reads(v, subject)
	}
	f := newFixture(t, rule)
	live.Feed(t, f.engine)
	defer close(leave)
	live.FeedReplace(f.engine, configs)
	live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.engine.WaitForSync(canceled); err == nil || !strings.Contains(err.Error(), "rules with subjects not evaluated yet: [busy]") {
		t.Errorf("got %v, want an error that names the rule", err)
	}
}

// reportsDegraded notes each rule that cannot say all, and why.
func reportsDegraded() live.Rule {
	return live.Rule{
		Name: "degraded", Subject: live.Statuses().Ref(), Outputs: []live.KindRef{reports.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			status, exists := live.Statuses().Get(v, subject)
			if !exists || status.State == live.Healthy {
				return nil, nil
			}
			return []live.Output{live.Emit(reports, text("", status.Name, status.Reason))}, nil
		},
	}
}

// TestNothingIsReportedOfInputsThatAreStillAwaited: whoever waits for the first sync,
// or watches from before, is not told of troubles that a start always has.
func TestNothingIsReportedOfInputsThatAreStillAwaited(t *testing.T) {
	f := newFixture(t, readsConfig("rule"), reportsDegraded())
	var reported atomic.Int32
	if err := live.Subscribe(f.engine, reports, func(_, after *corev1.ConfigMap) { reported.Add(1) }); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Fail(configResource, errAway)
	livetest.Start(t, f.engine, f.cluster)
	f.eventuallyStatus("rule", live.ReasonInputFailing)
	f.notSynced()
	f.cluster.Serve(configResource)
	if err := f.engine.WaitForSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := reported.Load(); n != 0 {
		t.Errorf("%d reports were made and withdrawn in the first sync", n)
	}
}

// TestWhatCannotBeReadIsReportedOnceSynced: a sync that goes on without an input tells.
func TestWhatCannotBeReadIsReportedOnceSynced(t *testing.T) {
	f := newFixture(t, readsConfig("rule"), reportsDegraded())
	f.cluster.Forbid(configResource)
	livetest.Start(t, f.engine, f.cluster)
	if err := f.engine.WaitForSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"/rule": live.ReasonInputForbidden}, texts(f.engine, reports)); diff != "" {
		t.Errorf("reported once synced (-want +got):\n%s", diff)
	}
}
