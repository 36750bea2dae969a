// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stuckjobs finds Jobs that cannot finish because their pods cannot start
// or their indexes failed for good, and CronJobs that never brought anything about
// or do not run when they should.
package stuckjobs

import (
	"fmt"
	"slices"
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
	// CannotStart means that all that is left of a Job waits for something that is not there.
	CannotStart = "JobCannotStart"
	// IndexesFailed means that indexes of a Job failed as often as they may.
	IndexesFailed = "JobIndexesFailed"
	// NeverSucceeded means that a CronJob has run, and never successfully.
	NeverSucceeded = "CronJobNeverSucceeded"
	// Overdue means that a CronJob has not run when it should have.
	Overdue = "CronJobOverdue"

	standardGrace = 5 * time.Minute
)

// ConfigError is what a container waits with for a key, a Secret or a ConfigMap
// (k8s.io/kubernetes, pkg/kubelet/kuberuntime).
const ConfigError = "CreateContainerConfigError"

// waits are what containers wait for that does not come by itself
// (k8s.io/kubernetes, pkg/kubelet/kuberuntime and pkg/kubelet/images).
var waits = []string{ConfigError, "InvalidImageName", "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff"}

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
			{Name: CannotStart, Severities: warning, Summary: "A Job cannot finish, because its pods wait for a key, an object or an image that is not there."},
			{Name: IndexesFailed, Severities: warning, Summary: "Indexes of a Job failed as often as they may, and are not tried again."},
			{Name: NeverSucceeded, Severities: warning, Summary: "A CronJob has run since it was made, and never successfully."},
			{Name: Overdue, Severities: warning, Summary: "A CronJob has not run when its schedule says."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.Jobs.Ref(), Reads: []live.KindRef{inputs.Pods.Ref()}, Analyze: a.job},
			{Subject: inputs.CronJobs.Ref(), Reads: []live.KindRef{inputs.Jobs.Ref()}, Analyze: a.cronJob},
		},
	}, nil
}

func (a analyzer) job(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	job, exists := inputs.Jobs.Get(view, subject)
	if !exists || job.DeletionTimestamp != nil || job.Spec.Suspend != nil && *job.Spec.Suspend {
		return nil, nil
	}
	return append(indexes(view, job), a.start(view, job)...), nil
}

// start tells whether all that is left of a Job waits.
func (a analyzer) start(view *live.View, job *batchv1.Job) []v1alpha1.FindingSpec {
	if workloads.Over(job) {
		return nil
	}
	var stuck *corev1.Pod
	var why string
	var since time.Time
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(job.UID)) {
		if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		_, reason := WaitsFor(pod)
		if reason == "" {
			return nil // one that gets on is enough
		}
		if at := began(pod); stuck == nil || at.Before(since) || at.Equal(since) && pod.Name < stuck.Name {
			stuck, why, since = pod, reason, at
		}
	}
	if stuck == nil {
		return nil
	}
	if end := since.Add(a.grace); view.Now().Before(end) {
		view.RecheckAt(end)
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: CannotStart, Severity: v1alpha1.SeverityWarning,
		Subject: reference("Job", job),
		Related: []v1alpha1.RelatedObject{{Relation: "pod that waits", ObjectReference: v1alpha1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: stuck.Namespace, Name: stuck.Name, UID: stuck.UID,
		}}},
		Message: fmt.Sprintf("Job %s cannot finish: its pod %s waits for %s, and that does not come by itself. What comes after it in its schedule may wait too.", job.Name, stuck.Name, what(why)),
		Remediation: v1alpha1.Remediation{
			Text: "See what the pod waits for, and make it. A Job keeps the template that it was made with: if that was wrong, delete the Job, and whatever made it makes another.",
			Commands: []string{
				fmt.Sprintf("kubectl describe pod %s -n %s", stuck.Name, stuck.Namespace),
				fmt.Sprintf("kubectl get job %s -n %s -o yaml", job.Name, job.Namespace),
				fmt.Sprintf("kubectl delete job %s -n %s", job.Name, job.Namespace),
			},
		},
		Since: metav1.NewTime(since),
	}}
}

// what tells what a pod waits for. The kubelet changes between the reasons for one
// thing all the time.
func what(reason string) string {
	if reason == ConfigError {
		return "a key, a Secret or a ConfigMap"
	}
	return "an image"
}

func reference(kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "batch/v1", Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID()}
}

// WaitsFor returns the first container of a pod that waits for what does not come
// by itself, and with which reason; empty if none does.
func WaitsFor(pod *corev1.Pod) (container, reason string) {
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
	since := pod.CreationTimestamp.Time
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && !condition.LastTransitionTime.IsZero() {
			since = condition.LastTransitionTime.Time
		}
	}
	return since
}
