// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func (a analyzer) cronJob(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	cronJob, exists := inputs.CronJobs.Get(view, subject)
	if !exists || cronJob.DeletionTimestamp != nil {
		return nil, nil
	}
	jobs := inputs.Jobs.ByIndex(view, inputs.ByController, inputs.Controls(cronJob.UID))
	of := reference("CronJob", cronJob)
	waiting := append(a.cannotStart(view, cronJob, jobs), a.uncreated(view, of, jobs)...)
	found := append(indexes(view, of, jobs), waiting...)
	if cronJob.Spec.Suspend != nil && *cronJob.Spec.Suspend {
		return found, nil
	}
	found = append(found, a.neverSucceeded(view, cronJob, jobs)...)
	if len(waiting) > 0 {
		return found, nil // that Job is what holds it up
	}
	return append(found, a.overdue(view, cronJob, jobs)...), nil
}

// neverSucceeded tells whether a CronJob has failed, and never succeeded. Its Jobs
// are not named: the next takes the place of the last. Unless failed pods of the last
// one were cleared away, the analyzer FailedPods tells why.
func (a analyzer) neverSucceeded(view *live.View, cronJob *batchv1.CronJob, jobs []*batchv1.Job) []v1alpha1.FindingSpec {
	if cronJob.Status.LastSuccessfulTime != nil {
		return nil
	}
	failed := false
	for _, job := range jobs {
		// The controller of CronJobs notes a success some time after the Job does.
		if _, succeeded := workloads.Ended(job, batchv1.JobComplete); succeeded {
			return nil
		}
		_, so := workloads.Ended(job, batchv1.JobFailed)
		failed = failed || so
	}
	// Of those that are gone the status tells, and the next that runs changes nothing yet.
	if _, before := view.Observed(NeverSucceeded); !failed && !before && !workloads.Unsuccessful(cronJob, jobs) {
		return nil
	}
	since := view.FirstObserved(NeverSucceeded)
	last, _, pods := workloads.LastFailure(view, jobs)
	told := len(pods) > 0 || last != nil && workloads.DeletesItsPods(last)
	if told || !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: NeverSucceeded, Severity: v1alpha1.SeverityWarning, Subject: reference("CronJob", cronJob),
		Message: fmt.Sprintf("CronJob %s has run since it was made, and none of its Jobs succeeded.", cronJob.Name),
		Remediation: v1alpha1.Remediation{
			Text: "See why its Jobs fail, mend that, and run it once by hand.",
			Commands: []string{
				fmt.Sprintf("kubectl describe cronjob %s -n %s", cronJob.Name, cronJob.Namespace),
				fmt.Sprintf("kubectl get jobs -n %s --sort-by=.status.startTime", cronJob.Namespace),
				fmt.Sprintf("kubectl create job try-%s -n %s --from=cronjob/%s", cronJob.Name, cronJob.Namespace, cronJob.Name),
			},
		},
		Since: metav1.NewTime(since),
	}}
}
