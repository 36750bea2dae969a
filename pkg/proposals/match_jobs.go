// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/stuckjobs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// freshJob deletes a Job that cannot start, where the CronJob that made it has
// something else by now in place of what a container waits for: with the same, the
// next Job would wait just the same.
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
	if !exists || cronJob.UID != owner.UID || cronJob.DeletionTimestamp != nil || suspended {
		return fix{}, false
	}
	stuck := slices.IndexFunc(finding.Spec.Related, func(r v1alpha1.RelatedObject) bool { return r.Kind == "Pod" })
	if stuck < 0 {
		return fix{}, false
	}
	pod, exists := inputs.Pods.Get(view, live.Key{Namespace: job.Namespace, Name: finding.Spec.Related[stuck].Name})
	if !exists || pod.UID != finding.Spec.Related[stuck].UID {
		return fix{}, false
	}
	container, reason := stuckjobs.WaitsFor(pod)
	if !corrected(container, reason, &job.Spec.Template.Spec, &cronJob.Spec.JobTemplate.Spec.Template.Spec) {
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionDeleteJob, target: subject,
		rationale: fmt.Sprintf("Job %s keeps the template that it was made with, and what its container %s waits for was changed in the template of CronJob %s since. Once the Job is gone, the next one of the schedule is made from the present template.",
			job.Name, container, cronJob.Name),
	}, true
}

// corrected tells whether what a container waits for is another thing in a new
// template: its image, or else what it takes from ConfigMaps and Secrets.
func corrected(container, reason string, before, after *corev1.PodSpec) bool {
	find := func(spec *corev1.PodSpec) (corev1.Container, bool) {
		all := slices.Concat(spec.InitContainers, spec.Containers)
		i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == container })
		if i < 0 {
			return corev1.Container{}, false
		}
		return all[i], true
	}
	old, had := find(before)
	present, has := find(after)
	switch {
	case !had:
		return false // some admission webhook added it: nobody can tell
	case !has:
		return true
	case reason != stuckjobs.ConfigError:
		return old.Image != present.Image
	}
	old.Image = present.Image
	return !equality.Semantic.DeepEqual(old, present) || !equality.Semantic.DeepEqual(before.Volumes, after.Volumes)
}
