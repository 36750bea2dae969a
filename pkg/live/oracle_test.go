// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// The oracle: after every step of a random history, the collections that one
// engine kept up to date equal those that a new engine computes from the state of
// the cluster and the clock. Histories come from a seed; a failing one is shrunk.

// step is one change of the cluster or of the clock; independent of all others,
// so that any of a history can be left out.
type step struct {
	name  string
	apply func(*world)
	// settle tells whether to compare after this step, or go on at once.
	settle bool
}

// world is a cluster, an engine that follows it, and a clock.
type world struct {
	clock   *testingclock.FakeClock
	memory  *livetest.Memory
	engine  *live.Engine
	stop    func()
	pods    map[live.Key]*corev1.Pod
	configs map[live.Key]*corev1.ConfigMap
	widgets map[live.Key]*metav1.PartialObjectMetadata // nil while not installed
	version int
}

func newWorld(t testing.TB, now time.Time, memory *livetest.Memory) *world {
	w := &world{
		clock: testingclock.NewFakeClock(now), memory: memory,
		pods: map[live.Key]*corev1.Pod{}, configs: map[live.Key]*corev1.ConfigMap{},
	}
	w.engine = live.New(live.Options{Clock: w.clock, Memory: w.memory, Workers: 3, SyncTimeout: 10000 * time.Hour})
	for _, rule := range oracleRules() {
		if err := w.engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	w.stop = live.Feed(t, w.engine)
	return w
}

func values[T any](m map[live.Key]T) []T {
	var all []T
	for _, value := range m {
		all = append(all, value)
	}
	return all
}

func (w *world) stamp(object metav1.Object) {
	w.version++
	object.SetResourceVersion(fmt.Sprint(w.version))
}

func (w *world) setPod(p *corev1.Pod) {
	p = p.DeepCopy()
	w.stamp(p)
	w.pods[keyOf(p)] = p
	live.FeedSet(w.engine, pods, p)
}

func (w *world) setConfig(c *corev1.ConfigMap) {
	c = c.DeepCopy()
	w.stamp(c)
	w.configs[keyOf(c)] = c
	live.FeedSet(w.engine, configs, c)
}

// feedWidgets is what a list of them brings, or that there is no such resource.
func (w *world) feedWidgets(to *live.Engine) {
	if w.widgets == nil {
		live.FeedError(to, widgets.Ref(), apierrors.NewGenericServerResponse(404, "list", widgetResource.GroupResource(), "", "", 0, false))
		return
	}
	live.FeedReplace(to, widgets, values(w.widgets)...)
}

// setClock sets the clock, which may go back.
func (w *world) setClock(d time.Duration) {
	w.clock.SetTime(w.clock.Now().Add(d))
	live.LookAtClock(w.engine)
}

func keyOf(object metav1.Object) live.Key { return key(object.GetNamespace(), object.GetName()) }

func randomHistory(random *rand.Rand) []step {
	pick := func(choices ...string) string { return choices[random.IntN(len(choices))] }
	namespace := func() string { return pick("n1", "n2") }
	name := func() string { return pick("a", "b", "c", "late", "note") }
	randomPod := func() *corev1.Pod {
		p := pod(namespace(), name(), map[string]string{"app": pick("a", "b"), "tier": pick("x", "y")})
		if random.IntN(3) > 0 {
			p.Labels["config"] = namespace() + "." + name()
		}
		if random.IntN(2) > 0 {
			p.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(random.IntN(120)) * time.Second))
		}
		p.Spec.NodeName = pick("", "node1", "node2")
		return p
	}
	randomWidget := func() *metav1.PartialObjectMetadata {
		w := widget(name())
		w.Namespace, w.Labels = namespace(), map[string]string{"size": pick("s", "m")}
		return w
	}
	randomConfig := func() *corev1.ConfigMap {
		c := text(namespace(), name(), pick("", "s", "t"))
		c.Data["next"] = pick("", "a", "b")
		c.Data["selector"] = pick("", "app=a", "app=b,tier=x", "app!=a", "tier in (x,y)", "none")
		c.Data["everywhere"] = pick("", "yes")
		return c
	}
	var history []step
	for range 4 + random.IntN(24) {
		var s step
		switch random.IntN(13) {
		case 0, 1, 2:
			p := randomPod()
			s = step{name: fmt.Sprintf("set pod %s %v on %q created %s", keyOf(p), p.Labels, p.Spec.NodeName, p.CreationTimestamp.Format(time.TimeOnly)), apply: func(w *world) { w.setPod(p) }}
		case 3, 4:
			c := randomConfig()
			s = step{name: fmt.Sprintf("set config %s %v", keyOf(c), c.Data), apply: func(w *world) { w.setConfig(c) }}
		case 5:
			gone := pod(namespace(), name(), nil)
			s = step{name: fmt.Sprintf("delete pod %s", keyOf(gone)), apply: func(w *world) {
				delete(w.pods, keyOf(gone))
				live.FeedDelete(w.engine, pods, gone)
			}}
		case 6:
			gone := text(namespace(), name(), "")
			s = step{name: fmt.Sprintf("delete config %s", keyOf(gone)), apply: func(w *world) {
				delete(w.configs, keyOf(gone))
				live.FeedDelete(w.engine, configs, gone)
			}}
		case 7:
			d := time.Duration(random.IntN(60)) * time.Second
			s = step{name: fmt.Sprintf("clock +%s", d), apply: func(w *world) { w.clock.Step(d) }}
		case 8: // changes are missed, and found by a list
			p, c, gone := randomPod(), randomConfig(), key(namespace(), name())
			s = step{name: fmt.Sprintf("relist with pod %s %v on %q, config %s %v, without pod %s", keyOf(p), p.Labels, p.Spec.NodeName, keyOf(c), c.Data, gone), apply: func(w *world) {
				p, c := p.DeepCopy(), c.DeepCopy()
				w.stamp(p)
				w.stamp(c)
				delete(w.pods, gone)
				w.pods[keyOf(p)], w.configs[keyOf(c)] = p, c
				live.FeedReplace(w.engine, pods, values(w.pods)...)
				live.FeedReplace(w.engine, configs, values(w.configs)...)
			}}
		case 9: // changes while an input is not known; then it is again
			p, c, settle := randomPod(), randomConfig(), random.IntN(2) > 0
			d := time.Duration(random.IntN(60)) * time.Second
			s = step{name: fmt.Sprintf("configs forbidden, pod %s %v on %q, config %s %v, clock +%s, granted", keyOf(p), p.Labels, p.Spec.NodeName, keyOf(c), c.Data, d), apply: func(w *world) {
				live.FeedError(w.engine, configs.Ref(), apierrors.NewForbidden(configResource.GroupResource(), "", errors.New("no")))
				w.setPod(p)
				w.clock.Step(d)
				for settle && !w.engine.Settled() {
					time.Sleep(10 * time.Microsecond)
				}
				c := c.DeepCopy()
				w.stamp(c)
				w.configs[keyOf(c)] = c
				live.FeedReplace(w.engine, configs, values(w.configs)...)
			}}
		case 10: // the clock is set, either way
			d := time.Duration(random.IntN(7200)-3600) * time.Second
			s = step{name: fmt.Sprintf("clock set by %s", d), apply: func(w *world) { w.setClock(d) }}
		case 11: // widgets are installed, or were and a list finds another
			one := randomWidget()
			s = step{name: fmt.Sprintf("widgets served, with %s %v", keyOf(one), one.Labels), apply: func(w *world) {
				if w.widgets == nil {
					w.widgets = map[live.Key]*metav1.PartialObjectMetadata{}
				}
				one := one.DeepCopy()
				w.stamp(one)
				w.widgets[keyOf(one)] = one
				w.feedWidgets(w.engine)
			}}
		case 12:
			s = step{name: "widgets not installed", apply: func(w *world) {
				w.widgets = nil
				w.feedWidgets(w.engine)
			}}
		}
		s.settle = random.IntN(3) > 0
		history = append(history, s)
	}
	history[len(history)-1].settle = true
	return history
}

