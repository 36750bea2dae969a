// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// misbehaves is readsConfig, except for pods whose label "do" says otherwise.
func misbehaves(name string) live.Rule {
	rule := readsConfig(name)
	evaluate := rule.Evaluate
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		p, _ := pods.Get(v, subject)
		switch p.Labels["do"] {
		case "panic":
			panic("boom")
		case "fail":
			return nil, errors.New("cannot be")
		case "read":
			widgets.List(v, "", nil)
		case "index":
			pods.ByIndex(v, "none", "")
		case "write":
			return []live.Output{live.Emit(reports, text("ns", "a", ""))}, nil
		case "nameless":
			return []live.Output{live.Emit(notes, text("ns", "", ""))}, nil
		case "nil":
			return []live.Output{{Kind: notes.Ref()}}, nil
		case "mistyped":
			return []live.Output{{Kind: notes.Ref(), Object: pod("ns", "a", nil)}}, nil
		case "twice":
			return []live.Output{note(subject, "1"), note(subject, "2")}, nil
		}
		return evaluate(v, subject)
	}
	return rule
}

func TestARuleThatMisbehavesHarmsOnlyItself(t *testing.T) {
	tests := map[string]struct{ reason, message string }{
		"panic":    {live.ReasonPanicked, "evaluating ns/a: panic: boom"},
		"fail":     {live.ReasonFailed, "evaluating ns/a: cannot be"},
		"read":     {live.ReasonUndeclaredRead, "widgets.example.com (metadata), which is not among its Reads"},
		"index":    {live.ReasonUndeclaredRead, "no index"},
		"write":    {live.ReasonFailed, "reports, which is not among its Outputs"},
		"nameless": {live.ReasonFailed, "without a name"},
		"nil":      {live.ReasonFailed, "<nil>"},
		"mistyped": {live.ReasonFailed, "*v1.Pod"},
		"twice":    {live.ReasonFailed, "twice"},
	}
	for do, want := range tests {
		t.Run(do, func(t *testing.T) {
			other := live.Rule{
				Name: "other", Subject: pods.Ref(), Outputs: []live.KindRef{reports.Ref()},
				Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
					p, _ := pods.Get(v, subject)
					return []live.Output{live.Emit(reports, text(subject.Namespace, subject.Name, p.Labels["do"]))}, nil
				},
			}
			rule := misbehaves("bad")
			rule.Group = "group"
			f := newFixture(t, rule, other)
			f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
			f.run()
			f.settle()

			f.cluster.Set(podResource, pod("ns", "a", map[string]string{"do": do}))
			f.settle()
			noted(t, f, map[string]string{"ns/a": "missing", "ns/b": "missing"}) // prior outputs stay
			status := f.status("bad")
			if status.State != live.Degraded || status.Reason != want.reason || !strings.Contains(status.Message, want.message) {
				t.Errorf("got status %s %s: %q, want reason %s and %q", status.State, status.Reason, status.Message, want.reason, want.message)
			}
			if status.Group != "group" || status.Name != "bad" {
				t.Errorf("got status %s of group %s, want bad of group", status.Name, status.Group)
			}
			if said := texts(f.engine, reports)["ns/a"]; said != do {
				t.Errorf("the other rule says %q, want %q", said, do)
			}
			if status := f.status("other"); status.State != live.Healthy {
				t.Errorf("the other rule is %s: %s", status.State, status.Message)
			}

			f.cluster.Set(podResource, pod("ns", "a", nil))
			f.settle()
			if status := f.status("bad"); status.State != live.Healthy {
				t.Errorf("still %s after the cause went: %s", status.Reason, status.Message)
			}
		})
	}
}

func TestAStatusHealsWithTheLastSubject(t *testing.T) {
	f := newFixture(t, misbehaves("bad"))
	bad := map[string]string{"do": "fail"}
	f.cluster.Set(podResource, pod("ns", "a", bad), pod("ns", "b", bad), pod("ns", "c", nil))
	f.run()
	f.settle()
	if status := f.status("bad"); !strings.Contains(status.Message, "and other subjects") {
		t.Errorf("got message %q, want one that tells there are more", status.Message)
	}
	f.cluster.Delete(podResource, key("ns", "a"))
	f.settle()
	if status := f.status("bad"); status.Reason != live.ReasonFailed || status.Message != "evaluating ns/b: cannot be" {
		t.Errorf("got %s: %q, want Failed for ns/b, and why", status.Reason, status.Message)
	}
	f.cluster.Delete(podResource, key("ns", "b"))
	f.settle()
	if status := f.status("bad"); status.State != live.Healthy {
		t.Errorf("got %s: %q, want Healthy", status.Reason, status.Message)
	}
}

func TestAFailureIsRetriedThoughTheClockIsSetBack(t *testing.T) {
	failing := true
	rule := readsConfig("rule")
	evaluate := rule.Evaluate
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		if failing {
			return nil, errors.New("not now")
		}
		return evaluate(v, subject)
	}
	f := newFixture(t, rule)
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	f.clock.SetTime(f.clock.Now().Add(-time.Hour))
	live.LookAtClock(f.engine)
	f.settle()
	failing = false
	f.step(time.Minute)
	noted(t, f, map[string]string{"ns/a": "missing"})
}

