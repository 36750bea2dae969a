// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// indexes tells whether indexes of a Job failed for good (backoffLimitPerIndex,
// KEP-3850): the Job goes on with the others, and fails when they are done. Which
// ones is left to the command, because they become more.
func indexes(view *live.View, job *batchv1.Job) []v1alpha1.FindingSpec {
	if job.Status.FailedIndexes == nil || *job.Status.FailedIndexes == "" || history(view, job) {
		return nil
	}
	since := view.FirstObserved(IndexesFailed)
	if at, failed := ended(job, batchv1.JobFailed); failed && at.Before(since) {
		since = at
	}
	return []v1alpha1.FindingSpec{{
		Reason: IndexesFailed, Severity: v1alpha1.SeverityWarning, Subject: reference("Job", job),
		Message: fmt.Sprintf("Indexes of Job %s failed as often as they may and are not tried again, so the Job cannot succeed.", job.Name),
		Remediation: v1alpha1.Remediation{
			Text: "See which indexes failed and what their pods say. What they were to do has to be done by another Job.",
			Commands: []string{
				fmt.Sprintf("kubectl get job %s -n %s -o jsonpath='{.status.failedIndexes}'", job.Name, job.Namespace),
				fmt.Sprintf("kubectl get pods -n %s -l batch.kubernetes.io/job-name=%s --field-selector status.phase=Failed", job.Namespace, job.Name),
			},
		},
		Since: metav1.NewTime(since),
	}}
}

// history tells whether whoever made a Job has made another since, which succeeded.
func history(view *live.View, job *batchv1.Job) bool {
	owner := metav1.GetControllerOf(job)
	if owner == nil {
		return false
	}
	return slices.ContainsFunc(inputs.Jobs.ByIndex(view, inputs.ByController, inputs.Controls(owner.UID)), func(other *batchv1.Job) bool {
		_, succeeded := ended(other, batchv1.JobComplete)
		return succeeded && other.CreationTimestamp.After(job.CreationTimestamp.Time)
	})
}

// ended tells whether a Job has a condition that it ended with, and since when.
func ended(job *batchv1.Job, how batchv1.JobConditionType) (at time.Time, so bool) {
	for _, condition := range job.Status.Conditions {
		if condition.Type == how && condition.Status == "True" {
			return condition.LastTransitionTime.Time, true
		}
	}
	return time.Time{}, false
}
