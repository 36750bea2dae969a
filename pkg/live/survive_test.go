// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestARuleThatHangsHoldsUpNobodyElse: neither the other rules, nor the first
// sync, nor its own other subjects as far as there are workers.
func TestARuleThatHangsHoldsUpNobodyElse(t *testing.T) {
	release := make(chan struct{})
	hangs := live.Rule{
		Name: "hangs", Subject: pods.Ref(), Outputs: []live.KindRef{reports.Ref()},
		Evaluate: func(_ *live.View, subject live.Key) ([]live.Output, error) {
			if strings.HasPrefix(subject.Name, "hang") {
				<-release
			}
			return []live.Output{live.Emit(reports, text(subject.Namespace, subject.Name, "done"))}, nil
		},
	}
	f := newFixture(t, hangs, readsConfig("works"))
	for i := range 20 { // more than there are workers
		f.cluster.Set(podResource, pod("ns", fmt.Sprintf("hang-%d", i), nil))
	}
	livetest.Start(t, f.engine, f.cluster)
	t.Cleanup(func() { // before the engine is waited for
		select {
		case <-release:
		default:
			close(release)
		}
	})
	livetest.Eventually(t, "the other rule to have seen every pod", func() bool { return len(live.List(f.engine, notes)) == 20 })
	if f.engine.Synced() {
		t.Error("synced, while a rule has not said anything yet")
	}
	// An evaluation may begin only after a step.
	livetest.Eventually(t, "the first sync to go on without it", func() bool {
		f.clock.Step(31 * time.Second)
		live.LookAtClock(f.engine)
		return f.engine.Synced()
	})
	livetest.Eventually(t, "the rule to be reported", func() bool {
		status := f.status("hangs")
		return status.Reason == live.ReasonSlow && strings.Contains(status.Message, "ns/hang-")
	})
	// Its last evaluation, too, may end only after a step.
	livetest.Eventually(t, "the other rule to be healthy", func() bool { return f.status("works").State == live.Healthy })
	close(release)
	livetest.Eventually(t, "its subjects to be done", func() bool { return len(live.List(f.engine, reports)) == 20 })
	f.eventuallyStatus("hangs", "")
}

// TestAnEvaluationThatHangsDoesNotKeepTheEngineFromEnding, and nothing comes of it
// once it has.
func TestAnEvaluationThatHangsDoesNotKeepTheEngineFromEnding(t *testing.T) {
	release := make(chan struct{})
	returned := make(chan struct{})
	hangs := live.Rule{
		Name: "hangs", Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(_ *live.View, subject live.Key) ([]live.Output, error) {
			if subject.Name == "hang" {
				<-release
				defer close(returned)
			}
			return []live.Output{note(subject, "done")}, nil
		},
	}
	f := newFixture(t)
	f.engine = live.New(live.Options{Clock: f.clock, RetryBackoff: quick, ShutdownTimeout: 50 * time.Millisecond})
	if err := f.engine.AddRule(hangs); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "hang", nil), pod("ns", "works", nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.engine.Run(ctx, f.cluster) }()
	livetest.Eventually(t, "the other pod is noted", func() bool { return len(live.List(f.engine, notes)) == 1 })
	cancel()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "of ns/hang by rule hangs") || strings.Contains(err.Error(), "works") {
			t.Errorf("got error %v, want one that names the evaluation", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the engine does not end")
	}
	close(release)
	<-returned
	livetest.Eventually(t, "its worker to be done", f.engine.Settled)
	noted(t, f, map[string]string{"ns/works": "done"})
}

