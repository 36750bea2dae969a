// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
)

func TestWhatComesInThePlaceOfOldPodsIsWaitedFor(t *testing.T) {
	ready := func(is corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "new"},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: is}}},
		}
	}
	metadata := metav1.ObjectMeta{Namespace: "shop", Name: "owner", UID: "owner"}
	set := func(first, replicas int32) client.Object {
		return &appsv1.StatefulSet{ObjectMeta: metadata, Spec: appsv1.StatefulSetSpec{Replicas: &replicas, Ordinals: &appsv1.StatefulSetOrdinals{Start: first}}}
	}
	replicas := func(ready int32) client.Object {
		return &appsv1.ReplicaSet{ObjectMeta: metadata, Spec: appsv1.ReplicaSetSpec{Replicas: new(int32(2))}, Status: appsv1.ReplicaSetStatus{ReadyReplicas: ready}}
	}
	daemons := func(ready int32) client.Object {
		return &appsv1.DaemonSet{ObjectMeta: metadata, Status: appsv1.DaemonSetStatus{NumberReady: ready, DesiredNumberScheduled: 2}}
	}
	rollout := func(change func(*appsv1.Deployment)) client.Object {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "rolled", UID: "rolled"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(2))}}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1000, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}
		change(d)
		return d
	}
	for name, test := range map[string]struct {
		controller string // kind of the pod's controller, which has the name and UID "owner"
		// before and after are what there is beside the target, and then comes.
		before, after client.Object
		rollout       bool   // of Deployment rolled
		ready         *int32 // before
		waits         string
	}{
		"a bare pod":                                     {},
		"a controller of another project":                {controller: "CloneSet"},
		"a Job's":                                        {controller: "Job"},
		"a set that is gone":                             {controller: "StatefulSet"},
		"pod zero, not made yet":                         {controller: "StatefulSet", before: set(0, 1), waits: "StatefulSet owner has not made another Pod web-0"},
		"pod zero, not Ready":                            {controller: "StatefulSet", before: set(0, 1), after: ready(corev1.ConditionFalse), waits: "the new Pod web-0 is not Ready"},
		"pod zero, Ready":                                {controller: "StatefulSet", before: set(0, 1), after: ready(corev1.ConditionTrue)},
		"pod zero of a set that begins with three":       {controller: "StatefulSet", before: set(3, 1)},
		"pod zero of a set that wants none":              {controller: "StatefulSet", before: set(0, 0)},
		"replicas that lack one":                         {controller: "ReplicaSet", ready: new(int32(1)), before: replicas(1), waits: "1 of 2 pods of ReplicaSet owner are Ready"},
		"all replicas":                                   {controller: "ReplicaSet", ready: new(int32(2)), before: replicas(2)},
		"daemons that lack one":                          {controller: "DaemonSet", ready: new(int32(1)), before: daemons(1), waits: "1 of 2 pods of DaemonSet owner are Ready"},
		"all daemons":                                    {controller: "DaemonSet", ready: new(int32(1)), before: daemons(2)},
		"replicas of which another was not Ready before": {controller: "ReplicaSet", ready: new(int32(0)), before: replicas(1)},
		"daemons of which one is on a dead node":         {controller: "DaemonSet", ready: new(int32(0)), before: daemons(1)},
		"what was Ready before is not known":             {controller: "ReplicaSet", before: replicas(0)},
		"another set of its name": {controller: "ReplicaSet", ready: new(int32(1)), before: &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "owner", UID: "another"}, Spec: appsv1.ReplicaSetSpec{Replicas: new(int32(2))},
		}},
		"a rollout that is through":                     {rollout: true, after: rollout(func(*appsv1.Deployment) {})},
		"a rollout that nobody has looked at":           {rollout: true, after: rollout(func(d *appsv1.Deployment) { d.Generation = 1001 }), waits: "the rollout of Deployment rolled is under way"},
		"a rollout with an old pod":                     {rollout: true, after: rollout(func(d *appsv1.Deployment) { d.Status.Replicas = 3 }), waits: "the rollout of Deployment rolled is under way"},
		"a rollout with a pod that is not there yet":    {rollout: true, after: rollout(func(d *appsv1.Deployment) { d.Status.UpdatedReplicas, d.Status.Replicas = 1, 1 }), waits: "1 of 2 pods of Deployment rolled are Ready"},
		"a rollout with a pod that is not available":    {rollout: true, after: rollout(func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 1 }), waits: "1 of 2 pods of Deployment rolled are Ready"},
		"a Deployment that was deleted after the patch": {rollout: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			for _, object := range []client.Object{test.before, test.after} {
				if object == nil {
					continue
				}
				if err := w.store.Create(t.Context(), object); err != nil {
					t.Fatal(err)
				}
			}
			approval := &opsv1alpha1.Approval{Status: opsv1alpha1.ApprovalStatus{Execution: &opsv1alpha1.ExecutionRecord{}}}
			approval.Spec.Snapshot.ActionKind = srenix.ActionDeletePod
			approval.Spec.Snapshot.Target = srenix.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-0", UID: targetUID}
			if test.controller != "" {
				approval.Status.Execution.ReadyBefore = test.ready
				approval.Status.Execution.Controller = &srenix.ObjectReference{APIVersion: "apps/v1", Kind: test.controller, Namespace: "shop", Name: "owner", UID: "owner"}
			}
			if test.rollout {
				approval.Spec.Snapshot.ActionKind = srenix.ActionPatchDeploymentAnnotation
				approval.Spec.Snapshot.Target = srenix.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "rolled", UID: "rolled"}
			}
			if waits, err := w.newProcess("executor-0").unready(t.Context(), approval); err != nil || waits != test.waits {
				t.Errorf("it waits because %q (%v), want %q", waits, err, test.waits)
			}
		})
	}
}

