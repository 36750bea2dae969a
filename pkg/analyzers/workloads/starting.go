// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// StartingReads are what Starting reads.
func StartingReads() []live.KindRef {
	return []live.KindRef{inputs.Deployments.Ref(), inputs.StatefulSets.Ref(), inputs.DaemonSets.Ref(), inputs.CronJobs.Ref(), inputs.Jobs.Ref()}
}

// Starting returns the workloads of a namespace that make pods from a template of
// theirs whenever one is wanted, by kind and name: none that is being deleted, over,
// paused, suspended, or has no pods to run. Jobs of a CronJob are not among them. Of
// the workloads there are Reference, Meta and Template only.
func Starting(view *live.View, namespace string) []Workload {
	var found []Workload
	add := func(reference v1alpha1.ObjectReference, meta *metav1.ObjectMeta, template *corev1.PodTemplateSpec, starts bool) {
		if starts && meta.DeletionTimestamp == nil {
			found = append(found, Workload{Reference: reference, Meta: meta, Template: template})
		}
	}
	for _, d := range inputs.Deployments.List(view, namespace, nil) {
		add(reference("apps/v1", "Deployment", d), &d.ObjectMeta, &d.Spec.Template, desired(d.Spec.Replicas) > 0 && !d.Spec.Paused)
	}
	for _, s := range inputs.StatefulSets.List(view, namespace, nil) {
		add(reference("apps/v1", "StatefulSet", s), &s.ObjectMeta, &s.Spec.Template, desired(s.Spec.Replicas) > 0)
	}
	for _, d := range inputs.DaemonSets.List(view, namespace, nil) {
		add(reference("apps/v1", "DaemonSet", d), &d.ObjectMeta, &d.Spec.Template, d.Status.DesiredNumberScheduled > 0)
	}
	for _, c := range inputs.CronJobs.List(view, namespace, nil) {
		add(reference("batch/v1", "CronJob", c), &c.ObjectMeta, &c.Spec.JobTemplate.Spec.Template, !is(c.Spec.Suspend))
	}
	for _, j := range inputs.Jobs.List(view, namespace, nil) {
		starts := !is(j.Spec.Suspend) && !Over(j) && !controlledBy(j, "batch", "CronJob")
		add(reference("batch/v1", "Job", j), &j.ObjectMeta, &j.Spec.Template, starts)
	}
	return found
}

// Over tells whether nothing more happens to a Job.
func Over(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		ends := c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget || c.Type == batchv1.JobSuccessCriteriaMet
		return ends && c.Status == corev1.ConditionTrue
	})
}

func is(flag *bool) bool { return flag != nil && *flag }
