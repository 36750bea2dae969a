// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func TestTrimRunsBeforeAnythingIsStored(t *testing.T) {
	trimmed := live.NewInput(podResource, live.InputOptions[*corev1.Pod]{Trim: func(p *corev1.Pod) *corev1.Pod {
		p.ResourceVersion, p.Status = "", corev1.PodStatus{}
		return p
	}})
	for name, noStreaming := range map[string]bool{"streamed list": false, "plain list": true} {
		t.Run(name, func(t *testing.T) {
			var c counter
			f := newFixture(t, c.count(live.Rule{
				Name: "rule", Subject: trimmed.Ref(),
				Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) { return nil, nil },
			}))
			f.cluster.NoStreaming = noStreaming
			a := pod("ns", "a", nil)
			a.Status.Message = "secret"
			f.cluster.Set(podResource, a)
			f.run()
			check := func() {
				t.Helper()
				for _, p := range live.List(f.engine, trimmed) {
					if p.Status.Message != "" {
						t.Errorf("pod %s was stored untrimmed: %q", p.Name, p.Status.Message)
					}
				}
			}
			check()
			a.Status.Message = "another"
			f.cluster.Set(podResource, a, pod("ns", "b", nil))
			livetest.Eventually(t, "both pods are there", func() bool { return len(live.List(f.engine, trimmed)) == 2 && f.engine.Settled() })
			check()
			evaluated(t, &c, map[string]int{"a": 1, "b": 1}) // the update changed nothing that is kept
		})
	}
}

func TestAddRuleRefusesWhatCannotWork(t *testing.T) {
	none := func(*live.View, live.Key) ([]live.Output, error) { return nil, nil }
	back := live.Rule{Name: "back", Subject: reports.Ref(), Outputs: []live.KindRef{notes.Ref()}, Evaluate: none}
	tests := map[string]struct {
		rule live.Rule
		want string
	}{
		"no name":            {live.Rule{Subject: pods.Ref(), Evaluate: none}, "needs a name"},
		"no subject":         {live.Rule{Name: "x", Evaluate: none}, "no subject"},
		"no evaluate":        {live.Rule{Name: "x", Subject: pods.Ref()}, "no Evaluate"},
		"name taken":         {live.Rule{Name: "THERE", Subject: pods.Ref(), Evaluate: none}, "share the name"},
		"writes an input":    {live.Rule{Name: "x", Subject: pods.Ref(), Outputs: []live.KindRef{pods.Ref()}, Evaluate: none}, "cannot write pods"},
		"writes statuses":    {live.Rule{Name: "x", Subject: pods.Ref(), Outputs: []live.KindRef{live.Statuses().Ref()}, Evaluate: none}, "cannot write statuses"},
		"computes itself":    {live.Rule{Name: "x", Subject: notes.Ref(), Outputs: []live.KindRef{notes.Ref()}, Evaluate: none}, "cycle"},
		"cycle of two rules": {back, "cycle"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := live.New(live.Options{})
			there := live.Rule{Name: "there", Subject: notes.Ref(), Outputs: []live.KindRef{reports.Ref()}, Evaluate: none}
			if err := e.AddRule(there); err != nil {
				t.Fatal(err)
			}
			if err := e.AddRule(test.rule); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestASnapshotTellsWhatItDoesNotKnow(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Forbid(configResource)
	f.run()
	v := f.engine.Snapshot()
	pods.List(v, "", nil)
	if err := v.Unknown(); err != nil {
		t.Errorf("pods are known, got %v", err)
	}
	configs.Get(v, key("ns", "a"))
	if err := v.Unknown(); err == nil || !strings.Contains(err.Error(), "configmaps") {
		t.Errorf("got %v, want an error that names configmaps", err)
	}
	v = f.engine.Snapshot()
	widgets.List(v, "", nil)
	if v.Unknown() == nil {
		t.Error("a kind that the engine does not have must be unknown")
	}
}
