// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stuckjobs finds CronJobs whose schedule a Job holds up that waits for what
// nobody means any more, Jobs whose pods are not made or whose indexes failed for good,
// and CronJobs that never brought anything about or do not run when they should. What pods wait for that is
// meant, other analyzers tell.
package stuckjobs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "StuckJobs"
	// CannotStart means that all that is left of a Job waits for something that is not
	// there, and in place of which its CronJob has something else by now.
	CannotStart = "JobCannotStart"
	// PodsNotCreated means that a Job has begun, and that no pod of it has been made.
	PodsNotCreated = "JobPodsNotCreated"
	// IndexesFailed means that indexes of a Job failed as often as they may.
	IndexesFailed = "JobIndexesFailed"
	// NeverSucceeded means that a CronJob has run, and never successfully.
	NeverSucceeded = "CronJobNeverSucceeded"
	// Overdue means that a CronJob has not run when it should have.
	Overdue = "CronJobOverdue"

	standardGrace = 5 * time.Minute
)

// configError is what a container waits with for a key, a Secret or a ConfigMap
// (k8s.io/kubernetes, pkg/kubelet/kuberuntime).
const configError = "CreateContainerConfigError"

// waits are what containers wait for that does not come by itself
// (k8s.io/kubernetes, pkg/kubelet/kuberuntime and pkg/kubelet/images).
var waits = []string{configError, "InvalidImageName", "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff"}

// Options of the analyzer.
type Options struct {
	// TimeZone is the one that kube-controller-manager runs in, as "Europe/Berlin" or
	// "UTC", in which CronJobs are meant that name none. Where nobody says it, such
	// CronJobs are found later, except those that were seen to run in UTC.
	TimeZone string `json:"timeZone"`
}

type analyzer struct {
	grace time.Duration
	zone  string
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	var options Options
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	if _, err := time.LoadLocation(options.TimeZone); err != nil || options.TimeZone == "Local" {
		return analyzers.Analyzer{}, fmt.Errorf("options: timeZone: %q: want the name of a time zone, as Europe/Berlin", options.TimeZone)
	}
	a := analyzer{grace: settings.Grace(standardGrace), zone: options.TimeZone}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: CannotStart, Severities: warning, Summary: "A Job of a CronJob waits for a key, an object or an image that the CronJob has something else in place of by now."},
			{Name: PodsNotCreated, Severities: warning, Summary: "A Job has begun, and its controller has not made a pod for it."},
			{Name: IndexesFailed, Severities: warning, Summary: "Indexes of a Job failed as often as they may, and are not tried again."},
			{Name: NeverSucceeded, Severities: warning, Summary: "A CronJob has run since it was made, and never successfully."},
			{Name: Overdue, Severities: warning, Summary: "A CronJob has not run when its schedule says."},
		},
		Derivations: []live.Rule{a.ailingRule()},
		Rules: []analyzers.Rule{
			{Subject: ailing.Ref(), Analyze: lone},
			{Subject: inputs.Namespaces.Ref(), Reads: []live.KindRef{ailing.Ref()}, Analyze: owned},
			{Subject: inputs.CronJobs.Ref(), Reads: []live.KindRef{inputs.Jobs.Ref(), inputs.Pods.Ref(), inputs.Events.Ref()}, Analyze: a.cronJob},
		},
	}, nil
}

// stuck is a Job that cannot start.
type stuck struct {
	job       *batchv1.Job
	pod       *corev1.Pod
	container string
	image     bool
	since     time.Time
}

// cannotStart tells whether all that is left of a Job waits for something else than
// the next one would.
func (a analyzer) cannotStart(view *live.View, cronJob *batchv1.CronJob, jobs []*batchv1.Job) []v1alpha1.FindingSpec {
	var all []stuck
	for _, job := range jobs {
		s, waits := stuckIn(view, job)
		if waits && workloads.Corrected(s.container, s.image, &job.Spec.Template.Spec, &cronJob.Spec.JobTemplate.Spec.Template.Spec) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil
	}
	first := slices.MinFunc(all, func(x, y stuck) int {
		return cmp.Or(x.since.Compare(y.since), strings.Compare(x.job.Name, y.job.Name))
	})
	if !analyzers.Past(view, first.since.Add(a.grace)) {
		return nil
	}
	job := first.job
	return []v1alpha1.FindingSpec{{
		Reason: CannotStart, Severity: v1alpha1.SeverityWarning, Subject: reference("CronJob", cronJob),
		Related: []v1alpha1.RelatedObject{
			{Relation: "Job that waits", ObjectReference: reference("Job", job)},
			{Relation: "pod that waits", ObjectReference: workloads.PodReference(first.pod)},
		},
		Message: fmt.Sprintf("Job %s of CronJob %s cannot finish: container %s of its pod %s waits for %s, and the CronJob names another by now. The Job keeps the template that it was made with, and the schedule may wait for it.",
			job.Name, cronJob.Name, first.container, first.pod.Name, first.what()),
		Remediation: v1alpha1.Remediation{
			Text: "Delete the Job: the next one is made from the CronJob as it is now. If it cannot wait for its next time, run it by hand.",
			Commands: []string{
				fmt.Sprintf("kubectl describe pod %s -n %s", first.pod.Name, first.pod.Namespace),
				fmt.Sprintf("kubectl delete job %s -n %s", job.Name, job.Namespace),
				fmt.Sprintf("kubectl create job again-%s -n %s --from=cronjob/%s", cronJob.Name, cronJob.Namespace, cronJob.Name),
			},
		},
		Since: metav1.NewTime(first.since),
	}}
}

// stuckIn tells whether all that is left of a Job waits for what does not come by itself.
func stuckIn(view *live.View, job *batchv1.Job) (s stuck, waits bool) {
	if workloads.Over(job) || job.DeletionTimestamp != nil || job.Spec.Suspend != nil && *job.Spec.Suspend {
		return stuck{}, false
	}
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(job.UID)) {
		if pod.DeletionTimestamp != nil || inputs.Finished(pod) {
			continue
		}
		container, reason := waitsFor(pod)
		if reason == "" {
			return stuck{}, false // one that gets on is enough
		}
		if at := began(pod); !waits || at.Before(s.since) || at.Equal(s.since) && pod.Name < s.pod.Name {
			s, waits = stuck{job, pod, container, reason != configError, at}, true
		}
	}
	return s, waits
}

// what tells what a Job waits for. The kubelet changes between the reasons for one
// thing all the time.
func (s stuck) what() string {
	if s.image {
		return "an image"
	}
	return "a key, a Secret or a ConfigMap"
}

func reference(kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "batch/v1", Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID()}
}

// waitsFor returns the first container of a pod that waits for what does not come
// by itself, and with which reason; empty if none does.
func waitsFor(pod *corev1.Pod) (container, reason string) {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if wait := status.State.Waiting; wait != nil && slices.Contains(waits, wait.Reason) {
			return status.Name, wait.Reason
		}
	}
	return "", ""
}

// began tells since when a pod waits: its Ready condition turned when it was placed
// on its node.
func began(pod *corev1.Pod) time.Time {
	if at := inputs.ConditionOfPod(pod, corev1.PodReady).LastTransitionTime; !at.IsZero() {
		return at.Time
	}
	return pod.CreationTimestamp.Time
}
