// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloadstatedrift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// startGrace is the least time that pods have to become Ready for the first time.
const startGrace = 15 * time.Minute

// graceOf is how long a pod that is not Ready has to become so.
func (a analyzer) graceOf(pod *corev1.Pod) time.Duration {
	if workloads.NeverReady(pod) {
		return max(a.grace, startGrace)
	}
	return a.grace
}

// deployment tells whether all pods of a Deployment stopped being Ready that has rolled
// out. Until then its own deadline counts, and StuckRollout tells.
func (a analyzer) deployment(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	d, exists := inputs.Deployments.Get(view, subject)
	if !exists || d.DeletionTimestamp != nil || !rolledOut(d) {
		return nil, nil
	}
	if d.Status.ReadyReplicas > 0 {
		return a.unavailable(view, d), nil
	}
	return a.noneReady(view, reference("Deployment", d), workloads.PodsOf(view, d)), nil
}

// rolledOut tells whether a Deployment has no rollout under way, as its controller says
// unless it has no deadline (k8s.io/kubernetes, pkg/controller/deployment/util).
func rolledOut(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	if want == 0 || d.Spec.Paused || d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != want || d.Status.Replicas != want {
		return false
	}
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			return condition.Reason == "NewReplicaSetAvailable"
		}
	}
	return true
}

// unavailable tells whether some pods of a Deployment are not Ready, and so many that it
// is not Available itself.
func (a analyzer) unavailable(view *live.View, d *appsv1.Deployment) []v1alpha1.FindingSpec {
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentAvailable && condition.Status == corev1.ConditionFalse &&
			analyzers.Past(view, condition.LastTransitionTime.Add(max(a.grace, startGrace))) {
			return a.someNotReady(view, reference("Deployment", d), workloads.PodsOf(view, d), func(*corev1.Pod) bool { return true })
		}
	}
	return nil
}

// someNotReady tells whether some pods of a workload run and have not been Ready for long,
// while others are; counts tells which pods may be found.
func (a analyzer) someNotReady(view *live.View, of v1alpha1.ObjectReference, pods []*corev1.Pod, counts func(*corev1.Pod) bool) []v1alpha1.FindingSpec {
	var related []v1alpha1.RelatedObject
	var since time.Time
	someReady := false
	for _, pod := range slices.SortedFunc(slices.Values(pods), func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) }) {
		if pod.DeletionTimestamp != nil || inputs.Finished(pod) {
			continue
		}
		condition := ready(pod)
		turned := condition.LastTransitionTime.Time
		switch {
		case condition.Status == corev1.ConditionTrue:
			someReady = true
		case turned.IsZero() || !counts(pod) || !workloads.Runs(view, pod) || !analyzers.Past(view, turned.Add(max(a.grace, startGrace))):
		default:
			if since.IsZero() || turned.Before(since) {
				since = turned
			}
			related = append(related, v1alpha1.RelatedObject{Relation: "pod that is not Ready", ObjectReference: workloads.PodReference(pod)})
		}
	}
	if !someReady || len(related) == 0 {
		return nil // noneReady tells
	}
	spec := notReady(of, related, since)
	spec.Reason = PodsNotReady
	spec.Message = fmt.Sprintf("Pods of %s %s run and have not been Ready for long, while others are. They are not restarted, so nothing mends that by itself.", of.Kind, of.Name)
	return []v1alpha1.FindingSpec{spec}
}

// daemonSet tells whether a DaemonSet that has rolled out has no Ready pod on any node, or
// pods on some that have not been Ready for long.
func (a analyzer) daemonSet(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	d, exists := inputs.DaemonSets.Get(view, subject)
	if !exists || d.DeletionTimestamp != nil || d.Status.DesiredNumberScheduled == 0 || d.Status.NumberReady >= d.Status.DesiredNumberScheduled || d.Status.ObservedGeneration < d.Generation {
		return nil, nil
	}
	if d.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType && d.Status.UpdatedNumberScheduled < d.Status.DesiredNumberScheduled {
		return nil, nil // StuckRollout tells
	}
	of, pods := reference("DaemonSet", d), inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(d.UID))
	if d.Status.NumberReady > 0 {
		return a.someNotReady(view, of, pods, func(*corev1.Pod) bool { return true }), nil
	}
	return a.noneReady(view, of, pods), nil
}

// noneReady tells whether none of a workload's pods is Ready, though all of them run
// that are on a node which is there: what keeps those from it no other analyzer sees.
func (a analyzer) noneReady(view *live.View, of v1alpha1.ObjectReference, pods []*corev1.Pod) []v1alpha1.FindingSpec {
	var related []v1alpha1.RelatedObject
	var since, end time.Time
	for _, pod := range slices.SortedFunc(slices.Values(pods), func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) }) {
		if pod.DeletionTimestamp != nil || inputs.Finished(pod) {
			continue // its controller makes another
		}
		condition := ready(pod)
		lost := workloads.OnLostNode(view, pod)
		if condition.Status == corev1.ConditionTrue || condition.LastTransitionTime.IsZero() || !lost && !workloads.Runs(view, pod) {
			return nil
		}
		turned := condition.LastTransitionTime.Time
		if turned.After(since) {
			since = turned // the last one is what makes it all of them
		}
		if over := turned.Add(a.graceOf(pod)); over.After(end) {
			end = over
		}
		if lost {
			continue // Nodes tells
		}
		related = append(related, v1alpha1.RelatedObject{Relation: "pod that is not Ready", ObjectReference: workloads.PodReference(pod)})
	}
	if len(related) == 0 || !analyzers.Past(view, end) {
		return nil
	}
	spec := notReady(of, related, since)
	spec.Message = fmt.Sprintf("No pod of %s %s is Ready. They run and are not restarted, so nothing mends that by itself.", of.Kind, of.Name)
	return []v1alpha1.FindingSpec{spec}
}

// notReady is about pods that run and are not Ready.
func notReady(of v1alpha1.ObjectReference, related []v1alpha1.RelatedObject, since time.Time) v1alpha1.FindingSpec {
	first := related[0]
	return v1alpha1.FindingSpec{
		Reason: NoPodReady, Severity: v1alpha1.SeverityWarning, Subject: of, Related: related,
		Remediation: v1alpha1.Remediation{
			Text: "See what their readiness probe says and what they write: something that they depend on may be away. If that is back and they do not notice, restart them.",
			Commands: []string{
				fmt.Sprintf("kubectl describe pod %s -n %s", first.Name, first.Namespace),
				fmt.Sprintf("kubectl logs %s -n %s --all-containers --tail=100", first.Name, first.Namespace),
				"kubectl describe " + workloads.Argument(of),
			},
		},
		Since: metav1.NewTime(since),
	}
}
