// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// overdue tells whether a CronJob has not run when it should have.
func (a analyzer) overdue(view *live.View, cronJob *batchv1.CronJob, jobs []*batchv1.Job) []v1alpha1.FindingSpec {
	schedule, known := scheduleOf(cronJob, a.zone)
	if !known {
		return nil // the controller does not run it either, and says so
	}
	due := schedule.next(cronJob, inputs.Changed(cronJob).Time)
	if due.IsZero() || !analyzers.Past(view, due.Add(a.grace)) {
		return nil
	}
	if cronJob.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent {
		running, ended := earlier(cronJob, jobs)
		if running {
			return nil // it waits, and is told to
		}
		// What waited runs when the earlier Job has ended, or, where that is too late
		// (startingDeadlineSeconds), at the next time of the schedule. That Job may be
		// gone, so it is also waited for from when this is seen.
		if ended.After(due) && cronJob.Spec.StartingDeadlineSeconds != nil {
			ended = schedule.Next(ended)
		}
		if !analyzers.Past(view, ended.Add(a.grace)) || !analyzers.Past(view, view.FirstObserved("due "+due.UTC().Format(time.RFC3339)).Add(a.grace)) {
			return nil
		}
	}
	return []v1alpha1.FindingSpec{{
		Reason: Overdue, Severity: v1alpha1.SeverityWarning, Subject: reference("CronJob", cronJob),
		Message: fmt.Sprintf("CronJob %s should have run by %s according to its schedule %q, and has not.", cronJob.Name, due.UTC().Format(time.RFC3339), cronJob.Spec.Schedule),
		Remediation: v1alpha1.Remediation{
			Text: "See what its events say: a quota or an admission webhook may refuse its Jobs, it may have missed its startingDeadlineSeconds, or kube-controller-manager does not run. If it cannot wait for its next time, run it by hand.",
			Commands: []string{
				fmt.Sprintf("kubectl describe cronjob %s -n %s", cronJob.Name, cronJob.Namespace),
				fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=CronJob,involvedObject.name=%s", cronJob.Namespace, cronJob.Name),
				fmt.Sprintf("kubectl create job late-%s -n %s --from=cronjob/%s", cronJob.Name, cronJob.Namespace, cronJob.Name),
			},
		},
		Since: metav1.NewTime(due),
	}}
}

// earlier tells whether a Job of a CronJob runs, and when the last one that does
// not has ended.
func earlier(cronJob *batchv1.CronJob, jobs []*batchv1.Job) (running bool, ended time.Time) {
	if at := cronJob.Status.LastSuccessfulTime; at != nil {
		ended = at.Time
	}
	for _, job := range jobs {
		at, over := endOf(job)
		running = running || !over
		if at.After(ended) {
			ended = at
		}
	}
	return running, ended
}

// endOf tells when a Job ended, and whether it has.
func endOf(job *batchv1.Job) (at time.Time, over bool) {
	for _, how := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if at, over := workloads.Ended(job, how); over {
			return at, true
		}
	}
	return time.Time{}, false
}
