// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// leftBare deletes what is left of a failed pod without a controller. Nobody makes
// another. It is left for a time to those who want to read what it wrote.
func leftBare(view *live.View, finding *v1alpha1.Finding, leftFor time.Duration) (fix, bool) {
	pod, exists := leftPod(view, finding.Spec.Subject)
	if !exists || !inputs.BarePod(pod) || !analyzers.Past(view, finding.Spec.Since.Add(leftFor)) {
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionDeletePod, target: finding.Spec.Subject,
		rationale: fmt.Sprintf("Pod %s failed more than %s ago and has no controller, so it does not run again and nobody makes another. Deleting it only clears away what is left; what it wrote and what it is made of go with it: keep its manifest, unless you have that elsewhere.", pod.Name, span(leftFor)),
	}, true
}

// leftOfJob deletes the last failed pod of a Job that has given up. With others left,
// and of a Job that is found without any, the finding would stay. The Job's count of failures is kept in its status, and has
// this pod already once the pod has lost the finalizer by which the Job counts
// (KEP-2307); and a Job that failed makes no more pods.
func leftOfJob(view *live.View, finding *v1alpha1.Finding, leftFor time.Duration) (fix, bool) {
	if len(finding.Spec.Related) != 1 {
		return fix{}, false
	}
	target := finding.Spec.Related[0].ObjectReference
	pod, exists := leftPod(view, target)
	if !exists || slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer) {
		return fix{}, false
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "Job" {
		return fix{}, false
	}
	job, exists := inputs.Jobs.Get(view, live.Key{Namespace: pod.Namespace, Name: owner.Name})
	if !exists || job.UID != owner.UID || workloads.DeletesItsPods(job) {
		return fix{}, false
	}
	// The finding of a CronJob is since its first failure.
	at, gaveUp := workloads.Ended(job, batchv1.JobFailed)
	if !gaveUp || !analyzers.Past(view, at.Add(leftFor)) {
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionDeletePod, target: target,
		rationale: fmt.Sprintf("Pod %s is the last failed pod of Job %s, which has failed for good more than %s ago, has counted it, and makes no other. Deleting it only clears away what is left; what it wrote goes with it.",
			pod.Name, job.Name, span(leftFor)),
	}, true
}

// leftPod returns a failed pod that a finding is about.
func leftPod(view *live.View, of v1alpha1.ObjectReference) (*corev1.Pod, bool) {
	pod, exists := inputs.Pods.Get(view, live.Key{Namespace: of.Namespace, Name: of.Name})
	if !exists || pod.UID != of.UID || pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodFailed {
		return nil, false
	}
	return pod, true
}

// span is how kubectl writes a duration, as "60m".
func span(of time.Duration) string { return duration.HumanDuration(of) }

// leaving is a matcher of what is left for a time.
func leaving(match func(*live.View, *v1alpha1.Finding, time.Duration) (fix, bool), leftFor time.Duration) matcher {
	return func(view *live.View, finding *v1alpha1.Finding) (fix, bool) { return match(view, finding, leftFor) }
}
