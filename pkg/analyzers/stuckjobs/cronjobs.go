// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func (a analyzer) cronJob(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	cronJob, exists := inputs.CronJobs.Get(view, subject)
	if !exists || cronJob.DeletionTimestamp != nil || cronJob.Spec.Suspend != nil && *cronJob.Spec.Suspend {
		return nil, nil
	}
	return append(a.neverSucceeded(view, cronJob), a.overdue(view, cronJob)...), nil
}

// neverSucceeded tells whether a CronJob has failed, and never succeeded. Its Jobs
// are not named: the next takes the place of the last.
func (a analyzer) neverSucceeded(view *live.View, cronJob *batchv1.CronJob) []v1alpha1.FindingSpec {
	if cronJob.Status.LastSuccessfulTime != nil {
		return nil
	}
	failed := false
	for _, job := range inputs.Jobs.ByIndex(view, inputs.ByController, inputs.Controls(cronJob.UID)) {
		// The controller of CronJobs notes a success some time after the Job does.
		if _, succeeded := ended(job, batchv1.JobComplete); succeeded {
			return nil
		}
		_, so := ended(job, batchv1.JobFailed)
		failed = failed || so
	}
	if !failed {
		return nil
	}
	since := view.FirstObserved(NeverSucceeded)
	if end := since.Add(a.grace); view.Now().Before(end) {
		view.RecheckAt(end)
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