// TestABurstIsCoalescedAndLeavesNothingBehind sends ten thousand changes while
// nothing gets on: each subject is then evaluated once, whatever it missed.
func TestABurstIsCoalescedAndLeavesNothingBehind(t *testing.T) {
	const subjects, changes, workers = 500, 10_000, 4
	var evaluations atomic.Int64
	var gate sync.RWMutex
	rule := readsConfig("rule")
	evaluate := rule.Evaluate
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		outputs, err := evaluate(v, subject)
		evaluations.Add(1)
		gate.RLock() // after it has read: it has to be evaluated again
		defer gate.RUnlock()
		return outputs, err
	}
	f := newFixture(t, rule)
	for i := range subjects {
		f.cluster.Set(podResource, pod("ns", fmt.Sprint(i), nil))
		f.cluster.Set(configResource, text("ns", fmt.Sprint(i), "before"))
	}
	f.run()
	f.settle()
	before := liveHeap()
	evaluations.Store(0)
	want := map[string]string{}
	for i := range subjects {
		want[fmt.Sprint("ns/", i)] = fmt.Sprint(changes - subjects + i)
	}
	gate.Lock()
	for i := range changes {
		f.cluster.Set(configResource, text("ns", fmt.Sprint(i%subjects), fmt.Sprint(i)))
	}
	livetest.Eventually(t, "all changes to arrive", func() bool { return cmp.Equal(want, texts(f.engine, configs)) })
	gate.Unlock()
	f.settle()
	if n := evaluations.Load(); n < subjects || n > subjects+workers {
		t.Errorf("%d evaluations for %d changes of %d subjects, want one each, and one more for each of %d workers", n, changes, subjects, workers)
	}
	noted(t, f, want)
	if _, _, alarms, tasks := live.Footprint(f.engine); alarms+tasks != 0 {
		t.Errorf("%d alarms and %d tasks are left", alarms, tasks)
	}
	f.cluster.Expire(configResource) // the cluster's own memory of the changes
	f.cluster.Set(configResource, text("ns", "after", ""))
	f.settle()
	if after := liveHeap(); after > before+before/10 {
		t.Errorf("%d KiB were in use before the burst, %d KiB after", before>>10, after>>10)
	}
}

// liveHeap is what is in use after a collection.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestTheHeapReturnsAfterALargeClusterIsGone(t *testing.T) {
	e := live.New(live.Options{Workers: 4})
	trimmed := live.NewInput(podResource, live.InputOptions[*corev1.Pod]{Trim: func(p *corev1.Pod) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion}}
	}})
	err := e.AddRule(live.Rule{
		Name: "rule", Subject: trimmed.Ref(), Reads: []live.KindRef{configs.Ref()}, Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			configs.List(v, subject.Namespace, nil)
			v.FirstObserved("seen")
			v.RecheckAt(v.Now().Add(time.Hour))
			return []live.Output{live.Emit(notes, note(subject, "here").Object.(*corev1.ConfigMap))}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	live.Feed(t, e)
	live.FeedReplace(e, configs)
	live.FeedReplace(e, trimmed)
	livetest.Eventually(t, "it settles", e.Settled)
	empty := liveHeap()
	const objects = 20_000
	for i := range objects {
		p := pod(fmt.Sprint("ns", i%100), fmt.Sprint(i), nil)
		p.ResourceVersion = fmt.Sprint(i)
		live.FeedSet(e, trimmed, p)
	}
	livetest.Eventually(t, "all are noted", func() bool { return e.Settled() && len(live.List(e, notes)) == objects })
	full := liveHeap()
	live.FeedReplace(e, trimmed)
	livetest.Eventually(t, "nothing is noted", func() bool { return e.Settled() && len(live.List(e, notes)) == 0 })
	after := liveHeap()
	t.Logf("heap: %d KiB empty, %d KiB full, %d KiB empty again", empty>>10, full>>10, after>>10)
	if nodes, reads, alarms, tasks := live.Footprint(e); nodes+reads+alarms+tasks != 0 {
		t.Errorf("remembered %d nodes, %d reads, %d alarms, %d tasks; want none", nodes, reads, alarms, tasks)
	}
	// Maps keep the buckets that they once had.
	if grown := int64(after) - int64(empty); grown > int64(full-empty)/4 {
		t.Errorf("of %d KiB, %d KiB stay in use", (full-empty)>>10, grown>>10)
	}
}
