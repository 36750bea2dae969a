// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/ai/redaction"
	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// unscheduled goes by what the scheduler says of a pod that it finds no node for.
func (q *inquiry) unscheduled(pod *corev1.Pod, ref v1alpha1.ObjectReference) verdict {
	said := ""
	if condition := conditionOf(pod, corev1.PodScheduled); condition != nil {
		if condition.Reason == corev1.PodReasonSchedulingGated {
			return verdict{"SchedulingGated", fmt.Sprintf("Pod %s is not scheduled, because it has a scheduling gate that nobody has taken away", pod.Name)}
		}
		said = redaction.Mask(condition.Message)
	}
	if said == "" {
		for _, event := range q.events(ref) {
			if event.Reason == "FailedScheduling" {
				said = event.Message
				break
			}
		}
	}
	if said == "" {
		q.lack(CauseNoKnownSign, fmt.Sprintf("no scheduler has said anything about Pod %s (schedulerName %s)", pod.Name, pod.Spec.SchedulerName))
		return verdict{}
	}
	is := "PodUnschedulable"
	if q.finding.Spec.Analyzer == pendingpods.Name {
		is = q.finding.Spec.Reason
	}
	before, _, _ := strings.Cut(said, "preemption:") // says how bad it is, and nothing of why
	q.note(opsv1alpha1.ToolObject, name(ref)+" condition PodScheduled", before)
	text := fmt.Sprintf("Pod %s finds no node: %s", pod.Name, sentence(before))
	if strings.Contains(said, "Insufficient ") {
		text += ". It asks for " + requests(pod)
	}
	return verdict{is, text + q.claims(pod, said)}
}

// requests are what a pod asks for, by resource.
func requests(pod *corev1.Pod) string {
	total := corev1.ResourceList{}
	for _, container := range pod.Spec.Containers {
		for resource, amount := range container.Resources.Requests {
			sum := total[resource]
			sum.Add(amount)
			total[resource] = sum
		}
	}
	var all []string
	for resource, amount := range total {
		all = append(all, fmt.Sprintf("%s of %s", amount.String(), resource))
	}
	slices.Sort(all)
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

// claims tells which claim of a pod has no volume, and why, if volumes are what
// keeps it from every node.
func (q *inquiry) claims(pod *corev1.Pod, said string) string {
	if lower := strings.ToLower(said); !strings.Contains(lower, "volume") && !strings.Contains(lower, "pvc") {
		return ""
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		claim := &corev1.PersistentVolumeClaim{}
		ref := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: pod.Namespace, Name: volume.PersistentVolumeClaim.ClaimName}
		switch q.object(ref, claim) {
		case absent:
			return fmt.Sprintf(". There is no PersistentVolumeClaim %s", ref.Name)
		case unread:
			continue
		case present:
		}
		ref.UID = claim.UID
		q.note(opsv1alpha1.ToolObject, name(ref), "phase "+string(claim.Status.Phase))
		if claim.Status.Phase == corev1.ClaimBound {
			continue
		}
		text := fmt.Sprintf(". PersistentVolumeClaim %s is %s", claim.Name, claim.Status.Phase)
		for _, event := range q.events(ref) {
			return text + ": " + sentence(event.Message)
		}
		return text
	}
	return ""
}
