// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
)

// calm is how long a container must have run for its restarts to be history, as for
// the analyzer CrashLoop.
const calm = 10 * time.Minute

// Runs tells whether all that there is to see of a pod is that it runs: it is on a node
// that is there, and none of its containers waits, has ended, or was restarted within
// ten minutes. If it then is not Ready, nothing that other analyzers are about tells why.
func Runs(view *live.View, pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning || pod.Spec.NodeName == "" {
		return false
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if ended := status.State.Terminated; (ended == nil || ended.ExitCode != 0) && !runs(view, status) {
			return false
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if !runs(view, status) {
			return false
		}
	}
	return !OnLostNode(view, pod)
}

// HasClaim tells whether a pod has a PersistentVolumeClaim. In a StatefulSet the next pod
// of its name has the same ones; what a pod keeps elsewhere goes with it.
func HasClaim(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil })
}

// OnLostNode tells whether a pod is on a node that is not Ready.
func OnLostNode(view *live.View, pod *corev1.Pod) bool {
	if pod.Spec.NodeName == "" {
		return false
	}
	node, exists := inputs.Nodes.Get(view, live.Key{Name: pod.Spec.NodeName})
	return exists && inputs.NodeLost(node)
}

// NeverReady tells whether a pod that is not Ready has not been since it started: the
// kubelet writes the condition first when it takes the pod up (k8s.io/kubernetes,
// pkg/kubelet/status), and after that only when it turns.
func NeverReady(pod *corev1.Pod) bool {
	ready := inputs.ConditionOfPod(pod, corev1.PodReady)
	if ready.Status == corev1.ConditionTrue {
		return false
	}
	started := pod.Status.StartTime
	if started == nil {
		started = &pod.CreationTimestamp
	}
	return ready.LastTransitionTime.IsZero() || !ready.LastTransitionTime.After(started.Time)
}

// WaitsForVolumes tells since when a pod that has a node waits for its volumes or its
// sandbox. The kubelet mounts the volumes, then makes the sandbox, and then pulls images
// and starts anything.
func WaitsForVolumes(pod *corev1.Pod) (since time.Time, waits bool) {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName == "" ||
		inputs.ConditionOfPod(pod, corev1.PodReadyToStartContainers).Status == corev1.ConditionTrue {
		return time.Time{}, false
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		wait := status.State.Waiting
		if wait == nil || status.LastTerminationState.Terminated != nil || wait.Reason != "ContainerCreating" && wait.Reason != "PodInitializing" {
			return time.Time{}, false
		}
	}
	since = inputs.ConditionOfPod(pod, corev1.PodReady).LastTransitionTime.Time
	if pod.Status.StartTime != nil {
		since = pod.Status.StartTime.Time
	}
	return since, !since.IsZero()
}

// runs judges a container that has had trouble: only of those there are statuses.
func runs(view *live.View, status corev1.ContainerStatus) bool {
	running := status.State.Running
	return running != nil && analyzers.Past(view, running.StartedAt.Add(calm))
}

// imageWaits are the kubelet's reasons of containers that have no image
// (k8s.io/kubernetes, pkg/kubelet/images; k8s.io/cri-api, pkg/errors).
var imageWaits = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed",
}

// WaitsForImage tells whether a container waits for its image.
func WaitsForImage(status corev1.ContainerStatus) bool {
	return status.State.Waiting != nil && slices.Contains(imageWaits, status.State.Waiting.Reason)
}
