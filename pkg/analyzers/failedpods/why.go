// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedpods

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
)

// byNode are the reasons of pods that their nodes ended, with what they mean
// (k8s.io/kubernetes, pkg/kubelet: eviction, nodeshutdown, preemption).
var byNode = map[string]string{
	"Evicted":      "its node evicted it, because it was short of something",
	"Terminated":   "its node was shut down",
	"NodeShutdown": "its node did not take it, because it was shutting down",
	"Preempting":   "its node ended it to make room for a critical pod",
	"NodeLost":     "its node was lost",
}

// notAdmitted begin or are the reasons of pods that a node did not take
// (k8s.io/kubernetes, pkg/kubelet/lifecycle).
var notAdmitted = []string{"OutOf", "NodeAffinity", "NodePorts", "UnexpectedAdmissionError", "TopologyAffinityError", "AppArmor"}

// endedByNode tells whether a pod failed for what its node did, and not by itself.
func endedByNode(pod *corev1.Pod) bool {
	_, known := byNode[pod.Status.Reason]
	return known || refused(pod)
}

func refused(pod *corev1.Pod) bool {
	return slices.ContainsFunc(notAdmitted, func(reason string) bool { return strings.HasPrefix(pod.Status.Reason, reason) })
}

// why tells why a pod failed, as the rest of a sentence.
func why(pod *corev1.Pod) string {
	if text, known := byNode[pod.Status.Reason]; known {
		return fmt.Sprintf("%s (%s)", text, pod.Status.Reason)
	}
	if refused(pod) {
		return fmt.Sprintf("its node did not take it (%s)", pod.Status.Reason)
	}
	if pod.Status.Reason == "DeadlineExceeded" {
		return "it ran for longer than it may (DeadlineExceeded)"
	}
	for _, status := range statuses(pod) {
		if end := status.State.Terminated; end != nil && end.ExitCode != 0 {
			if end.Reason == "" || end.Reason == "Error" {
				return fmt.Sprintf("its container %s ended with exit code %d", status.Name, end.ExitCode)
			}
			return fmt.Sprintf("its container %s ended with exit code %d (%s)", status.Name, end.ExitCode, end.Reason)
		}
	}
	if pod.Status.Reason != "" {
		return fmt.Sprintf("it says %s", inputs.Sentence(pod.Status.Reason))
	}
	return "it does not say why"
}

// podOf is how the Job controller names a pod (k8s.io/kubernetes, pkg/controller/job,
// podFailurePolicy). The pod is gone, and the next Job has another.
var podOf = regexp.MustCompile(`\b[Pp]od [^\s/]+/\S+`)

// whyOfJob tells why a Job failed that has no pods left, as a sentence about what who
// names, without its dot.
func whyOfJob(who string, job *batchv1.Job) string {
	for _, condition := range job.Status.Conditions {
		if condition.Type != batchv1.JobFailed || condition.Status != corev1.ConditionTrue {
			continue
		}
		message := podOf.ReplaceAllStringFunc(condition.Message, func(named string) string {
			if strings.HasPrefix(named, "P") {
				return "Its pod"
			}
			return "its pod"
		})
		switch said := inputs.Sentence(message); {
		case said != "" && condition.Reason != "":
			return fmt.Sprintf("%s says: %s (%s)", who, said, condition.Reason)
		case said != "" || condition.Reason != "":
			return who + " says: " + said + condition.Reason
		}
	}
	return who + " does not say why"
}

// failedAt is when the last container of a failed pod ended, or else when it stopped
// being Ready; zero if neither is known.
func failedAt(pod *corev1.Pod) time.Time {
	var last time.Time
	for _, status := range statuses(pod) {
		if end := status.State.Terminated; end != nil && end.FinishedAt.After(last) {
			last = end.FinishedAt.Time
		}
	}
	if last.IsZero() {
		last = inputs.ConditionOfPod(pod, corev1.PodReady).LastTransitionTime.Time
	}
	return last
}

func statuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}
