// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package configdrift

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// workload is what Deployments, StatefulSets and DaemonSets have in common here.
type workload struct {
	reference v1alpha1.ObjectReference
	meta      metav1.ObjectMeta
	template  corev1.PodTemplateSpec
	// settled is false while a rollout is under way, and for what is paused or
	// scaled to zero.
	settled bool
	// owners are the controllers of the workload's pods.
	owners []string
}

func deployment(view *live.View, key live.Key) (workload, bool) {
	d, exists := inputs.Deployments.Get(view, key)
	if !exists {
		return workload{}, false
	}
	w := workload{reference: reference("Deployment", d), meta: d.ObjectMeta, template: d.Spec.Template}
	want := desired(d.Spec.Replicas)
	w.settled = want > 0 && !d.Spec.Paused && d.Status.ObservedGeneration >= d.Generation &&
		d.Status.UpdatedReplicas == want && d.Status.Replicas == want
	for _, replicaSet := range inputs.ReplicaSets.ByIndex(view, inputs.ByController, inputs.Controls(d.UID)) {
		w.owners = append(w.owners, string(replicaSet.UID))
	}
	return w, true
}

func statefulSet(view *live.View, key live.Key) (workload, bool) {
	s, exists := inputs.StatefulSets.Get(view, key)
	if !exists {
		return workload{}, false
	}
	w := workload{reference: reference("StatefulSet", s), meta: s.ObjectMeta, template: s.Spec.Template, owners: []string{string(s.UID)}}
	rolling := s.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && s.Status.UpdateRevision != s.Status.CurrentRevision
	w.settled = desired(s.Spec.Replicas) > 0 && s.Status.ObservedGeneration >= s.Generation && !rolling
	return w, true
}

func daemonSet(view *live.View, key live.Key) (workload, bool) {
	d, exists := inputs.DaemonSets.Get(view, key)
	if !exists {
		return workload{}, false
	}
	w := workload{reference: reference("DaemonSet", d), meta: d.ObjectMeta, template: d.Spec.Template, owners: []string{string(d.UID)}}
	rolling := d.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType && d.Status.UpdatedNumberScheduled < d.Status.DesiredNumberScheduled
	w.settled = d.Status.DesiredNumberScheduled > 0 && d.Status.ObservedGeneration >= d.Generation && !rolling
	return w, true
}

func desired(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func reference(kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: "apps/v1", Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}
