// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
)

// OwnerReads are what Owner reads, Pods included.
func OwnerReads() []live.KindRef {
	return []live.KindRef{
		inputs.Pods.Ref(), inputs.ReplicaSets.Ref(), inputs.Deployments.Ref(), inputs.StatefulSets.Ref(),
		inputs.DaemonSets.Ref(), inputs.Jobs.Ref(), inputs.CronJobs.Ref(),
	}
}

// Owner returns the workload of a pod, as Rules would judge it; the pod itself if
// none is there.
func Owner(view *live.View, pod *corev1.Pod) Workload {
	for _, way := range []struct {
		group, kind string
		find        func(*live.View, live.Key) (Workload, bool)
		above       func(*live.View, live.Key) (Workload, bool)
	}{
		{"apps", "ReplicaSet", replicaSet, deploymentAbove},
		{"apps", "StatefulSet", statefulSet, nil},
		{"apps", "DaemonSet", daemonSet, nil},
		{"batch", "Job", job, cronJobAbove},
	} {
		if !controlledBy(pod, way.group, way.kind) {
			continue
		}
		key := controllerKey(pod)
		if way.above != nil {
			if w, exists := way.above(view, key); exists {
				return w
			}
		}
		if w, exists := way.find(view, key); exists && metav1.IsControlledBy(pod, w.Meta) {
			return w
		}
	}
	return Workload{Reference: PodReference(pod), Meta: &pod.ObjectMeta, Settled: true, pod: pod}
}

func deploymentAbove(view *live.View, key live.Key) (Workload, bool) {
	r, exists := inputs.ReplicaSets.Get(view, key)
	if !exists || !controlledBy(r, "apps", "Deployment") {
		return Workload{}, false
	}
	w, exists := Deployment(view, controllerKey(r))
	return w, exists && metav1.IsControlledBy(r, w.Meta)
}

func cronJobAbove(view *live.View, key live.Key) (Workload, bool) {
	j, exists := inputs.Jobs.Get(view, key)
	if !exists || !controlledBy(j, "batch", "CronJob") {
		return Workload{}, false
	}
	w, exists := cronJob(view, controllerKey(j))
	return w, exists && metav1.IsControlledBy(j, w.Meta)
}

// controllerKey names the controller of an object that has one.
func controllerKey(object metav1.Object) live.Key {
	return live.Key{Namespace: object.GetNamespace(), Name: metav1.GetControllerOfNoCopy(object).Name}
}

// NamesOf lists at most three workloads in a sentence, as Names does.
func NamesOf(workloads []Workload) string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.String())
	}
	return Names(names)
}