// TestItSettlesFromWhenItIsReady has the finding gone as soon as the action is done, as it
// is while an analyzer gives a new pod its grace. The settle time begins once the new pod
// is Ready, and anew when it is no longer; without it nothing is verified.
func TestItSettlesFromWhenItIsReady(t *testing.T) {
	for name, test := range map[string]struct {
		// ready has by second what the new pod says from then on.
		ready  map[int]corev1.ConditionStatus
		is     metav1.ConditionStatus
		reason string
		after  time.Duration
	}{
		"Ready for good after eight seconds": {map[int]corev1.ConditionStatus{3: "True", 5: "False", 7: "True"}, "True", "FindingCleared", 16 * time.Second},
		"never Ready":                        {nil, "False", "NotReadyInTime", 20 * time.Second},
		"Ready too late to settle":           {map[int]corev1.ConditionStatus{14: "True"}, "False", "ClearedTooLate", 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			w.clock.SetTime(start.Truncate(time.Second))
			w.ownTarget("web-0")
			approval, p := w.approve(approver), w.newProcess("executor-0")
			acted := w.clock.Now()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "new"}}
			for second := 0; second < 60; second++ {
				if _, err := p.step(approval); err != nil {
					t.Fatal(err)
				}
				if completed(w.get(approval)) {
					break
				}
				if second == 1 {
					if err := w.store.Create(t.Context(), pod.DeepCopy()); err != nil {
						t.Fatal(err)
					}
				}
				if is, turns := test.ready[second]; turns {
					stored := pod.DeepCopy()
					if err := w.store.Get(t.Context(), client.ObjectKeyFromObject(pod), stored); err != nil {
						t.Fatal(err)
					}
					stored.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: is}}
					if err := w.store.Status().Update(t.Context(), stored); err != nil {
						t.Fatal(err)
					}
				}
				w.pass(time.Second)
			}
			verified := meta.FindStatusCondition(w.get(approval).Status.Conditions, opsv1alpha1.ConditionVerified)
			if took := w.clock.Since(acted); verified.Status != test.is || verified.Reason != test.reason || took != test.after {
				t.Errorf("Verified=%s %s after %s: %s; want %s %s after %s", verified.Status, verified.Reason, took, verified.Message, test.is, test.reason, test.after)
			}
		})
	}
}

// ownTarget makes the target Pod one of a StatefulSet, with this name.
func (w *world) ownTarget(name string) {
	w.t.Helper()
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "owner", UID: "owner"}}
	pod := newTarget(srenix.ActionDeletePod)
	if err := w.store.Delete(w.t.Context(), pod); err != nil {
		w.t.Fatal(err)
	}
	pod.SetName(name)
	pod.SetResourceVersion("")
	pod.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "owner", UID: "owner", Controller: new(true)}})
	for _, object := range []client.Object{set, pod} {
		if err := w.store.Create(w.t.Context(), object); err != nil {
			w.t.Fatal(err)
		}
	}
	change(w, w.proposal.DeepCopy(), func(p *srenix.Proposal) {
		p.Spec.Target.Name = name
		var err error
		if p.Spec.Digest, err = digest.Proposal(p.Namespace, p.Name, p.UID, &p.Spec); err != nil {
			w.t.Fatal(err)
		}
		w.proposal = p.DeepCopy()
	})
}
