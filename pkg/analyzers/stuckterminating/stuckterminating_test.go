// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

// Pods of a controller that go on running have no part in what holds others of it: a
// DaemonSet may have thousands.
func TestPodsThatRunAreNotLookedThrough(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "agent", UID: "agent", Controller: ptr.To(true)},
			}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
	}
	objects := []live.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns-shop"}}}
	for i := range 3 {
		stuck, runs := pod(fmt.Sprintf("stuck-%d", i)), pod(fmt.Sprintf("runs-%d", i))
		stuck.DeletionTimestamp, stuck.Finalizers = &metav1.Time{Time: now.Add(-time.Hour)}, []string{"example.com/drain"}
		objects = append(objects, stuck, runs)
	}
	registry, cluster := prometheus.NewPedanticRegistry(), analyzertest.Cluster(t, objects)
	engine := live.New(live.Options{Clock: testingclock.NewFakeClock(now), Registerer: registry})
	for _, rule := range analyzers.LiveRules(analyzer) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, cluster)
	livetest.Settle(t, engine, cluster, inputs.Pods)
	if found := live.List(engine, analyzers.DetectedFindings); len(found) != 1 || found[0].Spec.Subject.Name != "agent" {
		t.Fatalf("found %+v, want one of the controller", found)
	}
	evaluations := func() (sum float64) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if family.GetName() == "live_evaluations_total" {
					sum += metric.GetCounter().GetValue()
				}
			}
		}
		return sum
	}
	before := evaluations()
	changed := pod("runs-1")
	changed.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	analyzertest.Store(t, cluster, []live.Object{changed})
	livetest.Settle(t, engine, cluster, inputs.Pods)
	if more := evaluations() - before; more != 1 {
		t.Errorf("a pod that runs has changed, and %v subjects were looked at, want that pod", more)
	}
}

func TestJunkIsNoTrouble(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	long := strings.Repeat("ä", 100_000)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), DeletionTimestamp: &metav1.Time{}, Finalizers: []string{"", long}}
	}
	later := metav1.NewTime(now.Add(100 * 365 * 24 * time.Hour))
	negative := int64(-1)
	pod := &corev1.Pod{ObjectMeta: meta("pod"), Spec: corev1.PodSpec{NodeName: long}}
	pod.OwnerReferences = []metav1.OwnerReference{{}, {Kind: long}}
	ending := &corev1.Pod{ObjectMeta: meta("ending"), Spec: corev1.PodSpec{NodeName: "node", Volumes: []corev1.Volume{{}}}}
	ending.DeletionTimestamp, ending.DeletionGracePeriodSeconds = &later, &negative
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{}, {Type: corev1.NodeReady}}}}
	namespace := &corev1.Namespace{ObjectMeta: meta("ns"), Status: corev1.NamespaceStatus{Conditions: []corev1.NamespaceCondition{{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: "True", Message: long}}}}
	namespace.Namespace = ""
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("claim")}
	for _, finding := range analyzertest.Analyze(t, analyzer, now, time.Hour, []live.Object{pod, ending, node, namespace, claim}) {
		t.Errorf("found %+v", finding)
	}
}

// What the namespace controller says changes with every object that goes; what is
// found must not.
func TestCountsOfWhatIsLeftDoNotShow(t *testing.T) {
	for message, want := range map[string]string{
		"Some resources are remaining: configmaps. has 2 resource instances, jobs.batch has 1 resource instances": "configmaps jobs.batch",
		"Some resources are remaining: ": "",
		"":                               "",
		strings.Repeat("é", 1000) + " has 3 resource instances": "",
	} {
		if have := strings.Join(found(remaining, message), " "); have != want {
			t.Errorf("%.80q: have %q, want %q", message, have, want)
		}
	}
}

// crowd are pods of a StatefulSet that each should have been gone a minute after the one
// before, the first at a time, with their namespace.
func crowd(size int, from time.Time) (set *appsv1.StatefulSet, namespace *corev1.Namespace, pods []*corev1.Pod) {
	for i := range size {
		deleted := metav1.NewTime(from.Add(time.Duration(i) * time.Minute))
		pods = append(pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: fmt.Sprintf("web-%04d", i), UID: types.UID(fmt.Sprint("web-", i)),
			DeletionTimestamp: &deleted, DeletionGracePeriodSeconds: ptr.To[int64](0), Finalizers: []string{"example.com/drain"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web", UID: "web", Controller: ptr.To(true)}},
		}})
	}
	set = &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web"}}
	return set, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns-shop"}}, pods
}

func objects(pods []*corev1.Pod, others ...live.Object) []live.Object {
	for _, pod := range pods {
		others = append(others, pod)
	}
	return others
}

