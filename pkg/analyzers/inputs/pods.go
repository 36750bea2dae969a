// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
)

// Indexes of Pods. Those of pods in trouble hold few pods, so that an analyzer
// that reads by them does nothing for a change of a healthy one.
const (
	// ByTroubledController finds pods in trouble by the UID of their controller.
	ByTroubledController = "troubledcontroller"
	// ByRestartedController finds pods in trouble, and those with a container that was ever
	// restarted, by the UID of their controller. In a large cluster the second are many.
	ByRestartedController = "restartedcontroller"
	// ByTroubledNamespace finds pods in trouble by their namespace.
	ByTroubledNamespace = "troublednamespace"
	// ByServiceAccount finds pods, and what makes them from a template, by
	// "NAMESPACE/NAME" of their ServiceAccount.
	ByServiceAccount = "serviceaccount"
	// ByClaim finds pods by "NAMESPACE/NAME" of a PersistentVolumeClaim that they mount.
	ByClaim = "claim"
	// ByTerminatingNode finds pods that are being deleted by the name of their node.
	ByTerminatingNode = "terminatingnode"
)

// Pods as analyzers see them: where one runs, since when, as whom, with which claims,
// whether it is Ready, and of its containers those that have had trouble. What they
// are made of is read from the template of their workload.
var Pods = live.NewInput(corev1.SchemeGroupVersion.WithResource("pods"), live.InputOptions[*corev1.Pod]{
	Trim: trimPod, Indexes: map[string]func(*corev1.Pod) []string{
		ByController: controller[*corev1.Pod],
		ByTroubledController: func(pod *corev1.Pod) []string {
			if !Troubled(pod) {
				return nil
			}
			return controller(pod)
		},
		ByRestartedController: func(pod *corev1.Pod) []string {
			if !Restarted(pod) {
				return nil
			}
			return controller(pod)
		},
		ByTroubledNamespace: func(pod *corev1.Pod) []string {
			if !Troubled(pod) {
				return nil
			}
			return []string{pod.Namespace}
		},
		ByServiceAccount: func(pod *corev1.Pod) []string {
			// The default one is never asked for, and most pods have it.
			if name := pod.Spec.ServiceAccountName; name != "" && name != "default" {
				return []string{pod.Namespace + "/" + name}
			}
			return nil
		},
		ByClaim: func(pod *corev1.Pod) []string {
			var claims []string
			for _, volume := range pod.Spec.Volumes {
				if volume.PersistentVolumeClaim != nil {
					claims = append(claims, pod.Namespace+"/"+volume.PersistentVolumeClaim.ClaimName)
				}
			}
			return claims
		},
		ByTerminatingNode: func(pod *corev1.Pod) []string {
			if pod.DeletionTimestamp == nil || pod.Spec.NodeName == "" {
				return nil
			}
			return []string{pod.Spec.NodeName}
		},
	},
})

// Troubled tells whether a pod may be in trouble now: it is failed, not yet started, or
// one of its containers waits or has ended. Pods that succeeded, or that run, are not,
// however often their containers were restarted.
func Troubled(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning {
		return pod.Status.Phase != corev1.PodSucceeded // Pending, Failed, Unknown, and what is not known
	}
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil || s.State.Terminated != nil
	}) || slices.ContainsFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil || s.State.Terminated != nil && s.State.Terminated.ExitCode != 0
	})
}

// Restarted tells whether a pod may be in trouble, or runs and one of its containers was
// restarted.
func Restarted(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodRunning {
		return len(pod.Status.InitContainerStatuses)+len(pod.Status.ContainerStatuses) > 0
	}
	return Troubled(pod)
}

// trimPod makes a new object of the few fields that are read.
func trimPod(in *corev1.Pod) *corev1.Pod {
	trimMeta(&in.ObjectMeta)
	out := &corev1.Pod{
		ObjectMeta: in.ObjectMeta,
		Spec: corev1.PodSpec{
			NodeName: shared(in.Spec.NodeName), ServiceAccountName: shared(in.Spec.ServiceAccountName),
			AutomountServiceAccountToken: in.Spec.AutomountServiceAccountToken, ImagePullSecrets: in.Spec.ImagePullSecrets,
			RestartPolicy: corev1.RestartPolicy(shared(string(in.Spec.RestartPolicy))),
		},
		Status: corev1.PodStatus{
			Phase: in.Status.Phase, StartTime: started(&in.Status), Reason: in.Status.Reason,
			Conditions:        podConditions(in.Status.Phase, in.Status.Conditions),
			ContainerStatuses: troubled(in.Status.ContainerStatuses), InitContainerStatuses: troubled(in.Status.InitContainerStatuses),
		},
	}
	out.Spec.Containers = restarted(in.Spec.Containers, out.Status.ContainerStatuses)
	out.Spec.InitContainers = restarted(in.Spec.InitContainers, out.Status.InitContainerStatuses)
	if priority := in.Spec.Priority; priority != nil && *priority < 0 {
		out.Spec.Priority = priority // makes room for others, as placeholders do
	}
	for _, volume := range in.Spec.Volumes {
		if volume.PersistentVolumeClaim != nil {
			out.Spec.Volumes = append(out.Spec.Volumes, corev1.Volume{
				Name: volume.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: volume.PersistentVolumeClaim},
			})
		}
	}
	return out
}

