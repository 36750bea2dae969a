// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/ai/redaction"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// imageWaits are the reasons for which a container waits for its image (k8s.io/kubernetes,
// pkg/kubelet/images).
var imageWaits = []string{
	"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "SignatureValidationFailed", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
}

// createWaits are those for which it cannot be created (k8s.io/kubernetes, pkg/kubelet/kuberuntime).
var createWaits = []string{"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError"}

// pod goes by the state of a pod.
func (q *inquiry) pod(ref v1alpha1.ObjectReference) verdict {
	pod := &corev1.Pod{}
	if !q.subject(ref, q.object(ref, pod)) {
		return verdict{}
	}
	ref.UID = pod.UID
	q.note(opsv1alpha1.ToolObject, name(ref), state(pod))
	if scheduled := conditionOf(pod, corev1.PodScheduled); scheduled != nil && scheduled.Status == corev1.ConditionFalse || pod.Spec.NodeName == "" {
		return q.unscheduled(pod, ref)
	}
	if is := pod.Status; is.Phase == corev1.PodFailed && is.Reason != "" {
		said := cmp.Or(sentence(redaction.Mask(is.Message)), "nothing says more")
		return verdict{is.Reason, fmt.Sprintf("Pod %s failed (%s): %s", pod.Name, sentence(is.Reason), said)}
	}
	container, trouble := worst(pod)
	var found verdict
	switch trouble {
	case waitsForImage:
		found = q.image(pod, ref, container)
	case notCreated:
		found = q.notCreated(pod, ref, container)
	case ended:
		found = q.crash(pod, ref, container)
	case creating, unready, noTrouble:
		return q.starting(pod, ref)
	}
	if found.cause == "" {
		return found
	}
	if with := q.rollout(pod, container.Name); with != "" {
		found.text = strings.TrimRight(found.text, ".") + ". " + with
	}
	return found
}

// trouble is how a container stands, the more telling the higher.
type trouble int

const (
	noTrouble trouble = iota
	unready
	creating
	ended
	notCreated
	waitsForImage
)

// worst returns the container that tells most, the first of several.
func worst(pod *corev1.Pod) (of *corev1.ContainerStatus, is trouble) {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if t := troubleOf(&statuses[i]); t > is {
				of, is = &statuses[i], t
			}
		}
	}
	return of, is
}

func troubleOf(status *corev1.ContainerStatus) trouble {
	if wait := status.State.Waiting; wait != nil {
		switch {
		case slices.Contains(imageWaits, wait.Reason):
			return waitsForImage
		case slices.Contains(createWaits, wait.Reason):
			return notCreated
		case wait.Reason == "CrashLoopBackOff" || status.LastTerminationState.Terminated != nil:
			return ended
		}
		return creating
	}
	if end := status.State.Terminated; end != nil && (end.ExitCode != 0 || end.Reason != "Completed") {
		return ended
	}
	if status.State.Running != nil && !status.Ready {
		if status.LastTerminationState.Terminated != nil {
			return ended
		}
		return unready
	}
	return noTrouble
}

// state says in a line how a pod stands, without what changes by itself: times, and
// counts of restarts.
func state(pod *corev1.Pod) string {
	parts := []string{"phase " + string(pod.Status.Phase)}
	if pod.Status.Reason != "" {
		parts = append(parts, pod.Status.Reason+" "+sentence(pod.Status.Message))
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		is := ""
		switch {
		case status.State.Waiting != nil:
			is = "waits (" + status.State.Waiting.Reason + ")"
		case status.State.Terminated != nil:
			is = ends(status.State.Terminated)
		case status.State.Running != nil && status.Ready:
			is = "runs and is ready"
		case status.State.Running != nil:
			is = "runs and is not ready"
		default:
			is = "has not begun"
		}
		if end := status.LastTerminationState.Terminated; end != nil {
			is += ", and before " + ends(end)
		}
		parts = append(parts, "container "+status.Name+" "+is)
	}
	return strings.Join(parts, "; ")
}

func ends(end *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("ended with exit code %d", end.ExitCode)
	if end.Reason != "" {
		text += " (" + end.Reason + ")"
	}
	return text
}

func conditionOf(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// notCreated goes by what the kubelet says of a container that it cannot create.
func (q *inquiry) notCreated(pod *corev1.Pod, ref v1alpha1.ObjectReference, container *corev1.ContainerStatus) verdict {
	said := redaction.Mask(container.State.Waiting.Message)
	if said == "" {
		for _, event := range q.events(ref) {
			if event.Reason == "Failed" || event.Reason == "FailedPostStartHook" {
				said = event.Message
				break
			}
		}
	}
	if said == "" && container.LastTerminationState.Terminated != nil {
		return q.crash(pod, ref, container)
	}
	if said == "" {
		q.lack(CauseNoKnownSign, fmt.Sprintf("nothing says why container %s of Pod %s is not created", container.Name, pod.Name))
		return verdict{}
	}
	return verdict{signIn(said, "ContainerNotCreated"), fmt.Sprintf("Container %s of Pod %s cannot be created: %s", container.Name, pod.Name, sentence(said))}
}

// obstacles are reasons of events about a pod that keep it from starting or from
// being ready, and how a sentence says them.
var obstacles = []struct{ reason, cause, says string }{
	{"FailedMount", "VolumeNotMounted", "a volume of Pod %s cannot be mounted"},
	{"FailedAttachVolume", "VolumeNotAttached", "a volume of Pod %s cannot be attached"},
	{"FailedMapVolume", "VolumeNotMounted", "a volume of Pod %s cannot be mapped"},
	{"FailedCreatePodSandBox", "SandboxNotCreated", "the network or the sandbox of Pod %s cannot be set up"},
	{"Unhealthy", "ProbeFails", "a probe of Pod %s fails"},
	{"Failed", "ContainerNotStarted", "a container of Pod %s cannot be started"},
}

// sumsUp begins what the kubelet says of all volumes together, which tells less than
// what it says of one.
const sumsUp = "Unable to attach or mount volumes"

// starting goes by what is said of a pod whose containers have not begun, or run and
// are not ready.
func (q *inquiry) starting(pod *corev1.Pod, ref v1alpha1.ObjectReference) verdict {
	events := q.events(ref)
	for _, sums := range []bool{false, true} {
		for _, event := range events {
			for _, obstacle := range obstacles {
				if event.Reason == obstacle.reason && strings.HasPrefix(event.Message, sumsUp) == sums {
					return verdict{signIn(event.Message, obstacle.cause), strings.ToUpper(obstacle.says[:1]) + fmt.Sprintf(obstacle.says[1:], pod.Name) + ": " + sentence(event.Message)}
				}
			}
		}
	}
	for _, event := range events {
		return verdict{signIn(event.Message, "WarningEvent"), fmt.Sprintf("The newest warning about Pod %s is %s: %s", pod.Name, event.Reason, sentence(event.Message))}
	}
	if q.lackCause == "" {
		q.lack(CauseNoKnownSign, fmt.Sprintf("neither the state of Pod %s nor its Events name a cause", pod.Name))
	}
	return verdict{}
}