// Of pods of one controller that go one after the other, whichever is left is in the same
// trouble, and it began with the first, after a restart too, and whether the controller is
// still there or not.
func TestWhatIsFoundStaysWhilePodsGo(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 3, 10, 11, 0, 0, 0, time.UTC)
	set, namespace, pods := crowd(4, began)
	for name, others := range map[string][]live.Object{"its controller is there": {namespace, set}, "its controller is gone": {namespace}} {
		t.Run(name, func(t *testing.T) {
			play := analyzertest.NewPlay(t, analyzer, began.Add(time.Hour), objects(pods, others...)...)
			identities := func() (found []types.UID) {
				for _, finding := range live.List(play.Engine, analyzers.DetectedFindings) {
					if !finding.Spec.Since.Time.Equal(began) {
						t.Errorf("it is since %s, want %s", finding.Spec.Since, began)
					}
					found = append(found, finding.UID)
				}
				return found
			}
			first := identities()
			if len(first) != 1 {
				t.Fatalf("found %v, want one", first)
			}
			for _, pod := range pods[:3] {
				analyzertest.Remove(t, play.Cluster, pod)
				livetest.Settle(t, play.Engine, play.Cluster, inputs.Pods)
				if now := identities(); !slices.Equal(now, first) {
					t.Fatalf("once %s went, found %v, want %v", pod.Name, now, first)
				}
			}
			play.Restart()
			if now := identities(); !slices.Equal(now, first) {
				t.Fatalf("after a restart found %v, want %v", now, first)
			}
			analyzertest.Remove(t, play.Cluster, pods[3])
			livetest.Settle(t, play.Engine, play.Cluster, inputs.Pods)
			if now := identities(); len(now) != 0 {
				t.Fatalf("once all went, found %v", now)
			}
		})
	}
}

// What was found of a controller stays while it is being deleted and goes with it, and
// what is left of its pods is found otherwise.
func TestWhatIsFoundOfAControllerGoesWithIt(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 3, 10, 11, 0, 0, 0, time.UTC)
	set, namespace, pods := crowd(4, began)
	play := analyzertest.NewPlay(t, analyzer, began.Add(time.Hour), objects(pods, namespace, set)...)
	one := func() *v1alpha1.Finding {
		t.Helper()
		found := live.List(play.Engine, analyzers.DetectedFindings)
		if len(found) != 1 || found[0].Spec.Subject.UID != set.UID || len(found[0].Spec.Related) != len(pods) {
			t.Fatalf("found %+v, want one of all pods of the controller", found)
		}
		return found[0]
	}
	there := one()
	going := set.DeepCopy()
	going.DeletionTimestamp, going.Finalizers = ptr.To(metav1.NewTime(began.Add(time.Hour))), []string{"foregroundDeletion"}
	analyzertest.Set(play, inputs.StatefulSets, going)
	if now := one(); now.UID != there.UID {
		t.Errorf("found %s while the controller goes, want %s still", now.Name, there.Name)
	}
	analyzertest.Remove(t, play.Cluster, set)
	livetest.Settle(t, play.Engine, play.Cluster, inputs.StatefulSets)
	if now := one(); now.Name == there.Name {
		t.Errorf("%s stays though its controller is gone", there.Name)
	}
}

// However many pods are stuck beside it, a change of one is a few evaluations.
func TestAChangeOfOnePodDoesNotLookAtEachOfTheOthers(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	var evaluations atomic.Int64
	for i, rule := range analyzer.Derivations {
		analyzer.Derivations[i].Evaluate = func(view *live.View, subject live.Key) ([]live.Output, error) {
			evaluations.Add(1)
			return rule.Evaluate(view, subject)
		}
	}
	for i, rule := range analyzer.Rules {
		analyzer.Rules[i].Analyze = func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
			evaluations.Add(1)
			return rule.Analyze(view, subject)
		}
	}
	began := time.Date(2026, 3, 10, 11, 0, 0, 0, time.UTC)
	set, namespace, pods := crowd(50, began)
	for name, others := range map[string][]live.Object{"its controller is there": {namespace, set}, "its controller is gone": {namespace}} {
		t.Run(name, func(t *testing.T) {
			play := analyzertest.NewPlay(t, analyzer, began.Add(24*time.Hour), objects(pods, others...)...)
			if before := evaluations.Swap(0); before < 50 {
				t.Fatalf("50 pods were judged by %d evaluations", before)
			}
			changed := pods[49].DeepCopy()
			changed.Finalizers = append(changed.Finalizers, "example.com/other")
			play.Pod(changed)
			if found := play.Found(); len(found) != 2 {
				t.Fatalf("found %+v, want the others and the one that is held by more", found)
			}
			if have := evaluations.Swap(0); have == 0 || have > 8 {
				t.Errorf("a change of one pod among 50 took %d evaluations, want a few", have)
			}
		})
	}
}

// BenchmarkStuckPods is the time from a change of a stuck pod to its consequences, beside
// others of its controller.
func BenchmarkStuckPods(b *testing.B) {
	for _, size := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
			if err != nil {
				b.Fatal(err)
			}
			began := time.Date(2026, 3, 10, 11, 0, 0, 0, time.UTC)
			set, namespace, pods := crowd(size, began)
			cluster := &livetest.Cluster{}
			engine := live.New(live.Options{Clock: testingclock.NewFakeClock(began.Add(48 * time.Hour))})
			for _, rule := range analyzers.LiveRules(analyzer) {
				if err := engine.AddRule(rule); err != nil {
					b.Fatal(err)
				}
			}
			gvr := corev1.SchemeGroupVersion.WithResource("pods")
			cluster.Set(corev1.SchemeGroupVersion.WithResource("namespaces"), namespace)
			cluster.Set(appsv1.SchemeGroupVersion.WithResource("statefulsets"), set)
			for _, pod := range pods {
				cluster.Set(gvr, pod)
			}
			livetest.Run(b, engine, cluster)
			livetest.Settle(b, engine, cluster, inputs.Pods)
			for i := 0; b.Loop(); i++ {
				changed := pods[size/2].DeepCopy()
				changed.Finalizers = []string{fmt.Sprint("example.com/", i%2)}
				cluster.Set(gvr, changed)
				livetest.Settle(b, engine, cluster, inputs.Pods)
			}
		})
	}
}
