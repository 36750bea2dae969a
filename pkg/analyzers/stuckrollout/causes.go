// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckrollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/live"
)

// CauseKind is why a rollout is held up, the more certain the higher.
type CauseKind int

// The kinds of causes.
const (
	Unknown       CauseKind = iota
	NotReady                // pods run and do not become Ready
	Starting                // pods have been placed and have not started
	Ending                  // pods of the last revision do not end
	LostNode                // pods are on a node that is not Ready
	Unschedulable           // no node takes the pods
	Gated                   // a scheduling gate holds the pods
	Crash                   // a container does not keep running
	Configuration           // a container waits for a key, a Secret or a ConfigMap
	Image                   // a container has no image
	Refused                 // pods are not let in
)

// Cause is why a rollout is held up.
type Cause struct {
	Kind CauseKind
	// Text is a part of a sentence, without what changes from one look to the next.
	Text string
	// Pod is one that shows it; nil if none does.
	Pod *corev1.Pod

	container string
}

// causeOf returns the most certain cause that one of some pods shows, of several
// pods the first by name.
func causeOf(view *live.View, pods []*corev1.Pod) Cause {
	var most Cause
	for _, pod := range slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) }) {
		if pod.DeletionTimestamp != nil || inputs.Finished(pod) {
			continue
		}
		if cause := causeIn(view, pod); cause.Kind > most.Kind {
			most = cause
		}
	}
	return most
}

func causeIn(view *live.View, pod *corev1.Pod) Cause {
	if inputs.ConditionOfPod(pod, corev1.PodReady).Status == corev1.ConditionTrue {
		return Cause{}
	}
	if workloads.OnLostNode(view, pod) {
		return Cause{Kind: LostNode, Text: fmt.Sprintf("Node %s is not Ready", pod.Spec.NodeName), Pod: pod}
	}
	if scheduled := inputs.ConditionOfPod(pod, corev1.PodScheduled); scheduled.Status == corev1.ConditionFalse {
		if scheduled.Reason == corev1.PodReasonSchedulingGated {
			return Cause{Kind: Gated, Text: "a scheduling gate holds its new pods", Pod: pod}
		}
		return Cause{Kind: Unschedulable, Text: "no node takes its new pods", Pod: pod}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if cause := causeInContainer(status); cause.Kind != Unknown {
			cause.Pod, cause.container = pod, status.Name
			return cause
		}
	}
	switch pod.Status.Phase {
	case corev1.PodRunning:
		return Cause{Kind: NotReady, Text: "its new pods run and do not become Ready", Pod: pod}
	case corev1.PodPending:
		return Cause{Kind: Starting, Text: "its new pods have not started", Pod: pod}
	}
	return Cause{}
}

// causeInContainer does not go by what a container that crashes is doing right now:
// it runs, has ended and waits in turn.
func causeInContainer(status corev1.ContainerStatus) Cause {
	if status.Ready {
		return Cause{}
	}
	reason := ""
	if waiting := status.State.Waiting; waiting != nil {
		reason = waiting.Reason
	}
	switch {
	case workloads.WaitsForImage(status):
		return Cause{Kind: Image, Text: strings.TrimSpace(fmt.Sprintf("container %s cannot get its image %s", status.Name, status.Image))}
	case reason == "CreateContainerConfigError":
		return Cause{Kind: Configuration, Text: fmt.Sprintf("container %s waits for what is not there: %s", status.Name, inputs.Sentence(status.State.Waiting.Message))}
	case reason == "CreateContainerError", reason == "RunContainerError", reason == "CrashLoopBackOff",
		status.RestartCount > 0, status.State.Terminated != nil && status.State.Terminated.ExitCode != 0:
		return Cause{Kind: Crash, Text: fmt.Sprintf("container %s does not keep running", status.Name)}
	}
	return Cause{}
}

// gone is the cause where pods should have ended and have not.
func gone(view *live.View, pods []*corev1.Pod) Cause {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil && analyzers.Past(view, pod.DeletionTimestamp.Time) {
			return Cause{Kind: Ending, Text: fmt.Sprintf("pod %s of the last revision does not end", pod.Name), Pod: pod}
		}
	}
	return Cause{}
}

// mend tells what to do about a cause.
func (c Cause) mend() string {
	switch c.Kind {
	case Refused:
		return "Mend what refuses them: raise the quota or ask for less, or make the template what the policy wants."
	case Image:
		return "See whether the image and its tag exist and the pull secret is right, and correct the template."
	case Configuration:
		return "Make the key, the Secret or the ConfigMap that it waits for, or correct the template."
	case Crash:
		return "Read what the container said before it ended, and correct the template or what it depends on."
	case Unschedulable:
		return "See what the scheduler says about the pod: room, taints, affinities or volumes."
	case Gated:
		return "See which gate the pod has in spec.schedulingGates, and why the controller that is to remove it does not: the scheduler leaves the pod alone until then."
	case LostNode:
		return "Bring the node back, or delete it if it is gone for good: the rollout then gets on."
	case Ending:
		return "See what keeps the pod from ending: the rollout waits for it."
	}
	return "See what the new pods wait for, and correct the template or what they depend on."
}
