// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package crashloop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/policy"
)

func settings(options string) analyzers.Settings {
	configuration := config.AnalyzerConfiguration{}
	if options != "" {
		configuration.Options = &runtime.RawExtension{Raw: []byte(options)}
	}
	return analyzers.NewSettings(configuration).Protecting(func(namespace *corev1.Namespace) bool {
		protected, _ := policy.IsProtected(namespace, "srenix-system", nil)
		return protected
	})
}

func TestGoldens(t *testing.T) {
	analyzer, err := New(settings(""))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for options, word := range map[string]string{
		`{"stableAfter":"0s"}`: "stableAfter", `{"criticalRestarts":-1}`: "criticalRestarts", `{"stable":"1m"}`: "stable",
	} {
		if _, err := New(settings(options)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// TestTheFindingStaysThroughALoop plays what the kubelet reports of a container that
// crashes right after each start, with its back-off.
func TestTheFindingStaysThroughALoop(t *testing.T) {
	begin := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	analyzer, err := New(settings(`{"criticalRestarts":100}`))
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tool", UID: "tool"},
		Spec:       corev1.PodSpec{NodeName: "node-1", RestartPolicy: corev1.RestartPolicyAlways},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app"}}},
	}
	play := analyzertest.NewPlay(t, analyzer, begin, pod)
	status := corev1.ContainerStatus{Name: "app"}
	is := func(state corev1.ContainerState) int {
		t.Helper()
		status.State = state
		pod.Status.ContainerStatuses[0] = status
		play.Pod(pod)
		return len(play.Found())
	}
	pause := []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute}
	for crash, wait := range pause {
		started := metav1.NewTime(play.Clock.Now())
		if n := is(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}); n == 0 && crash > 1 {
			t.Errorf("nothing is found while it runs for the %dth time", crash+1)
		}
		play.Clock.Step(2 * time.Second)
		end := &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", StartedAt: started, FinishedAt: metav1.NewTime(play.Clock.Now())}
		if n := is(corev1.ContainerState{Terminated: end}); (n == 0) == (crash > 0) {
			t.Errorf("%d findings after crash %d", n, crash+1)
		}
		status.LastTerminationState.Terminated = end
		if wait > 0 {
			if n := is(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: backOff}}); n == 0 {
				t.Errorf("nothing is found while it waits after crash %d", crash+1)
			}
		}
		play.Clock.Step(wait)
		status.RestartCount++
	}
	is(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(play.Clock.Now())}})
	found := play.Found()
	if len(found) != 1 || !found[0].Since.Time.Equal(begin.Add(2*time.Second)) {
		t.Errorf("found %v, want one since the first crash", found)
	}
	play.Step(standardStable)
	if found := play.Found(); len(found) != 0 {
		t.Errorf("found %v of what runs well", found)
	}
}

// beside plays a DaemonSet of which one pod after the other is restarted once, every eight
// minutes for six hours, and returns what makes its pods crash.
func beside(t *testing.T, namespace string) (play *analyzertest.Play, loops func(pod string)) {
	t.Helper()
	analyzer, err := New(settings(`{"criticalRestarts":100}`))
	if err != nil {
		t.Fatal(err)
	}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "agent", UID: "agent"}}
	play = analyzertest.NewPlay(t, analyzer, time.Date(2026, 3, 10, 6, 0, 0, 0, time.UTC), set, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	pod := func(name string, status corev1.ContainerStatus) {
		t.Helper()
		status.Name = "app"
		play.Pod(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: name, UID: types.UID(name),
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "agent", UID: "agent", Controller: ptr.To(true)}},
			},
			Spec:   corev1.PodSpec{NodeName: "node-1", RestartPolicy: corev1.RestartPolicyAlways},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{status}},
		})
	}
	ended := func() corev1.ContainerState {
		now := play.Clock.Now()
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", StartedAt: metav1.NewTime(now.Add(-12 * time.Second)), FinishedAt: metav1.NewTime(now.Add(-10 * time.Second))}}
	}
	for i := range 45 {
		pod(fmt.Sprintf("agent-%02d", i), corev1.ContainerStatus{
			RestartCount: 1, LastTerminationState: ended(),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(play.Clock.Now())}},
		})
		if found := play.Found(); len(found) != 0 {
			t.Fatalf("found after %d pods were restarted once: %v", i+1, found)
		}
		play.Step(8 * time.Minute)
	}
	return play, func(name string) {
		t.Helper()
		pod(name, corev1.ContainerStatus{RestartCount: 3, LastTerminationState: ended(), State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: backOff}}})
	}
}

// TestALoopIsSinceItsOwnRestarts has a pod crash beside others that were restarted once.
func TestALoopIsSinceItsOwnRestarts(t *testing.T) {
	for _, namespace := range []string{"shop", "kube-system"} {
		t.Run(namespace, func(t *testing.T) {
			play, loops := beside(t, namespace)
			began := play.Clock.Now()
			loops("agent-x")
			found := play.Found()
			if len(found) != 1 || !found[0].Since.Time.Equal(began) || found[0].Severity != v1alpha1.SeverityWarning {
				t.Errorf("found %v, want a Warning since %s", found, began)
			}
		})
	}
}

// TestTheFindingStaysWhileOtherPodsGoOnCrashing has a pod that crashes replaced by another.
func TestTheFindingStaysWhileOtherPodsGoOnCrashing(t *testing.T) {
	play, loops := beside(t, "shop")
	began := play.Clock.Now()
	loops("agent-x")
	play.Step(3 * time.Minute)
	loops("agent-y")
	play.Step(3 * time.Minute)
	analyzertest.Remove(t, play.Cluster, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "agent-x"}})
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Pods)
	found := play.Found()
	if len(found) != 1 || !found[0].Since.Time.Equal(began) || len(found[0].Related) != 1 || found[0].Related[0].Name != "agent-y" {
		t.Errorf("found %v, want one of agent-y since %s", found, began)
	}
}