func (w *world) derived(t testing.TB) map[string]map[string]string {
	livetest.Eventually(t, "the engine settles", w.engine.Settled)
	result := map[string]map[string]string{}
	for _, kind := range oracleKinds {
		said := map[string]string{}
		for _, object := range live.List(w.engine, kind) {
			said[keyOf(object).String()] = object.Data["kinds"] + ":" + object.Data["text"]
		}
		result[kind.Ref().String()] = said
	}
	return result
}

// scratch computes everything anew.
func (w *world) scratch(t testing.TB) map[string]map[string]string {
	fresh := newWorld(t, w.clock.Now(), w.memory.Copy())
	defer fresh.stop()
	live.FeedReplace(fresh.engine, pods, values(w.pods)...)
	live.FeedReplace(fresh.engine, configs, values(w.configs)...)
	w.feedWidgets(fresh.engine)
	livetest.Eventually(t, "the new engine is synced", fresh.engine.Synced)
	return fresh.derived(t)
}

// difference runs a history and returns the first difference from scratch.
func difference(t testing.TB, history []step) string {
	w := newWorld(t, epoch, &livetest.Memory{})
	defer w.stop()
	live.FeedReplace(w.engine, pods)
	live.FeedReplace(w.engine, configs)
	w.feedWidgets(w.engine)
	for i, s := range history {
		s.apply(w)
		if !s.settle && i < len(history)-1 {
			continue
		}
		got := w.derived(t) // first, because what it remembers is shared
		if diff := cmp.Diff(w.scratch(t), got); diff != "" {
			return fmt.Sprintf("after step %d (%s), from scratch and incrementally (-want +got):\n%s", i, s.name, diff)
		}
		for _, status := range live.List(w.engine, live.Statuses()) {
			if status.State != live.Healthy {
				return fmt.Sprintf("after step %d (%s): rule %s is degraded: %s", i, s.name, status.Rule, status.Message)
			}
		}
	}
	return ""
}

