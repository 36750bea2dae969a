// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
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
