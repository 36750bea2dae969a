// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// overdue notes pods that have been without a node for longer than a minute, as
// of the first time that was seen.
func overdue() live.Rule {
	return live.Rule{
		Name: "overdue", Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			p, ok := pods.Get(v, subject)
			if !ok || p.Spec.NodeName != "" {
				return nil, nil
			}
			since := v.FirstObserved("pending")
			if p.Labels["do"] == "fail" {
				return nil, errors.New("cannot be")
			}
			if due := since.Add(time.Minute); v.Now().Before(due) {
				v.RecheckAt(due)
				v.RecheckAt(due.Add(time.Hour)) // the earliest wins
				v.RecheckAt(v.Now())            // and the past does not count
				return nil, nil
			}
			return []live.Output{note(subject, since.Format(time.TimeOnly))}, nil
		},
	}
}

func (f *fixture) step(d time.Duration) {
	f.Helper()
	f.clock.Step(d)
	livetest.Eventually(f, "the engine settles", f.engine.Settled)
}

func TestASubjectIsEvaluatedAgainWhenItAskedFor(t *testing.T) {
	var c counter
	f := newFixture(t, c.count(overdue()))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	f.step(30 * time.Second)
	f.cluster.Set(podResource, pod("ns", "b", nil))
	f.settle()
	evaluated(t, &c, map[string]int{"a": 1, "b": 1})
	f.step(30*time.Second - time.Nanosecond)
	evaluated(t, &c, nil)
	f.step(time.Nanosecond)
	evaluated(t, &c, map[string]int{"a": 1})
	noted(t, f, map[string]string{"ns/a": "00:00:00"})
	f.step(time.Hour)
	evaluated(t, &c, map[string]int{"b": 1})
	noted(t, f, map[string]string{"ns/a": "00:00:00", "ns/b": "00:00:30"})
	f.step(24 * time.Hour)
	evaluated(t, &c, nil) // no polling
}

func TestATimerGoesWithItsReason(t *testing.T) {
	var c counter
	f := newFixture(t, c.count(overdue()))
	f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
	f.run()
	f.settle()
	scheduled := pod("ns", "a", nil)
	scheduled.Spec.NodeName = "n"
	f.cluster.Set(podResource, scheduled)
	f.cluster.Delete(podResource, key("ns", "b"))
	f.settle()
	c.take()
	if nodes, _, alarms, _ := live.Footprint(f.engine); nodes+alarms != 0 {
		t.Errorf("remembered %d nodes and %d alarms, want none", nodes, alarms)
	}
	f.step(time.Hour)
	evaluated(t, &c, nil)
}

func TestWhatWasFirstObservedIsForgottenWhenItEnds(t *testing.T) {
	f := newFixture(t, overdue())
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	f.step(30 * time.Second)
	// A failure is no end.
	f.cluster.Set(podResource, pod("ns", "a", map[string]string{"do": "fail"}))
	f.settle()
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.settle()
	want := []live.Observation{{Rule: "overdue", Subject: key("ns", "a"), ID: "pending", Since: epoch}}
	if diff := cmp.Diff(want, f.engine.Observations()); diff != "" {
		t.Errorf("observations (-want +got):\n%s", diff)
	}
	scheduled := pod("ns", "a", nil)
	scheduled.Spec.NodeName = "n"
	f.cluster.Set(podResource, scheduled)
	f.settle()
	if got := f.engine.Observations(); got != nil {
		t.Errorf("got observations %v, want none", got)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.settle()
	f.step(time.Minute)
	noted(t, f, map[string]string{"ns/a": "00:00:30"})
}

func TestWhatWasFirstObservedSurvivesARestart(t *testing.T) {
	f := newFixture(t)
	f.engine = live.New(live.Options{
		Clock: f.clock,
		RecallFirstObserved: func(rule string, subject live.Key, id string) (time.Time, bool) {
			known := rule == "overdue" && subject == key("ns", "a") && id == "pending"
			return epoch.Add(-time.Hour), known
		},
	})
	if err := f.engine.AddRule(overdue()); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
	f.run()
	livetest.Settle(t, f.engine, f.cluster, pods)
	noted(t, f, map[string]string{"ns/a": "23:00:00"})
}
