// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// indexes tells whether indexes of a Job, or of the last one of a CronJob that has
// such, failed for good (backoffLimitPerIndex, KEP-3850): the Job goes on with the
// others, and fails when they are done. Which ones is left to the command, because they
// become more.
func indexes(view *live.View, of v1alpha1.ObjectReference, jobs []*batchv1.Job) []v1alpha1.FindingSpec {
	// A Job of a CronJob that succeeded since may be gone already (successfulJobsHistoryLimit).
	var succeeded metav1.Time
	if of.Kind == "CronJob" {
		if cronJob, exists := inputs.CronJobs.Get(view, live.Key{Namespace: of.Namespace, Name: of.Name}); exists && cronJob.Status.LastSuccessfulTime != nil {
			succeeded = *cronJob.Status.LastSuccessfulTime
		}
	}
	with := slices.DeleteFunc(slices.Clone(jobs), func(job *batchv1.Job) bool {
		suspended := job.Spec.Suspend != nil && *job.Spec.Suspend
		return job.Status.FailedIndexes == nil || *job.Status.FailedIndexes == "" || job.DeletionTimestamp != nil || suspended || workloads.Outdone(view, job) ||
			job.CreationTimestamp.Before(&succeeded)
	})
	if len(with) == 0 {
		return nil
	}
	job := slices.MaxFunc(with, func(x, y *batchv1.Job) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), strings.Compare(x.Name, y.Name))
	})
	since := view.FirstObserved(IndexesFailed)
	if at, failed := workloads.Ended(job, batchv1.JobFailed); failed && at.Before(since) {
		since = at
	}
	name := "Job " + job.Name
	if of.Kind == "CronJob" {
		name += " of CronJob " + of.Name
	}
	return []v1alpha1.FindingSpec{{
		Reason: IndexesFailed, Severity: v1alpha1.SeverityWarning, Subject: of,
		Message: fmt.Sprintf("Indexes of %s failed as often as they may and are not tried again, so the Job cannot succeed.", name),
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
