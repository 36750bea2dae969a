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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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

// crowd are pods of one controller that each should have been gone a minute after the one
// before, the first at a time, with their namespace.
func crowd(size int, from time.Time) (objects []live.Object, pods []*corev1.Pod) {
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns-shop"}})
	for i := range size {
		deleted := metav1.NewTime(from.Add(time.Duration(i) * time.Minute))
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: fmt.Sprintf("web-%03d", i), UID: types.UID(fmt.Sprint("web-", i)),
			DeletionTimestamp: &deleted, DeletionGracePeriodSeconds: ptr.To[int64](0), Finalizers: []string{"example.com/drain"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "web", Controller: ptr.To(true)}},
		}}
		pods, objects = append(pods, pod), append(objects, pod)
	}
	return objects, pods
}

// Of pods of one controller that go one after the other, whichever is left is in the same
// trouble, and it began with the first, after a restart too.
func TestWhatIsFoundStaysWhilePodsGo(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 3, 10, 11, 0, 0, 0, time.UTC)
	objects, pods := crowd(4, began)
	play := analyzertest.NewPlay(t, analyzer, began.Add(time.Hour), objects...)
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
}

// Pods of a Deployment are in one trouble from one revision to the next, whether its
// ReplicaSets are kept or not. Once it is gone itself, what is left is still told of it.
func TestWhatIsFoundOfADeploymentStaysFromOneRevisionToTheNext(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	golden := analyzertest.Read(t, "testdata/found-pods-of-a-deployment-of-two-revisions-are-one-finding.yaml")
	var deployment live.Object
	var pods []*corev1.Pod
	others := slices.DeleteFunc(golden.Objects, func(object live.Object) bool {
		pod, is := object.(*corev1.Pod)
		if is {
			pods = append(pods, pod)
		}
		if object.GetObjectKind().GroupVersionKind().Kind == "Deployment" {
			deployment = object
		}
		return is || object.GetObjectKind().GroupVersionKind().Kind == "ReplicaSet"
	})
	play := analyzertest.NewPlay(t, analyzer, golden.Now, append(others, pods[0])...)
	one := func(when string) *v1alpha1.Finding {
		t.Helper()
		found := live.List(play.Engine, analyzers.DetectedFindings)
		if len(found) != 1 || found[0].Spec.Subject.Kind != "Deployment" || found[0].Spec.Subject.Name != "web" || !found[0].Spec.Since.Equal(pods[0].DeletionTimestamp) {
			t.Fatalf("%s: found %+v, want one of the Deployment since its first pod should have been gone", when, found)
		}
		return found[0]
	}
	first := one("with a pod of the first revision")
	if first.Spec.Subject.UID != deployment.GetUID() {
		t.Errorf("the subject has the UID %q, want the Deployment's, %q", first.Spec.Subject.UID, deployment.GetUID())
	}
	play.Pod(pods[1])
	if both := one("with one of the next"); both.UID != first.UID {
		t.Errorf("with a pod of the next revision it is another finding")
	}
	analyzertest.Remove(t, play.Cluster, pods[0])
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Pods)
	if left := one("without the first"); left.UID != first.UID {
		t.Errorf("without a pod of the first revision it is another finding")
	}
	analyzertest.Remove(t, play.Cluster, deployment)
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Deployments)
	if gone := one("without the Deployment"); gone.Name != first.Name || gone.Spec.Subject.UID != "" {
		t.Errorf("without the Deployment it is %s about UID %q, want %s about none", gone.Name, gone.Spec.Subject.UID, first.Name)
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
	objects, pods := crowd(50, began)
	play := analyzertest.NewPlay(t, analyzer, began.Add(24*time.Hour), objects...)
	if before := evaluations.Swap(0); before < 50 {
		t.Fatalf("50 pods were judged by %d evaluations", before)
	}
	changed := pods[49].DeepCopy()
	changed.Finalizers = append(changed.Finalizers, "example.com/other")
	play.Pod(changed)
	if found := play.Found(); len(found) != 2 {
		t.Fatalf("found %+v, want the others and the one that is held by more", found)
	}
	if have := evaluations.Load(); have == 0 || have > 5 {
		t.Errorf("a change of one pod among 50 took %d evaluations, want a few", have)
	}
}
