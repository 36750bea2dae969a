// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
)

// Ended tells whether a Job has a condition that it ended with, and since when.
func Ended(job *batchv1.Job, how batchv1.JobConditionType) (at time.Time, so bool) {
	for _, condition := range job.Status.Conditions {
		if condition.Type == how && condition.Status == corev1.ConditionTrue {
			return condition.LastTransitionTime.Time, true
		}
	}
	return time.Time{}, false
}

// LastFailure returns that of some Jobs which ended last, if it failed for good, with
// when it did and its failed pods that are left, by name. The Job is nil if it did not
// fail, or none has ended.
func LastFailure(view *live.View, jobs []*batchv1.Job) (last *batchv1.Job, at time.Time, pods []*corev1.Pod) {
	failed := false
	for _, job := range jobs {
		for _, how := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
			if ended, so := Ended(job, how); so && (last == nil || ended.After(at)) {
				last, at, failed = job, ended, how == batchv1.JobFailed
			}
		}
	}
	if !failed || at.IsZero() || last.DeletionTimestamp != nil {
		return nil, time.Time{}, nil
	}
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByTroubledController, inputs.Controls(last.UID)) {
		if pod.Status.Phase == corev1.PodFailed && pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	return last, at, pods
}

// Outdone tells whether whoever made a Job, a CronJob or another project's kind, has
// made another one for the same since, which succeeded. Those of a CronJob follow each
// other. Of others many may run beside each other, each for a part of the work, so one is
// in place of another only if it began when that had failed.
func Outdone(view *live.View, job *batchv1.Job) bool {
	owner := metav1.GetControllerOf(job)
	if owner == nil {
		return false
	}
	failed, hasFailed := Ended(job, batchv1.JobFailed)
	follows := func(other *batchv1.Job) bool {
		if OfCronJob(job) {
			return other.CreationTimestamp.After(job.CreationTimestamp.Time)
		}
		return hasFailed && !Began(other).Before(failed)
	}
	return slices.ContainsFunc(inputs.Jobs.ByIndex(view, inputs.ByController, inputs.Controls(owner.UID)), func(other *batchv1.Job) bool {
		_, succeeded := Ended(other, batchv1.JobComplete)
		return succeeded && follows(other) && Purpose(job) == Purpose(other)
	})
}

// OfCronJob tells whether a CronJob made a Job.
func OfCronJob(job *batchv1.Job) bool { return controlledBy(job, "batch", "CronJob") }

// Purpose tells two Jobs of one owner apart that are for different things, by all that
// tells: the names of their containers and, but for those of a CronJob, the generateName
// that they were made with and the labels of their pods. A Job whose owner gave it a name
// of its own, as one for each node, is for what no other is.
func Purpose(job *batchv1.Job) string {
	var told []string
	for _, container := range slices.Concat(job.Spec.Template.Spec.InitContainers, job.Spec.Template.Spec.Containers) {
		told = append(told, container.Name)
	}
	if OfCronJob(job) {
		return strings.Join(told, ",")
	}
	told = append(told, cmp.Or(job.GenerateName, "/"+job.Name))
	for _, name := range slices.Sorted(maps.Keys(job.Spec.Template.Labels)) {
		told = append(told, name+"="+job.Spec.Template.Labels[name])
	}
	return strings.Join(told, ",")
}

// briefest is the ttlSecondsAfterFinished below which a Job may be gone before the
// controller of CronJobs has noted that it succeeded.
const briefest = 10

// Unsuccessful tells whether the last scheduled run of a CronJob is over, did not succeed,
// and has left no Job: its status is all that tells. The controller notes a success some
// time after it, so this may be wrong for a moment.
func Unsuccessful(cronJob *batchv1.CronJob, jobs []*batchv1.Job) bool {
	scheduled, succeeded, ttl := cronJob.Status.LastScheduleTime, cronJob.Status.LastSuccessfulTime, cronJob.Spec.JobTemplate.Spec.TTLSecondsAfterFinished
	if scheduled.IsZero() || len(cronJob.Status.Active) > 0 || succeeded != nil && !succeeded.Before(scheduled) || ttl != nil && *ttl < briefest {
		return false
	}
	return !slices.ContainsFunc(jobs, func(job *batchv1.Job) bool { return !Over(job) || !job.CreationTimestamp.Before(scheduled) })
}

// Began is when a Job began, or last went on after it was suspended. Times are in whole
// seconds, so what was made at once after another ended began at the same time.
func Began(job *batchv1.Job) time.Time {
	if job.Status.StartTime != nil {
		return job.Status.StartTime.Time
	}
	return job.CreationTimestamp.Time
}

// DeletesItsPods tells whether the controller of Jobs deleted the pods of a failed Job
// when it failed, as it does with those that still run (k8s.io/kubernetes,
// pkg/controller/job): with the restartPolicy OnFailure a container that fails is
// restarted in its pod, and a deadline ends pods that had not failed. Pods of other
// Jobs are there until somebody clears them away.
func DeletesItsPods(job *batchv1.Job) bool {
	return job.Spec.Template.Spec.RestartPolicy == corev1.RestartPolicyOnFailure ||
		slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue && c.Reason == batchv1.JobReasonDeadlineExceeded
		})
}

// Corrected tells whether what a container waits for is another thing in the template
// of a CronJob than in the Job that it made before: its image, or else what it takes
// from ConfigMaps and Secrets. A Job keeps the template that it was made with.
func Corrected(container string, image bool, before, after *corev1.PodSpec) bool {
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
	case image:
		return old.Image != present.Image
	}
	old.Image = present.Image
	return !equality.Semantic.DeepEqual(old, present) || !equality.Semantic.DeepEqual(before.Volumes, after.Volumes)
}
