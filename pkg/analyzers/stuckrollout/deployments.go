// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckrollout

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
)

// The Deployment controller's reasons of the condition Progressing
// (k8s.io/kubernetes, pkg/controller/deployment/util).
const (
	timedOut    = "ProgressDeadlineExceeded"
	available   = "NewReplicaSetAvailable"
	createError = "ReplicaSetCreateError"
)

// revision is the annotation that counts the revisions of a Deployment, on itself
// and on its ReplicaSets.
const revision = "deployment.kubernetes.io/revision"

func (a analyzer) deployment(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	d, exists := inputs.Deployments.Get(view, subject)
	if !exists || d.DeletionTimestamp != nil {
		return nil, nil
	}
	of := reference("Deployment", d)
	if d.Status.ObservedGeneration < d.Generation {
		return a.unobserved(view, of, d.Status.ObservedGeneration), nil
	}
	if d.Spec.Paused || desired(d.Spec.Replicas) == 0 || complete(d) {
		return nil, nil
	}
	progressing, has := conditionOf(d, appsv1.DeploymentProgressing)
	switch {
	case has && progressing.Status == corev1.ConditionFalse && progressing.Reason == timedOut:
		return []v1alpha1.FindingSpec{a.exceeded(view, d, progressing)}, nil
	case has && progressing.Status == corev1.ConditionFalse:
		return a.refused(view, d, progressing), nil
	case has && progressing.Reason == available:
		return a.short(view, d), nil // it has rolled out, and what it lacks is no rollout
	case has && deadline(d):
		return a.abandoned(view, d, progressing), nil
	case endless(d) && (d.Status.UpdatedReplicas < desired(d.Spec.Replicas) || d.Status.UpdatedReplicas < d.Status.Replicas):
		return a.undated(view, d), nil
	}
	return nil, nil
}

// exceeded is about a Deployment whose own deadline has passed.
func (a analyzer) exceeded(view *live.View, d *appsv1.Deployment, condition appsv1.DeploymentCondition) v1alpha1.FindingSpec {
	spec := a.stuck(view, d, fmt.Sprintf("has not got on with its rollout within its deadline%s", seconds(d)))
	spec.Reason, spec.Severity, spec.Since = DeadlineExceeded, v1alpha1.SeverityCritical, condition.LastTransitionTime
	if spec.Since.IsZero() {
		spec.Since = metav1.NewTime(view.FirstObserved(DeadlineExceeded))
	}
	return spec
}

// refused is about a Deployment whose new ReplicaSet cannot be made.
func (a analyzer) refused(view *live.View, d *appsv1.Deployment, condition appsv1.DeploymentCondition) []v1alpha1.FindingSpec {
	if condition.Reason != createError || condition.LastTransitionTime.IsZero() || !analyzers.Past(view, condition.LastTransitionTime.Add(a.grace)) {
		return nil
	}
	spec := finding(reference("Deployment", d), "does not roll out, because its new ReplicaSet cannot be made", Cause{Kind: Refused, Text: workloads.Refused(condition.Message)})
	spec.Since = condition.LastTransitionTime
	return []v1alpha1.FindingSpec{spec}
}

// short is about a Deployment that has rolled out and of which a pod that is gone, or
// one more that is wanted, cannot be made: a node was drained, and a quota or a webhook
// does not let the next pod in.
func (a analyzer) short(view *live.View, d *appsv1.Deployment) []v1alpha1.FindingSpec {
	failure, has := conditionOf(d, appsv1.DeploymentReplicaFailure)
	if !has || failure.Status != corev1.ConditionTrue || d.Status.Replicas >= desired(d.Spec.Replicas) {
		return nil
	}
	since := view.Began("pods cannot be made", failure.LastTransitionTime.Time)
	if !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	spec := finding(reference("Deployment", d), "has rolled out and lacks pods", Why(view, d))
	spec.Since = metav1.NewTime(since)
	return []v1alpha1.FindingSpec{spec}
}

// abandoned is about a Deployment whose deadline has passed and whose controller
// has not said so.
func (a analyzer) abandoned(view *live.View, d *appsv1.Deployment, condition appsv1.DeploymentCondition) []v1alpha1.FindingSpec {
	if condition.LastUpdateTime.IsZero() {
		return nil
	}
	due := condition.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
	if !analyzers.Past(view, due.Add(a.grace)) {
		return nil
	}
	spec := a.stuck(view, d, "does not get on with its rollout, and its controller does not say so though the deadline has passed")
	spec.Since = metav1.NewTime(due)
	return []v1alpha1.FindingSpec{spec}
}

