// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package month

import (
	"fmt"
	"slices"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// runsOf says how the pods of the runs of a CronJob end, one after the other; the number
// is that of the run.
var runsOf = map[string]func(run int) []end{
	"nightly": func(run int) []end { // the first one fails every third night, and its Job tries again
		if run%3 == 1 {
			return []end{{after: 40 * time.Second, code: 1}, {after: 5 * time.Minute}}
		}
		return []end{{after: 5 * time.Minute}}
	},
	"weekly":  func(int) []end { return []end{{after: 20 * time.Minute}} },
	"archive": func(int) []end { return []end{{after: 150 * time.Minute}} },
	"often": func(run int) []end {
		if run%15 == 7 {
			return []end{{after: 3 * time.Second, code: 1}}
		}
		return []end{{after: 3 * time.Second}}
	},
	"quarterly": func(int) []end { return []end{{after: time.Minute}} },
}

// cronJob does what the controller of CronJobs does.
func (c *cluster) cronJob(of *batchv1.CronJob) {
	of.Spec.Suspend = ptr.To(of.Spec.Suspend != nil && *of.Spec.Suspend)
	if of.Spec.ConcurrencyPolicy == "" {
		of.Spec.ConcurrencyPolicy, of.Spec.SuccessfulJobsHistoryLimit, of.Spec.FailedJobsHistoryLimit = batchv1.AllowConcurrent, ptr.To[int32](3), ptr.To[int32](1)
	}
	schedule, err := cron.ParseStandard(of.Spec.Schedule)
	if err != nil {
		c.t.Fatal(err)
	}
	if *of.Spec.Suspend {
		return
	}
	runs, ends := 0, runsOf[of.Name]
	if ends == nil {
		c.t.Fatalf("nobody says how CronJob %s runs", of.Name)
	}
	var jobs []*batchv1.Job
	var begin func(scheduled time.Time)
	waiting := time.Time{}
	begin = func(scheduled time.Time) {
		if of.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(of.Status.Active) > 0 {
			waiting = scheduled
			return
		}
		job := &batchv1.Job{ObjectMeta: *of.Spec.JobTemplate.ObjectMeta.DeepCopy(), Spec: *of.Spec.JobTemplate.Spec.DeepCopy()}
		job.Namespace, job.Name, job.OwnerReferences = of.Namespace, fmt.Sprintf("%s-%d", of.Name, scheduled.Unix()/60), ownedBy(of)
		job.Annotations = map[string]string{batchv1.CronJobScheduledTimestampAnnotation: scheduled.Format(time.RFC3339)}
		c.create(job)
		jobs = append(jobs, job)
		of.Status.LastScheduleTime = &metav1.Time{Time: scheduled}
		of.Status.Active = append(of.Status.Active, corev1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: job.Namespace, Name: job.Name, UID: job.UID})
		c.store(of)
		run := runs
		runs++
		c.job(job, ends(run), func() {
			of.Status.Active = slices.DeleteFunc(of.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == job.UID })
			if job.Status.CompletionTime != nil {
				of.Status.LastSuccessfulTime = job.Status.CompletionTime.DeepCopy()
			}
			c.store(of)
			jobs = c.clear(jobs, int(*of.Spec.SuccessfulJobsHistoryLimit), int(*of.Spec.FailedJobsHistoryLimit))
			if !waiting.IsZero() {
				scheduled := waiting
				waiting = time.Time{}
				c.in(time.Second, func() { begin(scheduled) })
			}
		})
	}
	var next func()
	next = func() {
		at := schedule.Next(time.Now().UTC())
		c.at(at, func() {
			c.in(100*time.Millisecond, func() { begin(at) })
			next()
		})
	}
	next()
}

// clear deletes the oldest Jobs past the limits of their CronJob, with their pods.
func (c *cluster) clear(jobs []*batchv1.Job, succeeded, failed int) []*batchv1.Job {
	kept := []*batchv1.Job{}
	for _, job := range slices.Backward(jobs) {
		switch {
		case len(job.Status.Conditions) == 0:
		case job.Status.CompletionTime != nil:
			succeeded--
			if succeeded < 0 {
				c.clearJob(job)
				continue
			}
		default:
			failed--
			if failed < 0 {
				c.clearJob(job)
				continue
			}
		}
		kept = append(kept, job)
	}
	slices.Reverse(kept)
	return kept
}

func (c *cluster) clearJob(job *batchv1.Job) {
	delete(c.sync, job.UID)
	c.remove(job)
	for _, pod := range slices.Clone(c.pods[job.UID]) {
		c.drop(pod)
	}
}

// job does what the controller of Jobs does: one pod after the other until one succeeds,
// or too many have failed. over is called when the Job is.
func (c *cluster) job(job *batchv1.Job, ends []end, over func()) {
	if job.Spec.BackoffLimit == nil {
		job.Spec.BackoffLimit = ptr.To[int32](6)
	}
	job.Spec.Parallelism, job.Spec.Completions, job.Spec.Suspend = ptr.To[int32](1), ptr.To[int32](1), ptr.To(false)
	if job.Spec.Template.Labels == nil {
		job.Spec.Template.Labels = map[string]string{}
	}
	job.Spec.Template.Labels[batchv1.JobNameLabel], job.Spec.Template.Labels[batchv1.ControllerUidLabel] = job.Name, string(job.UID)
	c.store(job)
	made := 0
	attempt := func() {
		c.uids++
		c.pod(job, fmt.Sprintf("%s-%05d", job.Name, c.uids), &job.Spec.Template, nil, "", &ends[min(made, len(ends)-1)])
		made++
		job.Status.Active, job.Status.Ready = 1, ptr.To[int32](0)
		c.store(job)
	}
	finish := func(first, second batchv1.JobConditionType, reason string) {
		job.Status.Active, job.Status.Ready = 0, ptr.To[int32](0)
		job.Status.Conditions = []batchv1.JobCondition{{Type: first, Status: corev1.ConditionTrue, Reason: reason, LastProbeTime: now(), LastTransitionTime: now()}}
		c.store(job)
		c.in(time.Second, func() {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: second, Status: corev1.ConditionTrue, Reason: reason, LastProbeTime: now(), LastTransitionTime: now()})
			if second == batchv1.JobComplete {
				job.Status.CompletionTime = ptr.To(now())
			}
			c.store(job)
			c.in(time.Second, over)
		})
	}
	c.in(toSync, func() {
		job.Status.StartTime = ptr.To(now())
		c.store(job)
		attempt()
	})
	waits, done := false, false
	c.sync[job.UID] = func() {
		if done || waits || made == 0 {
			return
		}
		pods := c.pods[job.UID]
		if len(pods) == 0 {
			return
		}
		pod := pods[len(pods)-1]
		job.Status.Ready = ptr.To(countReady([]*corev1.Pod{pod}))
		switch pod.Status.Phase {
		case corev1.PodSucceeded:
			done = true
			job.Status.Succeeded = 1
			c.done["Job that succeeded"]++
			finish(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
		case corev1.PodFailed:
			job.Status.Failed++
			c.done["pod of a Job that failed"]++
			job.Status.Active = 0
			if job.Status.Failed > *job.Spec.BackoffLimit {
				done = true
				c.done["Job that failed"]++
				finish(batchv1.JobFailureTarget, batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)
				return
			}
			waits = true
			c.store(job)
			c.in(10*time.Second<<(job.Status.Failed-1), func() { waits = false; attempt() })
		default:
			c.store(job)
		}
	}
}
