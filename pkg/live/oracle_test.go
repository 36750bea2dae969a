// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	t       testing.TB
	clock   *testingclock.FakeClock
	memory  *livetest.Memory
	engine  *live.Engine
	stop    func()
	pods    map[live.Key]*corev1.Pod
	configs map[live.Key]*corev1.ConfigMap
	widgets map[live.Key]*metav1.PartialObjectMetadata // nil while not installed
	served  string                                     // the version in which widgets are read
	version int
	// sightings are what is remembered, if all is right.
	sightings *sightings
}

func newWorld(t testing.TB, rules []live.Rule, now time.Time, memory *livetest.Memory) *world {
	w := &world{
		t: t, clock: testingclock.NewFakeClock(now), memory: memory,
		pods: map[live.Key]*corev1.Pod{}, configs: map[live.Key]*corev1.ConfigMap{}, served: "v1",
	}
	w.sightings = &sightings{now: w.clock.Now, pods: w.pods, may: map[live.Key]map[sighting]bool{}}
	w.engine = live.New(live.Options{Clock: w.clock, Memory: w.memory, Workers: 3, SyncTimeout: 10000 * time.Hour})
	for _, rule := range rules {
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
	w.sightings.changed(keyOf(p))
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
		live.FeedInstalled(to)
		live.FeedError(to, widgets.Ref(), apierrors.NewGenericServerResponse(404, "list", widgetResource.GroupResource(), "", "", 0, false))
		return
	}
	var all []*metav1.PartialObjectMetadata
	for _, one := range w.widgets {
		one = one.DeepCopy() // with the same resourceVersion, whatever version it is read in
		one.APIVersion = "example.com/" + w.served
		all = append(all, one)
	}
	live.FeedInstalled(to, widgets.Ref())
	live.FeedReplace(to, widgets, all...)
}

// lose makes an input unknown: it is forbidden, or fails, or is not found although it
// is installed, be it by definitions that were lost since.
func (w *world) lose(ref live.KindRef, how string) {
	err := apierrors.NewInternalError(errors.New("away"))
	switch how {
	case "forbidden":
		live.FeedError(w.engine, ref, apierrors.NewForbidden(ref.Resource().GroupResource(), "", errors.New("no")))
		return
	case "not found", "not found, without definitions":
		if how != "not found" {
			live.FeedError(w.engine, live.Definitions(), apierrors.NewForbidden(live.InstallationResource().GroupResource(), "", errors.New("no")))
		}
		err = apierrors.NewNotFound(ref.Resource().GroupResource(), "")
	}
	for range 3 { // after which it is no hiccup
		live.FeedError(w.engine, ref, err)
	}
}

// setClock sets the clock, which may go back.
func (w *world) setClock(d time.Duration) {
	w.clock.SetTime(w.clock.Now().Add(d))
	live.LookAtClock(w.engine)
	w.sightings.moved()
}

// step lets time go by.
func (w *world) step(d time.Duration) {
	w.clock.Step(d)
	w.sightings.moved()
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
		switch random.IntN(15) {
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
				w.sightings.changed(keyOf(gone))
			}}
		case 6:
			gone := text(namespace(), name(), "")
			s = step{name: fmt.Sprintf("delete config %s", keyOf(gone)), apply: func(w *world) {
				delete(w.configs, keyOf(gone))
				live.FeedDelete(w.engine, configs, gone)
			}}
		case 7:
			d := time.Duration(random.IntN(60)) * time.Second
			s = step{name: fmt.Sprintf("clock +%s", d), apply: func(w *world) { w.step(d) }}
		case 8: // changes are missed, and found by a list
			p, c, gone := randomPod(), randomConfig(), key(namespace(), name())
			s = step{name: fmt.Sprintf("relist with pod %s %v on %q, config %s %v, without pod %s", keyOf(p), p.Labels, p.Spec.NodeName, keyOf(c), c.Data, gone), apply: func(w *world) {
				p, c := p.DeepCopy(), c.DeepCopy()
				w.stamp(p)
				w.stamp(c)
				delete(w.pods, gone)
				w.pods[keyOf(p)], w.configs[keyOf(c)] = p, c
				live.FeedReplace(w.engine, pods, values(w.pods)...)
				w.sightings.changed(gone)
				w.sightings.changed(keyOf(p))
				live.FeedReplace(w.engine, configs, values(w.configs)...)
			}}
		case 9: // changes while an input is not known; then it is again
			p, c, settle, how := randomPod(), randomConfig(), random.IntN(2) > 0, pick("forbidden", "failing")
			d := time.Duration(random.IntN(60)) * time.Second
			s = step{name: fmt.Sprintf("configs %s, pod %s %v on %q, config %s %v, clock +%s, granted", how, keyOf(p), p.Labels, p.Spec.NodeName, keyOf(c), c.Data, d), apply: func(w *world) {
				w.lose(configs.Ref(), how)
				w.sightings.lose()
				w.setPod(p)
				w.step(d)
				if settle {
					w.settle()
				}
				c := c.DeepCopy()
				w.stamp(c)
				w.configs[keyOf(c)] = c
				live.FeedReplace(w.engine, configs, values(w.configs)...)
				w.sightings.found()
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
		case 13: // the optional input is not known; then it is again, or is not installed
			c, settle, how, removed := randomConfig(), random.IntN(2) > 0, pick("forbidden", "failing", "not found", "not found, without definitions"), random.IntN(3) == 0
			s = step{name: fmt.Sprintf("widgets %s, config %s %v, granted, removed meanwhile: %v", how, keyOf(c), c.Data, removed), apply: func(w *world) {
				w.lose(widgets.Ref(), how)
				w.setConfig(c)
				if settle {
					w.settle()
				}
				if removed {
					w.widgets = nil
				}
				w.feedWidgets(w.engine)
			}}
		case 14: // what there is is the same, but for its apiVersion
			version := pick("v1", "v2")
			s = step{name: "widgets read in " + version, apply: func(w *world) {
				w.served = version
				w.feedWidgets(w.engine)
			}}
		}
		s.settle = random.IntN(3) > 0
		history = append(history, s)
	}
	history[len(history)-1].settle = true
	return history
}

