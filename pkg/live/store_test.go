// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// hostile are inputs that cannot take in a pod which carries the label "hostile".
var hostile = map[string]live.Kind[*corev1.Pod]{
	"trimming panics": live.NewInput(podResource, live.InputOptions[*corev1.Pod]{
		Trim: func(p *corev1.Pod) *corev1.Pod {
			if p.Labels["hostile"] != "" {
				panic("boom")
			}
			p.Status = corev1.PodStatus{}
			return p
		},
	}),
	"trimming leaves nothing": live.NewInput(podResource, live.InputOptions[*corev1.Pod]{
		Trim: func(p *corev1.Pod) *corev1.Pod {
			if p.Labels["hostile"] != "" {
				return nil
			}
			return p
		},
	}),
	"an index function panics": live.NewInput(podResource, live.InputOptions[*corev1.Pod]{
		Indexes: map[string]func(*corev1.Pod) []string{"node": func(p *corev1.Pod) []string {
			if p.Labels["hostile"] != "" {
				panic("boom")
			}
			return []string{p.Spec.NodeName}
		}},
	}),
}

// TestAnObjectThatCannotBeTakenIn makes the input unknown as long as it is there,
// and no longer; what was known of it stays.
func TestAnObjectThatCannotBeTakenIn(t *testing.T) {
	evil := func() *corev1.Pod {
		p := pod("ns", "a", map[string]string{"hostile": "yes"})
		p.Status.Message = "secret"
		return p
	}
	arrives := map[string]func(*livetest.Cluster){
		"in a watch": func(c *livetest.Cluster) { c.Set(podResource, evil()) },
		"in a list": func(c *livetest.Cluster) {
			c.Expire(podResource)
			c.Set(podResource, evil())
		},
	}
	leaves := map[string]func(*livetest.Cluster){
		"is deleted":             func(c *livetest.Cluster) { c.Delete(podResource, key("ns", "a")) },
		"is deleted, and missed": func(c *livetest.Cluster) { c.Expire(podResource); c.Delete(podResource, key("ns", "a")) },
		"becomes harmless":       func(c *livetest.Cluster) { c.Set(podResource, pod("ns", "a", nil)) },
		"becomes harmless, and is listed": func(c *livetest.Cluster) {
			c.Expire(podResource)
			c.Set(podResource, pod("ns", "a", nil))
		},
	}
	for how, input := range hostile {
		for streaming, noStreaming := range map[string]bool{"streamed lists": false, "plain lists": true} {
			for arrival, arrive := range arrives {
				for departure, leave := range leaves {
					t.Run(strings.Join([]string{how, streaming, arrival, departure}, "/"), func(t *testing.T) {
						f := newFixture(t, live.Rule{
							Name: "rule", Subject: input.Ref(), Outputs: []live.KindRef{notes.Ref()},
							Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
								if _, ok := input.Get(v, subject); !ok {
									return nil, nil
								}
								return []live.Output{note(subject, "here")}, nil
							},
						})
						f.cluster.NoStreaming = noStreaming
						f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
						f.run()
						livetest.Settle(t, f.engine, f.cluster, input)
						noted(t, f, map[string]string{"ns/a": "here", "ns/b": "here"})

						var resolved atomic.Bool
						if err := live.Subscribe(f.engine, notes, func(_, n *corev1.ConfigMap) { resolved.Store(resolved.Load() || n == nil) }); err != nil {
							t.Fatal(err)
						}
						arrive(f.cluster)
						status := f.eventuallyStatus("rule", live.ReasonInputFailing)
						if !strings.Contains(status.Message, "ns/a") {
							t.Errorf("got message %q, want one that names the object", status.Message)
						}
						f.cluster.Set(podResource, pod("ns", "c", nil)) // is taken in, but not judged
						livetest.Eventually(t, "the rest is still read", func() bool { return len(live.List(f.engine, input)) == 3 && f.engine.Settled() })
						noted(t, f, map[string]string{"ns/a": "here", "ns/b": "here"})
						for _, p := range live.List(f.engine, input) {
							if p.Status.Message != "" || p.Labels["hostile"] != "" {
								t.Errorf("%s was stored untrimmed", p.Name)
							}
						}
						if resolved.Load() {
							t.Error("a note went though its pod is there")
						}

						leave(f.cluster)
						f.eventuallyStatus("rule", "")
						livetest.Settle(t, f.engine, f.cluster, input)
						want := map[string]string{"ns/a": "here", "ns/b": "here", "ns/c": "here"}
						if strings.HasPrefix(departure, "is deleted") {
							delete(want, "ns/a")
						}
						noted(t, f, want)
					})
				}
			}
		}
	}
}

func TestAnObjectThatCannotBeTakenInAtTheStart(t *testing.T) {
	input := hostile["trimming panics"]
	f := newFixture(t, live.Rule{
		Name: "rule", Subject: input.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			input.List(v, "", nil)
			return []live.Output{note(subject, "here")}, nil
		},
	})
	evil := map[string]string{"hostile": "yes"}
	f.cluster.Set(podResource, pod("ns", "a", evil), pod("ns", "b", evil), pod("ns", "c", nil))
	f.run() // the first sync does not wait for it
	status := f.eventuallyStatus("rule", live.ReasonInputFailing)
	if !strings.Contains(status.Message, "ns/a") || !strings.Contains(status.Message, "1 more") {
		t.Errorf("got message %q, want one that names the first object, and how many there are", status.Message)
	}
	noted(t, f, map[string]string{})
	f.cluster.Delete(podResource, key("ns", "a"))
	livetest.Eventually(t, "the other one is named", func() bool { return strings.Contains(f.status("rule").Message, "ns/b") })
	f.cluster.Delete(podResource, key("ns", "b"))
	f.eventuallyStatus("rule", "")
	noted(t, f, map[string]string{"ns/c": "here"})
}

func TestAnOutputThatCannotBeIndexedIsAFaultOfItsRule(t *testing.T) {
	picky := live.NewDerived("picky", map[string]func(*corev1.ConfigMap) []string{
		"first letter": func(c *corev1.ConfigMap) []string { return []string{c.Data["text"][:1]} },
	})
	f := newFixture(t, live.Rule{
		Name: "rule", Subject: configs.Ref(), Outputs: []live.KindRef{picky.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			config, _ := configs.Get(v, subject)
			return []live.Output{live.Emit(picky, text(subject.Namespace, subject.Name, config.Data["text"]))}, nil
		},
	})
	f.cluster.Set(configResource, text("ns", "a", "x"))
	f.run()
	settle := func() { livetest.Settle(t, f.engine, f.cluster, configs) }
	settle()
	f.cluster.Set(configResource, text("ns", "a", ""))
	settle()
	if status := f.status("rule"); status.Reason != live.ReasonFailed || !strings.Contains(status.Message, "first letter") {
		t.Errorf("got status %q: %s, want one that names the index", status.Reason, status.Message)
	}
	if found := picky.ByIndex(f.engine.Snapshot(), "first letter", "x"); len(found) != 1 {
		t.Errorf("found %d objects, want what was put out before", len(found))
	}
	f.cluster.Set(configResource, text("ns", "a", "y"))
	settle()
	if status := f.status("rule"); status.State != live.Healthy {
		t.Errorf("still %s: %s", status.Reason, status.Message)
	}
}
