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

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestIncrementalEqualsFromScratchThroughReflectors does what the oracle does
// through client-go reflectors, with watches that close and expire, and inputs
// that are lost for a while.
func TestIncrementalEqualsFromScratchThroughReflectors(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			f := newFixture(t, oracleRules()...)
			f.run()
			f.settle()
			for range 15 {
				if random.IntN(3) == 0 {
					f.loseAndReturn(random)
				} else {
					f.disturb(random)
				}
				f.settle()
				livetest.Eventually(t, "no rule is degraded, but for conflicts", func() bool {
					return f.engine.Settled() && !slices.ContainsFunc(live.List(f.engine, live.Statuses()), func(s *live.Status) bool {
						return s.State != live.Healthy && s.Reason != live.ReasonConflict
					})
				})
				w := f.world()
				got := w.derived(t)
				if diff := cmp.Diff(w.scratch(t), got); diff != "" {
					t.Fatalf("seed %d, from scratch and incrementally (-want +got):\n%s", seed, diff)
				}
			}
		})
	}
}

// world is what the engine has of the cluster.
func (f *fixture) world() *world {
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
	return w
}

// disturb makes several changes at once, of which the reflector may miss some.
func (f *fixture) disturb(random *rand.Rand) {
	resource := podResource
	if random.IntN(2) == 0 {
		resource = configResource
	}
	switch random.IntN(3) {
	case 0:
		f.cluster.CloseWatches(resource)
	case 1:
		f.cluster.Expire(resource)
	}
	f.change(random)
}

// change makes several changes, and returns what was deleted by them.
func (f *fixture) change(random *rand.Rand) (deleted map[string]bool) {
	deleted = map[string]bool{}
	for range 1 + random.IntN(6) {
		name, namespace := string(rune('a'+random.IntN(4))), fmt.Sprintf("n%d", 1+random.IntN(2))
		switch random.IntN(5) {
		case 0:
			deleted["pod "+namespace+"/"+name] = true
			f.cluster.Delete(podResource, key(namespace, name))
		case 1:
			deleted["config "+namespace+"/"+name] = true
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
	return deleted
}

// loseAndReturn has an input lost, changes made while it is known to be lost, and
// the input back. Meanwhile, what follows from it stays as it was.
func (f *fixture) loseAndReturn(random *rand.Rand) {
	f.Helper()
	lostPods, forbidden := random.IntN(2) == 0, random.IntN(2) == 0
	resource := configResource
	if lostPods {
		resource = podResource
	}
	before := f.world().derived(f)
	reason := live.ReasonInputFailing
	if forbidden {
		reason = live.ReasonInputForbidden
		f.cluster.Forbid(resource)
	} else {
		f.cluster.Fail(resource, apierrors.NewInternalError(errors.New("away")))
	}
	f.eventuallyStatus("config", reason) // which reads both
	deleted := f.change(random)
	if lostPods {
		livetest.Settle(f, f.engine, f.cluster, configs)
	} else {
		livetest.Settle(f, f.engine, f.cluster, pods)
	}
	if status := f.status("config"); status.Reason != reason {
		f.Errorf("%s %s, want %s while the input is lost", status.State, status.Reason, reason)
	}
	after := f.world().derived(f)
	if diff := cmp.Diff(kept(before, lostPods, deleted), kept(after, lostPods, deleted)); diff != "" {
		f.Errorf("without %s (%s), what was said before and is said now (-before +now):\n%s", resource.Resource, reason, diff)
	}
	f.cluster.Serve(resource)
}

// kept is the part of what rules say that must stay while pods, or config maps,
// are lost: what comes of them, but for subjects that are seen to go.
func kept(derived map[string]map[string]string, lostPods bool, deleted map[string]bool) map[string]string {
	result := map[string]string{}
	for kind, objects := range derived {
		for name, said := range objects {
			_, short, _ := strings.Cut(name, "/")
			var keeps bool
			switch {
			case kind == notes.Ref().String():
				keeps = lostPods || !deleted["pod "+name]
			case kind == reports.Ref().String():
				keeps = !lostPods || !strings.HasPrefix(short, "widgets-") && !deleted["config "+name]
			case kind == summaries.Ref().String():
				keeps = lostPods && !strings.HasPrefix(short, "note-")
			case kind == overviews.Ref().String():
				keeps = lostPods && !strings.HasPrefix(short, "of-")
			}
			if keeps {
				result[kind+" "+name] = said
			}
		}
	}
	return result
}
