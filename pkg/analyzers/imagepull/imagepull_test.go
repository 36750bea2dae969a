// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package imagepull

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
)

func newAnalyzer(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) {
	analyzertest.Run(t, newAnalyzer(t))
}

// TestTheReasonStaysWhileTheKubeletBacksOff plays what an older kubelet says of an image
// that the registry denies: why only right after a try, and in an event that may be
// dropped.
func TestTheReasonStaysWhileTheKubeletBacksOff(t *testing.T) {
	const image = "registry.example.com/shop/web:2"
	const denied, lost = `failed to pull and unpack image "` + image + `": 401 Unauthorized`, `failed to do request: dial tcp 10.0.0.1:443: i/o timeout`
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tool", UID: "tool"},
		Status:     corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Image: image}}},
	}
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tool.1", UID: "event"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "tool"},
		Type: corev1.EventTypeWarning, Reason: "Failed", Message: `Failed to pull image "` + image + `": ` + denied,
		LastTimestamp: metav1.NewTime(time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)),
	}
	play := analyzertest.NewPlay(t, newAnalyzer(t), event.LastTimestamp.Time)
	play.Event(event)
	waits := func(after time.Duration, why, message string) {
		t.Helper()
		play.Step(after)
		pod.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: why, Message: message}
		play.Pod(pod)
	}
	is := func(reason, says string) {
		t.Helper()
		found := play.Found()
		if len(found) != 1 || found[0].Reason != reason || !strings.Contains(found[0].Message, says) {
			t.Errorf("at %s: found %v, want %s that says %q", play.Clock.Now().Format(time.TimeOnly), found, reason, says)
		}
	}
	waits(0, "ErrImagePull", denied)
	if found := play.Found(); len(found) != 0 {
		t.Errorf("found %v within the grace", found)
	}
	waits(time.Minute, "ImagePullBackOff", "Back-off pulling image")
	is(AuthenticationFailed, "the registry denies access")
	play.Forget(event)
	is(AuthenticationFailed, "the registry denies access")
	waits(5*time.Minute, "ErrImagePull", lost)
	is(AuthenticationFailed, "the registry cannot be reached")
	waits(5*time.Minute, "ErrImagePull", "pull QPS exceeded")
	is(AuthenticationFailed, "the registry denies access")
	waits(5*time.Minute, "ErrImagePull", lost)
	waits(10*time.Minute, "ErrImagePull", lost)
	is(RegistryUnreachable, "the registry cannot be reached")
}

// In a rollout every pod may fail once to have the image, one after the other. What one
// cannot have for a minute is told of, until none waits for it.
func TestTheGraceIsThatOfEachPod(t *testing.T) {
	const image = "registry.example.com/shop/web:2"
	began := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web"}}
	play := analyzertest.NewPlay(t, newAnalyzer(t), began, set)
	pod := func(name string, waits bool) {
		t.Helper()
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "web", UID: "web", Controller: ptr.To(true)},
			}},
			Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Image: image}}},
		}
		state := &pod.Status.ContainerStatuses[0].State
		if waits {
			state.Waiting = &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "dial tcp 10.0.0.1:443: i/o timeout"}
		} else {
			pod.Status.Phase, state.Running = corev1.PodRunning, &corev1.ContainerStateRunning{}
		}
		play.Pod(pod)
	}
	is := func(want int) {
		t.Helper()
		if found := play.Found(); len(found) != want {
			t.Errorf("at %s: found %v, want %d", play.Clock.Now().Format(time.TimeOnly), found, want)
		}
	}
	pod("a", true)
	play.Step(40 * time.Second)
	pod("b", true)
	pod("a", false)
	play.Step(40 * time.Second) // one or the other has waited for 80 s
	is(0)
	pod("c", true)
	play.Step(20 * time.Second)
	is(1)
	pod("b", false)
	is(1)
	pod("c", false)
	is(0)
	pod("d", true)
	play.Step(59 * time.Second)
	is(0)
}

// Secrets are read for one sentence, and a denied image is told of without it.
func TestADeniedImageIsFoundWhileSecretsCannotBeListed(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-denied-with-a-pull-secret.yaml")
	play := analyzertest.NewPlay(t, newAnalyzer(t), golden.Now, golden.Objects...)
	play.Cluster.Forbid(inputs.Secrets.Ref().Resource())
	play.Restart()
	play.Step(golden.After)
	found := play.Found()
	if len(found) != 1 || found[0].Reason != AuthenticationFailed || !strings.Contains(found[0].Message, "exist cannot be seen") {
		t.Fatalf("found %+v, want %s that says what cannot be seen", found, AuthenticationFailed)
	}
}
