// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"cmp"
	"fmt"
	"strings"
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
		if running != nil {
			return a.heldUp(view, cronJob, schedule, due, running)
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

// heldUpFor is the least that a Job must have held the next one up: with a schedule of
// minutes, to forbid that Jobs run side by side is how one is run after the other.
const heldUpFor = time.Hour

// heldUp tells whether a CronJob, which waits for an earlier Job and is told to, has
// missed two times for it. A Job that hangs has no end unless it has a deadline.
func (a analyzer) heldUp(view *live.View, cronJob *batchv1.CronJob, schedule schedule, due time.Time, by *batchv1.Job) []v1alpha1.FindingSpec {
	end := schedule.after(due)
	if least := due.Add(heldUpFor); end.Before(least) {
		end = least
	}
	if !analyzers.Past(view, end.Add(a.grace)) {
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: Overdue, Severity: v1alpha1.SeverityWarning, Subject: reference("CronJob", cronJob),
		Related: []v1alpha1.RelatedObject{{Relation: "Job that holds it up", ObjectReference: reference("Job", by)}},
		Message: fmt.Sprintf("CronJob %s should have run by %s according to its schedule %q and once more since, and waits for Job %s, which has not ended.",
			cronJob.Name, due.UTC().Format(time.RFC3339), cronJob.Spec.Schedule, by.Name),
		Remediation: v1alpha1.Remediation{
			Text: fmt.Sprintf("See whether the Job gets on. One that hangs can be deleted, and the next is made: `kubectl delete job %s -n %s`. An activeDeadlineSeconds in the CronJob's jobTemplate ends such Jobs by itself.", by.Name, by.Namespace),
			Commands: []string{
				fmt.Sprintf("kubectl describe job %s -n %s", by.Name, by.Namespace),
				fmt.Sprintf("kubectl get pods -n %s -l batch.kubernetes.io/job-name=%s", by.Namespace, by.Name),
				fmt.Sprintf("kubectl describe cronjob %s -n %s", cronJob.Name, cronJob.Namespace),
			},
		},
		Since: metav1.NewTime(due),
	}}
}

// earlier returns the first Job of a CronJob that runs, and tells when the last one that
// does not has ended.
func earlier(cronJob *batchv1.CronJob, jobs []*batchv1.Job) (running *batchv1.Job, ended time.Time) {
	if at := cronJob.Status.LastSuccessfulTime; at != nil {
		ended = at.Time
	}
	for _, job := range jobs {
		at, over := endOf(job)
		if !over && (running == nil || cmp.Or(job.CreationTimestamp.Compare(running.CreationTimestamp.Time), strings.Compare(job.Name, running.Name)) < 0) {
			running = job
		}
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