func TestAFailureIsRetriedWithBackoff(t *testing.T) {
	failing := true
	rule := readsConfig("rule")
	evaluate := rule.Evaluate
	var c counter
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		if failing {
			return nil, errors.New("not now")
		}
		return evaluate(v, subject)
	}
	f := newFixture(t, c.count(rule))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	evaluated(t, &c, map[string]int{"a": 1})
	for _, delay := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		f.clock.Step(delay - time.Nanosecond)
		livetest.Eventually(t, "the engine settles", f.engine.Settled)
		evaluated(t, &c, nil)
		f.clock.Step(time.Nanosecond)
		livetest.Eventually(t, "the engine settles", f.engine.Settled)
		evaluated(t, &c, map[string]int{"a": 1})
	}
	failing = false
	f.clock.Step(8 * time.Second)
	livetest.Eventually(t, "the engine settles", f.engine.Settled)
	noted(t, f, map[string]string{"ns/a": "missing"})
	if status := f.status("rule"); status.State != live.Healthy {
		t.Errorf("got %s: %q, want Healthy", status.Reason, status.Message)
	}
}

func TestAPanickingSubscriberHarmsNobody(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	if err := live.Subscribe(f.engine, notes, func(_, _ *corev1.ConfigMap) { panic("boom") }); err != nil {
		t.Fatal(err)
	}
	var seen int
	if err := live.Subscribe(f.engine, notes, func(_, _ *corev1.ConfigMap) { seen++ }); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	noted(t, f, map[string]string{"ns/a": "missing"})
	if seen != 1 {
		t.Errorf("the other subscriber saw %d changes, want 1", seen)
	}
}

// claims writes one note, by the name in the pod's label "claims".
func claimsNote(name string) live.Rule {
	return live.Rule{
		Name: name, Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			p, ok := pods.Get(v, subject)
			if !ok || p.Labels["claims"] == "" {
				return nil, nil
			}
			return []live.Output{live.Emit(notes, text("ns", p.Labels["claims"], "by "+subject.Name+p.Labels["version"]))}, nil
		},
	}
}

func TestOfTwoWritersTheLeastWinsUntilItGoes(t *testing.T) {
	f := newFixture(t, claimsNote("rule"))
	x := func(version string) map[string]string { return map[string]string{"claims": "x", "version": version} }
	f.cluster.Set(podResource, pod("ns", "b", x("1")))
	f.run()
	f.settle()
	for _, step := range []struct {
		name   string
		change func()
		want   map[string]string
		reason string
	}{
		{"one that goes before", func() { f.cluster.Set(podResource, pod("ns", "a", x("1"))) }, map[string]string{"ns/x": "by a1"}, live.ReasonConflict},
		{"a third", func() { f.cluster.Set(podResource, pod("ns", "c", x("1"))) }, map[string]string{"ns/x": "by a1"}, live.ReasonConflict},
		{"the first writes again", func() { f.cluster.Set(podResource, pod("ns", "a", x("2"))) }, map[string]string{"ns/x": "by a2"}, live.ReasonConflict},
		{"the second changes its mind", func() { f.cluster.Set(podResource, pod("ns", "b", x("2"))) }, map[string]string{"ns/x": "by a2"}, live.ReasonConflict},
		{"the first goes", func() { f.cluster.Delete(podResource, key("ns", "a")) }, map[string]string{"ns/x": "by b2"}, live.ReasonConflict},
		{"the third gives up", func() { f.cluster.Set(podResource, pod("ns", "c", nil)) }, map[string]string{"ns/x": "by b2"}, ""},
		{"the third comes back", func() { f.cluster.Set(podResource, pod("ns", "c", x("3"))) }, map[string]string{"ns/x": "by b2"}, live.ReasonConflict},
		{"the second moves", func() { f.cluster.Set(podResource, pod("ns", "b", map[string]string{"claims": "y"})) }, map[string]string{"ns/x": "by c3", "ns/y": "by b"}, ""},
		{"all go", func() { f.cluster.Delete(podResource, key("ns", "b")); f.cluster.Delete(podResource, key("ns", "c")) }, map[string]string{}, ""},
	} {
		step.change()
		f.settle()
		t.Log(step.name)
		noted(t, f, step.want)
		if status := f.status("rule"); status.Reason != step.reason {
			t.Errorf("got status %q: %s, want %q", status.Reason, status.Message, step.reason)
		}
	}
	if nodes, reads, alarms, tasks := live.Footprint(f.engine); nodes+reads+alarms+tasks != 0 {
		t.Errorf("remembered %d nodes, %d reads, %d alarms, %d tasks; want none", nodes, reads, alarms, tasks)
	}
}

func TestARuleCanReportDegradedRules(t *testing.T) {
	watch := live.Rule{
		Name: "watch", Subject: live.Statuses().Ref(), Outputs: []live.KindRef{reports.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			status, ok := live.Statuses().Get(v, subject)
			if !ok || status.State == live.Healthy {
				return nil, nil
			}
			return []live.Output{live.Emit(reports, text("", subject.Name, status.Reason))}, nil
		},
	}
	f := newFixture(t, watch, misbehaves("bad"))
	f.cluster.Set(podResource, pod("ns", "a", map[string]string{"do": "panic"}))
	f.run()
	f.settle()
	if got := texts(f.engine, reports); got["/bad"] != live.ReasonPanicked || len(got) != 1 {
		t.Errorf("got reports %v, want one: /bad Panicked", got)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.settle()
	if got := texts(f.engine, reports); len(got) != 0 {
		t.Errorf("got reports %v, want none", got)
	}
}
