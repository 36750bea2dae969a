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

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// uncreated tells whether a Job, or one of a CronJob, has begun and its controller has
// not made a pod for it: a quota or an admission webhook refuses them. A Job has no
// condition that says so, and no backoffLimit counts it.
func (a analyzer) uncreated(view *live.View, of v1alpha1.ObjectReference, jobs []*batchv1.Job) []v1alpha1.FindingSpec {
	without := slices.DeleteFunc(slices.Clone(jobs), func(job *batchv1.Job) bool { return !podless(view, job) })
	if len(without) == 0 {
		return nil
	}
	job := slices.MinFunc(without, func(x, y *batchv1.Job) int {
		return cmp.Or(x.Status.StartTime.Compare(y.Status.StartTime.Time), strings.Compare(x.Name, y.Name))
	})
	// A Job that began long ago may have been given its parallelism just now, and of a
	// CronJob the next one takes its place.
	observed, since := view.FirstObserved("no pods"), view.Began(PodsNotCreated, job.Status.StartTime.Time)
	if !analyzers.Past(view, observed.Add(a.grace)) {
		return nil
	}
	spec := v1alpha1.FindingSpec{
		Reason: PodsNotCreated, Severity: v1alpha1.SeverityWarning, Subject: of, Since: metav1.NewTime(since),
		Message: fmt.Sprintf("Job %s has begun, and no pod of it has been made", job.Name),
		Remediation: v1alpha1.Remediation{
			Text: "Mend what keeps its controller from making them: a quota that is used up, or an admission webhook or policy that does not take the template. Once that lets them in, they are made by themselves.",
			Commands: []string{
				fmt.Sprintf("kubectl describe job %s -n %s", job.Name, job.Namespace),
				fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=Job,involvedObject.name=%s", job.Namespace, job.Name),
				fmt.Sprintf("kubectl get resourcequotas -n %s", job.Namespace),
			},
		},
	}
	if of.Kind == "CronJob" {
		spec.Message = fmt.Sprintf("Job %s of CronJob %s has begun, and no pod of it has been made", job.Name, of.Name)
		spec.Related = []v1alpha1.RelatedObject{{Relation: "Job without pods", ObjectReference: reference("Job", job)}}
	}
	spec.Message += refused(view, job) + "."
	return []v1alpha1.FindingSpec{spec}
}

// refused is what was said last of why pods of a Job are not made, after a colon.
func refused(view *live.View, job *batchv1.Job) string {
	if refusal := workloads.Refusal(view, job.UID); refusal != "" {
		return ": " + refusal
	}
	return ""
}

// podless tells whether a Job is to have pods and has never had one. What another
// project's controller does with its Jobs is its own business (spec.managedBy).
func podless(view *live.View, job *batchv1.Job) bool {
	switch by := job.Spec.ManagedBy; {
	case workloads.Over(job), job.DeletionTimestamp != nil, job.Status.StartTime.IsZero(),
		job.Spec.Suspend != nil && *job.Spec.Suspend,
		job.Spec.Parallelism != nil && *job.Spec.Parallelism == 0,
		by != nil && *by != batchv1.JobControllerName,
		job.Status.Active > 0, job.Status.Failed > 0, job.Status.Succeeded > 0:
		return false
	}
	return len(inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(job.UID))) == 0
}
