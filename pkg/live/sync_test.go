// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
