// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// freshJob deletes a Job that cannot start, and in place of what it waits for its
// CronJob has something else by now, which is what the finding is about.
func freshJob(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	subject := finding.Spec.Subject
	cronJob, exists := inputs.CronJobs.Get(view, live.Key{Namespace: subject.Namespace, Name: subject.Name})
	suspended := exists && cronJob.Spec.Suspend != nil && *cronJob.Spec.Suspend
	if !exists || cronJob.UID != subject.UID || cronJob.DeletionTimestamp != nil || suspended {
		return fix{}, false
	}
	for _, related := range finding.Spec.Related {
		if related.Kind != "Job" {
			continue
		}
		job, exists := inputs.Jobs.Get(view, live.Key{Namespace: related.Namespace, Name: related.Name})
		if !exists || job.UID != related.UID || job.DeletionTimestamp != nil || !metav1.IsControlledBy(job, cronJob) {
			return fix{}, false
		}
		return fix{
			action: v1alpha1.ActionDeleteJob, target: related.ObjectReference,
			rationale: fmt.Sprintf("Job %s keeps the template that it was made with, and what it waits for was changed in the template of CronJob %s since. Once the Job is gone, the next one of the schedule is made from the present template.",
				job.Name, cronJob.Name),
		}, true
	}
	return fix{}, false
}