// shrink leaves out steps as long as the history still fails.
func shrink(t testing.TB, history []step, diff string) ([]step, string) {
	for i := 0; i < len(history); {
		without := append(append([]step{}, history[:i]...), history[i+1:]...)
		if shorter := difference(t, without); shorter != "" {
			history, diff = without, shorter
			continue
		}
		i++
	}
	return history, diff
}

func TestIncrementalEqualsFromScratch(t *testing.T) {
	seeds := uint64(3000)
	if testing.Short() {
		seeds = 100
	}
	const shards = 10 // most of a history is waiting for workers
	for shard := range uint64(shards) {
		t.Run(fmt.Sprintf("shard %d", shard), func(t *testing.T) {
			t.Parallel()
			for seed := shard; seed < seeds; seed += shards {
				checkHistory(t, seed)
			}
		})
	}
}

func checkHistory(t *testing.T, seed uint64) {
	t.Helper()
	history := randomHistory(rand.New(rand.NewPCG(seed, 0)))
	diff := difference(t, history)
	if diff == "" {
		return
	}
	history, diff = shrink(t, history, diff)
	var names []string
	for _, s := range history {
		names = append(names, s.name)
	}
	t.Fatalf("seed %d, shrunk to:\n%s\n%s", seed, strings.Join(names, "\n"), diff)
}

// TestIncrementalEqualsFromScratchThroughReflectors does the same through
// client-go reflectors, with watches that close, expire and fail.
func TestIncrementalEqualsFromScratchThroughReflectors(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			f := newFixture(t, oracleRules()...)
			f.run()
			for range 15 {
				f.disturb(random)
				f.settle()
				w := &world{
					clock: f.clock, memory: f.memory, engine: f.engine,
					pods: map[live.Key]*corev1.Pod{}, configs: map[live.Key]*corev1.ConfigMap{},
					widgets: map[live.Key]*metav1.PartialObjectMetadata{},
				}
				for _, p := range live.List(f.engine, pods) {
					w.pods[keyOf(p)] = p
				}
				for _, c := range live.List(f.engine, configs) {
					w.configs[keyOf(c)] = c
				}
				for _, rule := range oracleRules() {
					f.eventuallyStatus(rule.Name, "")
				}
				got := w.derived(t)
				if diff := cmp.Diff(w.scratch(t), got); diff != "" {
					t.Fatalf("seed %d, from scratch and incrementally (-want +got):\n%s", seed, diff)
				}
			}
		})
	}
}

// disturb makes several changes at once.
func (f *fixture) disturb(random *rand.Rand) {
	resource := []schema.GroupVersionResource{podResource, configResource}[random.IntN(2)]
	healed := true
	switch random.IntN(6) {
	case 0:
		f.cluster.CloseWatches(resource)
	case 1:
		f.cluster.Expire(resource)
	case 2:
		f.cluster.Forbid(resource)
		healed = false
	case 3:
		f.cluster.Fail(resource, apierrors.NewInternalError(errors.New("away")))
		healed = false
	}
	for range 1 + random.IntN(6) {
		name, namespace := string(rune('a'+random.IntN(4))), fmt.Sprintf("n%d", 1+random.IntN(2))
		switch random.IntN(5) {
		case 0:
			f.cluster.Delete(podResource, key(namespace, name))
		case 1:
			f.cluster.Delete(configResource, key(namespace, name))
		case 2:
			c := text(namespace, name, fmt.Sprint(random.IntN(3)))
			c.Data["selector"] = []string{"", "app=a", "app!=a"}[random.IntN(3)]
			f.cluster.Set(configResource, c)
		case 3:
			p := pod(namespace, name, map[string]string{"app": []string{"a", "b"}[random.IntN(2)], "config": namespace + "." + name})
			p.Spec.NodeName = fmt.Sprintf("node%d", random.IntN(2))
			p.CreationTimestamp = metav1.NewTime(f.clock.Now())
			f.cluster.Set(podResource, p)
		case 4:
			f.clock.Step(time.Duration(random.IntN(40)) * time.Second)
		}
	}
	if !healed {
		f.cluster.Serve(resource)
	}
}