// started tells when a pod took over what its containers start with: when the kubelet
// took it up, or, once all its containers run, when the first of those started that
// have not been restarted. Of those that have been, troubled keeps when they started.
func started(in *corev1.PodStatus) *metav1.Time {
	var first *metav1.Time
	for i := range in.ContainerStatuses {
		running := in.ContainerStatuses[i].State.Running
		if running == nil {
			return in.StartTime
		}
		if in.ContainerStatuses[i].RestartCount == 0 && !running.StartedAt.IsZero() && (first == nil || running.StartedAt.Before(first)) {
			first = &running.StartedAt
		}
	}
	if first == nil {
		return in.StartTime
	}
	return first.DeepCopy()
}

// podConditions keeps Ready, PodScheduled with the scheduler's words while it is not
// True, and of a pod that has not started whether its volumes and its sandbox are
// there, each with what tells since when.
func podConditions(phase corev1.PodPhase, in []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, condition := range in {
		kept := corev1.PodCondition{
			Type: condition.Type, Status: condition.Status, Reason: condition.Reason, LastTransitionTime: condition.LastTransitionTime,
		}
		switch {
		case condition.Type == corev1.PodReady:
		case condition.Type == corev1.PodReadyToStartContainers && phase == corev1.PodPending:
		case condition.Type == corev1.PodScheduled && condition.Status != corev1.ConditionTrue:
			kept.Message = condition.Message
		default:
			continue
		}
		out = append(out, kept)
	}
	return slices.Clip(out)
}

// troubled keeps the containers that wait, have been restarted or ended badly, with
// why.
func troubled(in []corev1.ContainerStatus) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for _, status := range in {
		waiting, ended, last := status.State.Waiting, status.State.Terminated, status.LastTerminationState.Terminated
		if waiting == nil && status.RestartCount == 0 && last == nil && (ended == nil || ended.ExitCode == 0) {
			continue
		}
		kept := corev1.ContainerStatus{Name: status.Name, RestartCount: status.RestartCount, Image: status.Image, Ready: status.Ready}
		kept.State.Running = status.State.Running
		if waiting != nil {
			kept.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting.Reason, Message: waitMessage(waiting)}
		}
		kept.State.Terminated, kept.LastTerminationState.Terminated = ending(ended), ending(last)
		out = append(out, kept)
	}
	return out
}

// restarted keeps of the containers of which a status is kept those that are restarted
// otherwise than their pod's restartPolicy says, as sidecars are, with how.
func restarted(in []corev1.Container, kept []corev1.ContainerStatus) []corev1.Container {
	var out []corev1.Container
	for _, container := range in {
		has := slices.ContainsFunc(kept, func(status corev1.ContainerStatus) bool { return status.Name == container.Name })
		if has && container.RestartPolicy != nil {
			out = append(out, corev1.Container{Name: container.Name, RestartPolicy: container.RestartPolicy})
		}
	}
	return out
}

// waitMessage keeps what a container waits for. How long the kubelet backs off says
// nothing, and changes all the time.
func waitMessage(waiting *corev1.ContainerStateWaiting) string {
	if waiting.Reason == "CrashLoopBackOff" {
		return ""
	}
	return waiting.Message
}

// ending keeps how and when a container ended. What it wrote as its message may be
// anything.
func ending(in *corev1.ContainerStateTerminated) *corev1.ContainerStateTerminated {
	if in == nil {
		return nil
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: in.ExitCode, Signal: in.Signal, Reason: in.Reason, StartedAt: in.StartedAt, FinishedAt: in.FinishedAt,
	}
}

// shared returns one copy of a text that many objects hold.
func shared(text string) string { return unique.Make(text).Value() }

// ConditionOfPod returns the condition of a type; its status is Unknown if there is none.
func ConditionOfPod(pod *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == kind {
			return condition
		}
	}
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionUnknown}
}

// Finished tells whether nothing more happens to a pod.
func Finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// BarePod tells whether no controller looks after a pod.
func BarePod(pod *corev1.Pod) bool { return metav1.GetControllerOfNoCopy(pod) == nil }
