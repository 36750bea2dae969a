// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// freshJob deletes a Job that cannot start, where the CronJob that made it has
// another template by now: with the same one, the next Job would wait just the same.
func freshJob(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	subject := finding.Spec.Subject
	job, exists := inputs.Jobs.Get(view, live.Key{Namespace: subject.Namespace, Name: subject.Name})
	if !exists || job.UID != subject.UID || job.DeletionTimestamp != nil {
		return fix{}, false
	}
	owner := metav1.GetControllerOf(job)
	if owner == nil || owner.Kind != "CronJob" {
		return fix{}, false
	}
	cronJob, exists := inputs.CronJobs.Get(view, live.Key{Namespace: job.Namespace, Name: owner.Name})
	suspended := exists && cronJob.Spec.Suspend != nil && *cronJob.Spec.Suspend
	if !exists || cronJob.UID != owner.UID || cronJob.DeletionTimestamp != nil || suspended ||
		equality.Semantic.DeepEqual(cronJob.Spec.JobTemplate.Spec.Template.Spec, job.Spec.Template.Spec) {
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionDeleteJob, target: subject,
		rationale: fmt.Sprintf("Job %s keeps the template that it was made with, and the template of CronJob %s was changed since. Once the Job is gone, the next one of the schedule is made from the present template.",
			job.Name, cronJob.Name),
	}, true
}