// settle waits, in the midst of a step.
func (w *world) settle() { livetest.Eventually(w.t, "the engine settles", w.engine.Settled) }

// conflictsKind is under what name the oracle compares what is said of conflicts.
const conflictsKind = "conflicts"

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
	conflicts := map[string]string{}
	for _, status := range live.List(w.engine, live.Statuses()) {
		if status.Reason == live.ReasonConflict {
			conflicts[status.Rule] = status.Message
		}
	}
	result[conflictsKind] = conflicts
	return result
}

// scratch computes everything anew.
func (w *world) scratch(t testing.TB) map[string]map[string]string {
	fresh := newWorld(t, oracleRules(), w.clock.Now(), w.memory.Copy())
	defer fresh.stop()
	live.FeedReplace(fresh.engine, pods, values(w.pods)...)
	live.FeedReplace(fresh.engine, configs, values(w.configs)...)
	w.feedWidgets(fresh.engine)
	livetest.Eventually(t, "the new engine is synced", fresh.engine.Synced)
	return fresh.derived(t)
}

// difference runs a history with rules that may be broken, and returns the first
// difference from scratch.
func difference(t testing.TB, rules []live.Rule, history []step) string {
	w := newWorld(t, rules, epoch, &livetest.Memory{})
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
		if diff := w.sightings.differ(w.memory.All()); diff != "" {
			return fmt.Sprintf("after step %d (%s): %s", i, s.name, diff)
		}
		if diff := cmp.Diff(w.scratch(t), got); diff != "" {
			return fmt.Sprintf("after step %d (%s), from scratch and incrementally (-want +got):\n%s", i, s.name, diff)
		}
		for _, status := range live.List(w.engine, live.Statuses()) {
			if status.State != live.Healthy && status.Reason != live.ReasonConflict {
				return fmt.Sprintf("after step %d (%s): rule %s is degraded: %s", i, s.name, status.Rule, status.Message)
			}
		}
	}
	return ""
}

// shrink leaves out steps until the history fails without none of them.
func shrink(t testing.TB, rules []live.Rule, history []step, diff string) ([]step, string) {
	for shorter := true; shorter; {
		shorter = false
		for i := 0; i < len(history); {
			without := slices.Concat(history[:i], history[i+1:])
			if other := difference(t, rules, without); other != "" {
				history, diff, shorter = without, other, true
				continue
			}
			i++
		}
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
	diff := difference(t, oracleRules(), history)
	if diff == "" {
		return
	}
	history, diff = shrink(t, oracleRules(), history, diff)
	t.Fatalf("seed %d, shrunk to:\n%s\n%s", seed, steps(history), diff)
}

func steps(history []step) string {
	var names []string
	for _, s := range history {
		names = append(names, s.name)
	}
	return strings.Join(names, "\n")
}

// TestTheOracleFindsADependencyThatIsDropped: were the engine to forget one of the
// reads of one rule, a history would tell, and so would few steps of it.
func TestTheOracleFindsADependencyThatIsDropped(t *testing.T) {
	broken := oracleRules()
	evaluate := broken[0].Evaluate
	broken[0].Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		defer live.Unrecord(v, configs.Ref())
		return evaluate(v, subject)
	}
	for seed := range uint64(100) {
		history := randomHistory(rand.New(rand.NewPCG(seed, 0)))
		diff := difference(t, broken, history)
		if diff == "" {
			continue
		}
		shrunk, diff := shrink(t, broken, history, diff)
		t.Logf("seed %d, shrunk from %d steps to:\n%s\n%s", seed, len(history), steps(shrunk), diff)
		if len(shrunk) > 3 {
			t.Errorf("shrunk to %d steps, want a pod, and a config map that it names", len(shrunk))
		}
		if diff := difference(t, oracleRules(), shrunk); diff != "" {
			t.Errorf("the history fails with an engine that forgets nothing:\n%s", diff)
		}
		return
	}
	t.Error("no history told that a dependency was dropped")
}