// undated is about a Deployment that has no deadline.
func (a analyzer) undated(view *live.View, d *appsv1.Deployment) []v1alpha1.FindingSpec {
	state := fmt.Sprintf("revision %s at %d", d.Annotations[revision], d.Status.UpdatedReplicas)
	since, past := a.observed(view, state, a.grace+time.Duration(d.Spec.MinReadySeconds)*time.Second)
	if !past || ending(view, workloads.PodsOf(view, d)) {
		return nil
	}
	spec := a.stuck(view, d, "does not get on with its rollout, and pods of the last revision stay")
	spec.Since = since
	return []v1alpha1.FindingSpec{spec}
}

func (a analyzer) stuck(view *live.View, d *appsv1.Deployment, what string) v1alpha1.FindingSpec {
	of := reference("Deployment", d)
	cause := Why(view, d)
	spec := finding(of, what, cause)
	if d.Annotations[revision] != "1" {
		spec.Remediation.Text += fmt.Sprintf(" To go back to the last revision meanwhile: `kubectl rollout undo %s`, or revert the change where it was made.", workloads.Argument(of))
	}
	spec.Remediation.Commands = append(spec.Remediation.Commands, fmt.Sprintf("kubectl rollout history %s", workloads.Argument(of)))
	return spec
}

// Why returns why the newest pods of a Deployment hold its rollout up.
func Why(view *live.View, d *appsv1.Deployment) Cause {
	if failure, has := conditionOf(d, appsv1.DeploymentReplicaFailure); has && failure.Status == corev1.ConditionTrue {
		return Cause{Kind: Refused, Text: "its pods cannot be made: " + workloads.Refused(failure.Message)}
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		if cause := gone(view, workloads.PodsOf(view, d)); cause.Kind != Unknown {
			return cause
		}
	}
	return causeOf(view, NewPods(view, d))
}

// NewPods returns the pods of the newest revision of a Deployment.
func NewPods(view *live.View, d *appsv1.Deployment) []*corev1.Pod {
	newest, exists := newestReplicaSet(view, d)
	if !exists {
		return nil
	}
	return inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(newest.UID))
}

// Restarted tells whether the newest revision of a Deployment is the one that a restart
// made, by the annotation of its template that says when. It stays when the template is
// changed for something else, and tells then of the revision that came before.
func Restarted(view *live.View, d *appsv1.Deployment) bool {
	annotation, has := d.Spec.Template.Annotations[policy.RestartedAtAnnotation]
	if !has {
		return false
	}
	at, err := time.Parse(time.RFC3339, annotation)
	newest, exists := newestReplicaSet(view, d)
	if err != nil || !exists {
		return true
	}
	return !slices.ContainsFunc(inputs.ReplicaSets.ByIndex(view, inputs.ByController, inputs.Controls(d.UID)), func(other *metav1.PartialObjectMetadata) bool {
		return other.UID != newest.UID && !other.CreationTimestamp.Time.Before(at)
	})
}

// newestReplicaSet is the one with the highest revision.
func newestReplicaSet(view *live.View, d *appsv1.Deployment) (newest *metav1.PartialObjectMetadata, exists bool) {
	highest := int64(-1)
	for _, replicaSet := range inputs.ReplicaSets.ByIndex(view, inputs.ByController, inputs.Controls(d.UID)) {
		number, err := strconv.ParseInt(replicaSet.Annotations[revision], 10, 64)
		if err == nil && number > highest {
			newest, highest = replicaSet, number
		}
	}
	return newest, newest != nil
}

// complete is what the Deployment controller takes for the end of a rollout.
func complete(d *appsv1.Deployment) bool {
	want := desired(d.Spec.Replicas)
	return d.Status.UpdatedReplicas == want && d.Status.Replicas == want && d.Status.AvailableReplicas == want
}

// deadline tells whether a Deployment has one.
func deadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && !endless(d)
}

// endless tells whether somebody has asked for no deadline, which the highest
// number does: without any, the API server writes its own.
func endless(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds == math.MaxInt32
}

func seconds(d *appsv1.Deployment) string {
	if d.Spec.ProgressDeadlineSeconds == nil {
		return ""
	}
	return fmt.Sprintf(" of %d s", *d.Spec.ProgressDeadlineSeconds)
}

func conditionOf(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) (appsv1.DeploymentCondition, bool) {
	for _, condition := range d.Status.Conditions {
		if condition.Type == kind {
			return condition, true
		}
	}
	return appsv1.DeploymentCondition{}, false
}
