// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/crashloop"
	"github.com/srenix/srenix/pkg/analyzers/failedmounts"
	"github.com/srenix/srenix/pkg/analyzers/imagepull"
	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
	"github.com/srenix/srenix/pkg/analyzers/secretkeymissing"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// setBack is a StatefulSet that was set back to its revision a while its pod db-1, of
// revision b, has not become Ready.
type setBack struct {
	set       *appsv1.StatefulSet
	zero, one *corev1.Pod
	node      *corev1.Node
	event     *corev1.Event
}

func newSetBack() *setBack {
	labels := map[string]string{"app": "db"}
	pod := func(name, revision string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(now.Add(-2 * time.Hour)),
				Labels:          map[string]string{"app": "db", appsv1.ControllerRevisionHashLabelKey: revision},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "db", Controller: ptr.To(true)}},
			},
			Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "app", Image: "example/db:1"}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, StartTime: ptr.To(metav1.NewTime(now.Add(-2 * time.Hour))),
				Conditions: []corev1.PodCondition{
					{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Hour))},
					{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Hour))},
				},
			},
		}
	}
	return &setBack{
		set: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db", Generation: 3},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example/db:1"}}},
				},
			},
			Status: appsv1.StatefulSetStatus{
				ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 1, CurrentReplicas: 1, UpdatedReplicas: 1, CurrentRevision: "a", UpdateRevision: "a",
			},
		},
		zero: pod("db-0", "a", corev1.ConditionTrue),
		one:  pod("db-1", "b", corev1.ConditionFalse),
		node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "node"}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-24 * time.Hour))}},
		}},
	}
}

// waits has a container of the pod wait.
func (w *setBack) waits(reason, message string) {
	w.one.Status.Phase = corev1.PodPending
	w.one.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", Image: "example/db:2", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}
}

// noNode has the scheduler say why there is none for the pod.
func (w *setBack) noNode(message string) {
	w.one.Status.Phase, w.one.Spec.NodeName, w.one.Status.StartTime = corev1.PodPending, "", nil
	w.one.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Hour)),
	}}
}

// told has the pod wait for its volumes, and an Event say why.
func (w *setBack) told(reason, message string) {
	w.waits("ContainerCreating", "")
	w.event = &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-1.1", UID: "e"}, Type: corev1.EventTypeWarning, Reason: reason, Message: message,
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "db-1", UID: "uid-db-1"},
		LastTimestamp:  metav1.NewTime(now.Add(16 * time.Minute)),
	}
}

// proposed are the deletions that are proposed once all graces have passed, by the
// reason of their finding; empty for a finding without.
func (w *setBack) proposed(t *testing.T) map[string]string {
	t.Helper()
	objects := []live.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns"}}, w.set, w.zero, w.one, w.node,
	}
	if w.event != nil {
		objects = append(objects, w.event)
	}
	clock := testingclock.NewFakeClock(now)
	engine := newEngineOfAll(t, clock, nil)
	livetest.Run(t, engine, analyzertest.Cluster(t, objects))
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	clock.Step(16 * time.Minute)
	livetest.Eventually(t, "everything is evaluated again", engine.Settled)
	have := map[string]string{}
	for _, finding := range live.List(engine, Findings) {
		have[finding.Spec.Reason] = ""
		for _, proposal := range live.List(engine, Proposals) {
			if proposal.Spec.Finding.UID == finding.UID {
				have[finding.Spec.Reason] += described(t, proposal)
			}
		}
	}
	return have
}

