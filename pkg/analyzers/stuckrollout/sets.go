// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckrollout

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// StatefulSets and DaemonSets have no deadline. Theirs is that the number of
// updated pods has not changed for the grace.

func (a analyzer) statefulSet(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	s, exists := inputs.StatefulSets.Get(view, subject)
	if !exists || s.DeletionTimestamp != nil {
		return nil, nil
	}
	of := reference("StatefulSet", s)
	if s.Status.ObservedGeneration < s.Generation {
		return a.unobserved(view, of, s.Status.ObservedGeneration), nil
	}
	pods := inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(s.UID))
	back := s.Status.UpdateRevision == s.Status.CurrentRevision
	switch {
	case s.Status.UpdateRevision == "":
		return nil, nil
	case back && !anyOther(pods, s.Status.UpdateRevision), toUpdate(s) <= 0:
		return a.lacking(view, s), nil
	case s.Status.UpdatedReplicas >= toUpdate(s):
		if found := a.lastPods(view, s); len(found) > 0 {
			return found, nil
		}
		return a.lacking(view, s), nil
	}
	state := fmt.Sprintf("revision %s at %d", s.Status.UpdateRevision, s.Status.UpdatedReplicas)
	since, past := a.observed(view, state, a.grace+time.Duration(s.Spec.MinReadySeconds)*time.Second)
	if !past {
		return nil, nil
	}
	if ending(view, pods) {
		return nil, nil
	}
	cause := causeOf(view, pods)
	if cause.Kind == Unknown {
		cause = gone(view, pods)
	}
	what := "does not get on with its rollout, and pods of the last revision stay"
	if back {
		what = "was set back to its last revision, and pods of the other one stay"
	}
	spec := finding(of, what, cause)
	spec.Since = since
	if cause.Pod != nil && cause.Kind != Ending {
		spec.Remediation = outdated.Advise(view, []*corev1.Pod{cause.Pod}, outdated.Shown(cause.Pod), spec.Remediation)
	}
	return []v1alpha1.FindingSpec{spec}, nil
}

// anyOther tells whether a pod that is not being deleted is of another revision.
func anyOther(pods []*corev1.Pod, revision string) bool {
	return slices.ContainsFunc(pods, func(pod *corev1.Pod) bool {
		of := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
		return pod.DeletionTimestamp == nil && of != "" && of != revision
	})
}

// lastPods is about a StatefulSet that has replaced all pods that its rollout is for,
// and whose new pods run and do not become Ready. If it is the first ordinal alone, the
// analyzer WorkloadStateDrift tells, and whatever else keeps them from it, others do.
func (a analyzer) lastPods(view *live.View, s *appsv1.StatefulSet) []v1alpha1.FindingSpec {
	var unready []*corev1.Pod
	var since time.Time
	first, anyReady := false, false
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(s.UID)) {
		ready := inputs.ConditionOfPod(pod, corev1.PodReady)
		switch {
		case pod.DeletionTimestamp != nil || ready.LastTransitionTime.IsZero():
			return nil // it is on its way
		case ready.Status == corev1.ConditionTrue:
			anyReady = true
		case pod.Labels[appsv1.ControllerRevisionHashLabelKey] == s.Status.UpdateRevision:
			unready = append(unready, pod)
			first = first || pod.Name == firstOrdinal(s)
			if ready.LastTransitionTime.After(since) {
				since = ready.LastTransitionTime.Time
			}
		}
	}
	if len(unready) == 0 || first && anyReady || !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	for _, pod := range unready {
		if !workloads.Runs(view, pod) {
			return nil
		}
	}
	spec := finding(reference("StatefulSet", s), "has not done with its rollout", causeOf(view, unready))
	spec.Since = metav1.NewTime(since)
	return []v1alpha1.FindingSpec{spec}
}

// lacking is about a StatefulSet that has no rollout to get on with, and fewer pods than
// it should, though nothing is there that the next one would have to wait for. No
// condition tells that one cannot be made. If it is the first ordinal alone, the
// analyzer WorkloadStateDrift tells.
func (a analyzer) lacking(view *live.View, s *appsv1.StatefulSet) []v1alpha1.FindingSpec {
	waits := s.Spec.PodManagementPolicy != appsv1.ParallelPodManagement && s.Status.ReadyReplicas < s.Status.Replicas
	if s.Status.Replicas >= desired(s.Spec.Replicas) || waits {
		return nil
	}
	since, past := a.observed(view, fmt.Sprintf("has no more than %d pods", s.Status.Replicas), a.grace+time.Duration(s.Spec.MinReadySeconds)*time.Second)
	if !past {
		return nil
	}
	first, running := false, false
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(s.UID)) {
		if pod.DeletionTimestamp != nil {
			return nil // the next is made when it is gone
		}
		first = first || pod.Name == firstOrdinal(s)
		running = running || pod.Status.Phase == corev1.PodRunning
	}
	if running && !first {
		return nil
	}
	return []v1alpha1.FindingSpec{a.unmade(view, reference("StatefulSet", s), since)}
}

