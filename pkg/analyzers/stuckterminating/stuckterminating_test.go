// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
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
	var objects []live.Object
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
	if found := live.List(engine, analyzers.DetectedFindings); len(found) != 1 || found[0].Spec.Subject.Name != "stuck-0" {
		t.Fatalf("found %+v, want one of the first that is stuck", found)
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
