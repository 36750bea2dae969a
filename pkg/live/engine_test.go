// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// counter counts evaluations by subject.
type counter struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *counter) count(rule live.Rule) live.Rule {
	evaluate := rule.Evaluate
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		c.mu.Lock()
		if c.counts == nil {
			c.counts = map[string]int{}
		}
		c.counts[subject.Name]++
		c.mu.Unlock()
		return evaluate(v, subject)
	}
	return rule
}

// take returns the counts since the last call.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = nil
	return counts
}

func noted(t *testing.T, f *fixture, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, texts(f.engine, notes)); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func evaluated(t *testing.T, c *counter, want map[string]int) {
	t.Helper()
	if diff := cmp.Diff(want, c.take()); diff != "" {
		t.Errorf("evaluations (-want +got):\n%s", diff)
	}
}

func TestAChangeEvaluatesExactlyTheSubjectsThatReadIt(t *testing.T) {
	onNode := live.Rule{
		Name: "rule", Subject: configs.Ref(), Reads: []live.KindRef{pods.Ref()}, Outputs: []live.KindRef{notes.Ref()},
	}
	names := func(found []*corev1.Pod) string {
		var names []string
		for _, p := range found {
			names = append(names, p.Namespace+"/"+p.Name)
		}
		return strings.Join(names, " ")
	}
	tests := map[string]struct {
		read func(v *live.View, subject live.Key) string
		// want is what config map "a" reads, before and after each change.
		want     []string
		affected []map[string]int
	}{
		"by key": {
			read: func(v *live.View, subject live.Key) string {
				p, ok := pods.Get(v, subject)
				return fmt.Sprint(ok, ok && p.Spec.NodeName == "n2")
			},
			want:     []string{"true false", "true true", "false false"},
			affected: []map[string]int{{"a": 1}, {"a": 1}},
		},
		"by index value": {
			read: func(v *live.View, subject live.Key) string {
				return names(pods.ByIndex(v, "node", map[string]string{"a": "n1", "b": "n2", "c": "n3"}[subject.Name]))
			},
			want:     []string{"ns/a ns/b", "ns/b", "ns/b"},
			affected: []map[string]int{{"a": 1, "b": 1}, {"b": 1}},
		},
		"by selector in a namespace": {
			read: func(v *live.View, subject live.Key) string {
				return names(pods.List(v, "ns", labels.SelectorFromSet(labels.Set{"app": subject.Name})))
			},
			want:     []string{"ns/a", "", ""},
			affected: []map[string]int{{"a": 1, "b": 1}, {"b": 1}},
		},
		"by selector in another namespace": {
			read: func(v *live.View, subject live.Key) string {
				return names(pods.List(v, "other", nil))
			},
			want:     []string{"", "", ""},
			affected: []map[string]int{nil, nil},
		},
		"everything": {
			read: func(v *live.View, subject live.Key) string {
				return names(pods.List(v, "", nil))
			},
			want:     []string{"ns/a ns/b", "ns/a ns/b", "ns/b"},
			affected: []map[string]int{{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}},
		},
		"nothing": {
			read: func(v *live.View, subject live.Key) string {
				return names(pods.List(v, "", labels.Nothing()))
			},
			want:     []string{"", "", ""},
			affected: []map[string]int{nil, nil},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var c counter
			rule := onNode
			rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
				return []live.Output{note(subject, test.read(v, subject))}, nil
			}
			f := newFixture(t, c.count(rule))
			a, b := pod("ns", "a", map[string]string{"app": "a"}), pod("ns", "b", nil)
			a.Spec.NodeName, b.Spec.NodeName = "n1", "n1"
			f.cluster.Set(podResource, a, b)
			f.cluster.Set(configResource, text("ns", "a", ""), text("ns", "b", ""), text("ns", "c", ""))
			f.run()
			f.settle()
			evaluated(t, &c, map[string]int{"a": 1, "b": 1, "c": 1})

			said := []string{texts(f.engine, notes)["ns/a"]}
			a.Spec.NodeName, a.Labels = "n2", map[string]string{"app": "b"}
			f.cluster.Set(podResource, a)
			f.settle()
			evaluated(t, &c, test.affected[0])
			said = append(said, texts(f.engine, notes)["ns/a"])
			f.cluster.Delete(podResource, key("ns", "a"))
			f.settle()
			evaluated(t, &c, test.affected[1])
			said = append(said, texts(f.engine, notes)["ns/a"])
			if diff := cmp.Diff(test.want, said); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADependencyEndsWithTheEvaluationThatDoesNotReadAnyMore(t *testing.T) {
	var c counter
	rule := readsConfig("rule")
	evaluate := rule.Evaluate
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		if p, ok := pods.Get(v, subject); !ok || p.Labels["reads"] == "no" {
			return nil, nil
		}
		return evaluate(v, subject)
	}
	f := newFixture(t, c.count(rule))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	noted(t, f, map[string]string{"ns/a": "missing"})
	f.cluster.Set(podResource, pod("ns", "a", map[string]string{"reads": "no"}))
	f.settle()
	noted(t, f, map[string]string{})
	c.take()
	f.cluster.Set(configResource, text("ns", "a", "late"))
	f.settle()
	evaluated(t, &c, nil)
	if nodes, reads, alarms, tasks := live.Footprint(f.engine); nodes+reads+alarms+tasks != 0 {
		t.Errorf("remembered %d nodes, %d reads, %d alarms, %d tasks; want none", nodes, reads, alarms, tasks)
	}
}

func TestWhatASubjectPutOutGoesWithIt(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
	f.run()
	f.settle()
	noted(t, f, map[string]string{"ns/a": "missing", "ns/b": "missing"})
	f.cluster.Delete(podResource, key("ns", "a"))
	f.settle()
	noted(t, f, map[string]string{"ns/b": "missing"})
	f.cluster.Delete(podResource, key("ns", "b"))
	f.settle()
	noted(t, f, map[string]string{})
	if nodes, reads, alarms, tasks := live.Footprint(f.engine); nodes+reads+alarms+tasks != 0 {
		t.Errorf("remembered %d nodes, %d reads, %d alarms, %d tasks; want none", nodes, reads, alarms, tasks)
	}
}

func TestADerivedCollectionFeedsFurtherRules(t *testing.T) {
	report := live.Rule{
		Name: "report", Subject: notes.Ref(), Reads: []live.KindRef{configs.Ref()}, Outputs: []live.KindRef{reports.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			n, ok := notes.Get(v, subject)
			if !ok {
				return nil, nil
			}
			suffix, _ := configs.Get(v, key("ns", "suffix"))
			if suffix == nil {
				suffix = text("", "", "")
			}
			return []live.Output{live.Emit(reports, text(n.Namespace, n.Name, n.Data["text"]+suffix.Data["text"]))}, nil
		},
	}
	f := newFixture(t, readsConfig("rule"), report)
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	f.run()
	f.settle()
	for _, step := range []struct {
		change func()
		want   map[string]string
	}{
		{func() {}, map[string]string{"ns/a": "x"}},
		{func() { f.cluster.Set(configResource, text("ns", "suffix", "!")) }, map[string]string{"ns/a": "x!"}},
		{func() { f.cluster.Set(configResource, text("ns", "a", "y")) }, map[string]string{"ns/a": "y!"}},
		{func() { f.cluster.Delete(podResource, key("ns", "a")) }, map[string]string{}},
	} {
		step.change()
		f.settle()
		if diff := cmp.Diff(step.want, texts(f.engine, reports)); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
	}
}

func TestSubscribersSeeEveryChangeInOrderAndNothingElse(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	var seen []string
	record := func(old, new *corev1.ConfigMap) {
		describe := func(c *corev1.ConfigMap) string {
			if c == nil {
				return "-"
			}
			return c.Data["text"]
		}
		if _, there := live.Get(f.engine, notes, key("ns", "a")); there != (new != nil) {
			t.Errorf("a subscriber was called before the change was in the collection")
		}
		seen = append(seen, describe(old)+">"+describe(new))
	}
	if err := live.Subscribe(f.engine, notes, record); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	for _, change := range []func(){
		func() {},
		func() { f.cluster.Set(configResource, text("ns", "a", "1")) },
		func() { f.cluster.Set(podResource, pod("ns", "a", map[string]string{"any": "thing"})) }, // same output
		func() { f.cluster.Expire(podResource) },
		func() { f.cluster.Set(configResource, text("ns", "a", "2")) },
		func() { f.cluster.Delete(podResource, key("ns", "a")) },
	} {
		change()
		f.settle()
	}
	if diff := cmp.Diff([]string{"->missing", "missing>1", "1>2", "2>-"}, seen); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestALateSubscriberSeesWhatThereIs(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Set(podResource, pod("ns", "b", nil), pod("ns", "a", nil))
	f.run()
	f.settle()
	var seen []string
	if err := live.Subscribe(f.engine, notes, func(_, new *corev1.ConfigMap) { seen = append(seen, new.Name) }); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "c", nil))
	f.settle()
	if diff := cmp.Diff([]string{"a", "b", "c"}, seen); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestARelistThatChangesNothingEvaluatesNothing(t *testing.T) {
	var c counter
	f := newFixture(t, c.count(readsConfig("rule")))
	f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil), pod("ns", "gone", nil))
	f.run()
	f.settle()
	c.take()

	lists := f.cluster.Lists(podResource)
	f.cluster.Expire(podResource)
	livetest.Eventually(t, "the pods are listed again", func() bool { return f.cluster.Lists(podResource) > lists })
	f.cluster.Set(podResource, pod("ns", "after", nil)) // arrives after the list
	f.settle()
	evaluated(t, &c, map[string]int{"after": 1})
}

func TestChangesWhileASubjectIsEvaluatedCoalesce(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var c counter
	rule := readsConfig("rule")
	evaluate := rule.Evaluate
	first := true
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		outputs, err := evaluate(v, subject)
		if first {
			first = false
			close(entered)
			<-leave
		}
		return outputs, err
	}
	f := newFixture(t, c.count(rule))
	live.Feed(t, f.engine)
	live.FeedReplace(f.engine, configs)
	live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
	<-entered
	for i := range 100 {
		live.FeedSet(f.engine, configs, text("ns", "a", fmt.Sprint(i)))
	}
	if f.engine.Settled() {
		t.Error("settled while a subject is being evaluated")
	}
	close(leave)
	livetest.Eventually(t, "the engine settles", f.engine.Settled)
	evaluated(t, &c, map[string]int{"a": 2})
	noted(t, f, map[string]string{"ns/a": "99"})
}