// unmade is about pods that the controller of a set does not make.
func (a analyzer) unmade(view *live.View, of v1alpha1.ObjectReference, since metav1.Time) v1alpha1.FindingSpec {
	cause := Cause{Kind: Refused, Text: workloads.Refusal(view, of.UID)}
	spec := finding(of, "lacks pods, and its controller does not make them", cause)
	if cause.Text == "" {
		spec.Remediation.Text = "See what its events say: a quota, an admission webhook or a volume claim may stand in the way. Its controller tries again by itself, after 17 minutes at the latest."
	}
	spec.Remediation.Commands = append(spec.Remediation.Commands,
		fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=%s,involvedObject.name=%s", of.Namespace, of.Kind, of.Name),
		fmt.Sprintf("kubectl get resourcequotas -n %s", of.Namespace))
	spec.Since = since
	return spec
}

func firstOrdinal(s *appsv1.StatefulSet) string {
	start := int32(0)
	if s.Spec.Ordinals != nil {
		start = s.Spec.Ordinals.Start
	}
	return fmt.Sprintf("%s-%d", s.Name, start)
}

// toUpdate is how many pods the rollout of a StatefulSet is for: those below the
// partition keep the last revision, and with OnDelete nobody replaces any.
func toUpdate(s *appsv1.StatefulSet) int32 {
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return 0
	}
	want := desired(s.Spec.Replicas)
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		want -= *rolling.Partition
	}
	return want
}

func (a analyzer) daemonSet(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	d, exists := inputs.DaemonSets.Get(view, subject)
	if !exists || d.DeletionTimestamp != nil {
		return nil, nil
	}
	of := reference("DaemonSet", d)
	if d.Status.ObservedGeneration < d.Generation {
		return a.unobserved(view, of, d.Status.ObservedGeneration), nil
	}
	if d.Status.CurrentNumberScheduled < d.Status.DesiredNumberScheduled {
		state := fmt.Sprintf("pods of %d nodes, %d of them updated", d.Status.CurrentNumberScheduled, d.Status.UpdatedNumberScheduled)
		if since, past := a.observed(view, state, a.grace); past {
			return []v1alpha1.FindingSpec{a.unmade(view, of, since)}, nil
		}
	}
	left := d.Status.DesiredNumberScheduled - d.Status.UpdatedNumberScheduled
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType || left <= 0 {
		return nil, nil
	}
	state := fmt.Sprintf("generation %d at %d", d.Generation, d.Status.UpdatedNumberScheduled)
	since, past := a.observed(view, state, a.grace+time.Duration(d.Spec.MinReadySeconds)*time.Second)
	if !past {
		return nil, nil
	}
	pods := inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(d.UID))
	if ending(view, pods) || left <= onLostNodes(view, pods) {
		return nil, nil // a node that is away is updated when it comes back
	}
	cause := causeOf(view, pods)
	if cause.Kind == Unknown {
		cause = gone(view, pods)
	}
	spec := finding(of, "does not get on with its rollout, and pods of the last revision stay", cause)
	spec.Since = since
	return []v1alpha1.FindingSpec{spec}, nil
}

// onLostNodes is how many pods are on nodes that are not Ready.
func onLostNodes(view *live.View, pods []*corev1.Pod) (number int32) {
	for _, pod := range pods {
		if workloads.OnLostNode(view, pod) {
			number++
		}
	}
	return number
}

// told is how long what an Event says of a ReplicaSet stands: its controller tries
// again after 17 minutes at the latest (k8s.io/client-go, util/workqueue).
const told = 20 * time.Minute

// replicaSet is about a ReplicaSet that no Deployment has made, one of its own or of
// another project's rollouts, whose pods cannot be made. Only its metadata is kept, so
// it goes by its Events: refused again and again for as long as the grace, of late too,
// and no pod made since. One that wanted pods for a moment only, before its account was
// there or until a canary was taken back, was not refused for that long.
func (a analyzer) replicaSet(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	r, exists := inputs.ReplicaSets.Get(view, subject)
	if !exists || r.DeletionTimestamp != nil {
		return nil, nil
	}
	if owner := metav1.GetControllerOfNoCopy(r); owner != nil && owner.Kind == "Deployment" {
		return nil, nil // of which the Deployment tells
	}
	var made time.Time
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(r.UID)) {
		if pod.CreationTimestamp.After(made) {
			made = pod.CreationTimestamp.Time
		}
	}
	var first, last time.Time
	for _, event := range inputs.Events.ByIndex(view, inputs.ByInvolved, string(r.UID)) {
		at := inputs.LastSeen(event)
		// Times are in whole seconds, and a pod can be made in that of a refusal.
		if event.Reason != inputs.FailedCreate || !at.Truncate(time.Second).After(made) {
			continue
		}
		if began := inputs.FirstSeen(event); first.IsZero() || began.Before(first) {
			first = began
		}
		if at.After(last) {
			last = at
		}
	}
	if first.Before(made) {
		first = made
	}
	if last.IsZero() || last.Sub(first) < a.grace || analyzers.Past(view, last.Add(told)) {
		return nil, nil
	}
	since := metav1.NewTime(first)
	return []v1alpha1.FindingSpec{a.unmade(view, reference("ReplicaSet", r), since)}, nil
}
