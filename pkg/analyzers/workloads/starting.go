// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
)

// Starter is a kind of workloads that make pods from a template of theirs whenever
// one is wanted.
type Starter struct {
	Kind live.KindRef
	// Find returns a workload, if it makes pods: not one that is being deleted, over,
	// paused or suspended, or has no pods to run, nor a Job of a CronJob. There are
	// Reference and Template of it only, and of Meta what tells who makes it.
	Find func(view *live.View, key live.Key) (Workload, bool)
	// As returns those whose pods run as a ServiceAccount, by its "NAMESPACE/NAME".
	As func(view *live.View, account string) []Workload
}

// Starters are all kinds of them.
func Starters() []Starter {
	return []Starter{
		starter(inputs.Deployments, "apps/v1", "Deployment", func(d *appsv1.Deployment) (*corev1.PodTemplateSpec, bool) {
			return &d.Spec.Template, desired(d.Spec.Replicas) > 0 && !d.Spec.Paused
		}),
		starter(inputs.StatefulSets, "apps/v1", "StatefulSet", func(s *appsv1.StatefulSet) (*corev1.PodTemplateSpec, bool) {
			return &s.Spec.Template, desired(s.Spec.Replicas) > 0
		}),
		starter(inputs.DaemonSets, "apps/v1", "DaemonSet", func(d *appsv1.DaemonSet) (*corev1.PodTemplateSpec, bool) {
			return &d.Spec.Template, d.Status.DesiredNumberScheduled > 0
		}),
		starter(inputs.CronJobs, "batch/v1", "CronJob", func(c *batchv1.CronJob) (*corev1.PodTemplateSpec, bool) {
			return &c.Spec.JobTemplate.Spec.Template, !is(c.Spec.Suspend)
		}),
		starter(inputs.Jobs, "batch/v1", "Job", func(j *batchv1.Job) (*corev1.PodTemplateSpec, bool) {
			return &j.Spec.Template, !is(j.Spec.Suspend) && !Over(j) && !controlledBy(j, "batch", "CronJob")
		}),
	}
}

func starter[T live.Object](of live.Kind[T], apiVersion, kind string, template func(T) (made *corev1.PodTemplateSpec, starts bool)) Starter {
	judge := func(object T) (Workload, bool) {
		made, starts := template(object)
		meta := &metav1.ObjectMeta{Labels: object.GetLabels(), Annotations: object.GetAnnotations(), OwnerReferences: object.GetOwnerReferences()}
		return Workload{Reference: reference(apiVersion, kind, object), Meta: meta, Template: made}, starts && object.GetDeletionTimestamp() == nil
	}
	return Starter{
		Kind: of.Ref(),
		Find: func(view *live.View, key live.Key) (Workload, bool) {
			object, exists := of.Get(view, key)
			if !exists {
				return Workload{}, false
			}
			return judge(object)
		},
		As: func(view *live.View, account string) (all []Workload) {
			for _, object := range of.ByIndex(view, inputs.ByServiceAccount, account) {
				if w, starts := judge(object); starts {
					all = append(all, w)
				}
			}
			return all
		},
	}
}

// Over tells whether nothing more happens to a Job.
func Over(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		ends := c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget || c.Type == batchv1.JobSuccessCriteriaMet
		return ends && c.Status == corev1.ConditionTrue
	})
}

func is(flag *bool) bool { return flag != nil && *flag }