// outdatedPods are ways for a pod not to become Ready, by the reason that tells of them.
var outdatedPods = map[string]func(*setBack){
	imagepull.AuthenticationFailed: func(w *setBack) { w.waits("ErrImagePull", "401 Unauthorized") },
	imagepull.NotFound:             func(w *setBack) { w.waits("ErrImagePull", "manifest unknown") },
	imagepull.RegistryUnreachable:  func(w *setBack) { w.waits("ErrImagePull", "dial tcp: i/o timeout") },
	imagepull.RateLimited:          func(w *setBack) { w.waits("ErrImagePull", "toomanyrequests") },
	imagepull.NameInvalid:          func(w *setBack) { w.waits("InvalidImageName", "") },
	imagepull.NeverPulled:          func(w *setBack) { w.waits("ErrImageNeverPull", "") },
	imagepull.PullFailed:           func(w *setBack) { w.waits("ImageInspectError", "") },
	secretkeymissing.KeyMissing: func(w *setBack) {
		w.waits("CreateContainerConfigError", "couldn't find key mode in ConfigMap shop/settings")
	},
	secretkeymissing.ObjectMissing: func(w *setBack) { w.waits("CreateContainerConfigError", `secret "login" not found`) },
	secretkeymissing.ContainerConfigError: func(w *setBack) {
		w.waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
	},
	pendingpods.InsufficientResources: func(w *setBack) { w.noNode("0/5 nodes are available: 5 Insufficient cpu.") },
	pendingpods.UntoleratedTaints:     func(w *setBack) { w.noNode("0/5 nodes are available: 5 node(s) had untolerated taint {a: b}.") },
	pendingpods.AffinityUnsatisfied: func(w *setBack) {
		w.noNode("0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector.")
	},
	pendingpods.VolumeUnavailable: func(w *setBack) { w.noNode("0/5 nodes are available: 5 node(s) had volume node affinity conflict.") },
	pendingpods.PortsTaken: func(w *setBack) {
		w.noNode("0/5 nodes are available: 5 node(s) didn't have free ports for the requested pod ports.")
	},
	pendingpods.Unschedulable: func(w *setBack) { w.noNode("none") },
	failedmounts.VolumeContentMissing: func(w *setBack) {
		w.told("FailedMount", `MountVolume.SetUp failed for volume "c" : configmap "settings" not found`)
	},
	failedmounts.VolumeInUse: func(w *setBack) {
		w.told("FailedAttachVolume", `Multi-Attach error for volume "c" Volume is already used by pod(s) x`)
	},
	failedmounts.VolumeAttachFailed: func(w *setBack) { w.told("FailedAttachVolume", `AttachVolume.Attach failed for volume "c" : no`) },
	failedmounts.VolumeMountFailed:  func(w *setBack) { w.told("FailedMount", `MountVolume.MountDevice failed for volume "c" : no`) },
	failedmounts.SandboxFailed:      func(w *setBack) { w.told("FailedCreatePodSandBox", "Failed to create pod sandbox: no") },
	crashloop.NotCreated:            func(w *setBack) { w.waits("CreateContainerError", "no command specified") },
	stuckrollout.Stuck:              func(*setBack) {}, // it runs, and is not Ready
}

// Whatever keeps a pod of a revision that was set back from becoming Ready, only to
// delete it helps.
func TestAPodThatItsStatefulSetKeepsIsDeleted(t *testing.T) {
	for key, reasons := range keepsFromStarting {
		for _, reason := range reasons {
			if outdatedPods[reason] == nil {
				t.Errorf("no pod is kept for %s of %s", reason, key)
			}
		}
	}
	for reason, broken := range outdatedPods {
		t.Run(reason, func(t *testing.T) {
			w := newSetBack()
			broken(w)
			pod := "DeletePod Pod/db-1"
			have := w.proposed(t)
			if have[reason] != pod {
				t.Errorf("proposed %q, want %q; all: %v", have[reason], pod, have)
			}
		})
	}
}

// Where the next pod would be the same, or the controller replaces it by itself, or
// nobody would, nothing is proposed.
func TestAPodThatDeletingDoesNotHelpStays(t *testing.T) {
	container := func(w *setBack) *corev1.Container { return &w.set.Spec.Template.Spec.Containers[0] }
	for name, test := range map[string]struct {
		reason string
		as     func(*setBack)
	}{
		"it is of the present revision":       {imagepull.NotFound, func(w *setBack) { w.one.Labels[appsv1.ControllerRevisionHashLabelKey] = "a" }},
		"nobody says of which revision it is": {imagepull.NotFound, func(w *setBack) { w.one.Labels = nil }},
		"the template names the image too":    {imagepull.NotFound, func(w *setBack) { container(w).Image = "example/db:2" }},
		"the controller waits for no pod":     {imagepull.NotFound, func(w *setBack) { w.set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }},
		"the controller recreates all pods":   {imagepull.NotFound, func(w *setBack) { w.set.Spec.UpdateStrategy.Type = "Recreate" }},
		"the change is not observed":          {imagepull.NotFound, func(w *setBack) { w.set.Generation = 4 }},
		"the partition keeps it at its own revision": {imagepull.NotFound, func(w *setBack) {
			w.set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To(int32(2))}
			w.set.Status.CurrentRevision = "b"
		}},
		"the template names the key too": {secretkeymissing.KeyMissing, func(w *setBack) {
			container(w).Env = []corev1.EnvVar{{Name: "MODE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "mode",
			}}}}
		}},
		"the template names the Secret too": {secretkeymissing.ObjectMissing, func(w *setBack) {
			container(w).EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "login"}}}}
		}},
		"a volume of the template names the ConfigMap too": {failedmounts.VolumeContentMissing, func(w *setBack) {
			w.set.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
			}}}}
		}},
		"somebody replaces its pods by hand": {imagepull.NotFound, func(w *setBack) { w.set.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }},
		"its node is away":                   {stuckrollout.Stuck, func(w *setBack) { w.node.Status.Conditions[0].Status = corev1.ConditionUnknown }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSetBack()
			outdatedPods[test.reason](w)
			if have := w.proposed(t); have[test.reason] == "" {
				t.Fatalf("nothing is proposed though nothing stands against it: %v", have)
			}
			test.as(w)
			have, found := w.proposed(t), false
			for reason, proposed := range have {
				found = found || reason == test.reason
				if proposed != "" {
					t.Errorf("proposed %s for %s", proposed, reason)
				}
			}
			if !found {
				t.Errorf("found %v, want %s", have, test.reason)
			}
		})
	}
}
