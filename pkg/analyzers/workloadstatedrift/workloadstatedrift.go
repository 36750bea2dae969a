// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package workloadstatedrift finds replicated workloads whose members disagree:
// StatefulSets whose ordinal zero is missing or not Ready while higher ordinals
// run, and PostgreSQL clusters of CloudNativePG that do not come to rest; and
// Deployments, StatefulSets and DaemonSets whose pods all run and are not Ready.
package workloadstatedrift

import (
	"fmt"
	"strconv"
	"strings"
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

const (
	// Name of the analyzer.
	Name = "WorkloadStateDrift"
	// OrdinalZeroMissing means that there is no pod of ordinal zero while higher ones run.
	OrdinalZeroMissing = "OrdinalZeroMissing"
	// OrdinalZeroNotReady means that the pod of ordinal zero is not Ready while higher ones are.
	OrdinalZeroNotReady = "OrdinalZeroNotReady"
	// NoPodReady means that all pods of a workload that has rolled out run, and none is Ready.
	NoPodReady = "NoPodReady"
	// PodsNotReady means that some pods of a workload that has rolled out run, and have not been Ready for long.
	PodsNotReady = "PodsNotReady"
	// ClusterNotHealthy means that a PostgreSQL cluster is in a phase that it does not get out of.
	ClusterNotHealthy = "PostgresClusterNotHealthy"
	// InstancesNotReady means that a PostgreSQL cluster is said to be healthy with fewer instances than it should have.
	InstancesNotReady = "PostgresInstancesNotReady"
	// SwitchoverStuck means that a PostgreSQL cluster has another primary than it should have.
	SwitchoverStuck = "PostgresSwitchoverStuck"

	standardGrace = 5 * time.Minute
)

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: OrdinalZeroMissing, Severities: []v1alpha1.Severity{v1alpha1.SeverityCritical}, Summary: "A StatefulSet has no pod of its first ordinal while higher ones run."},
			{Name: OrdinalZeroNotReady, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A StatefulSet's pod of the first ordinal is not Ready while higher ones are."},
			{Name: NoPodReady, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A Deployment, StatefulSet or DaemonSet has rolled out, its pods run, and none of them is Ready."},
			{Name: PodsNotReady, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "Some pods of a StatefulSet or a DaemonSet that has rolled out, or of a Deployment that is not Available, run and have not been Ready for long."},
			{Name: ClusterNotHealthy, Severities: []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityWarning}, Summary: "A PostgreSQL cluster is in a phase that is not healthy; Critical where that is a failure."},
			{Name: InstancesNotReady, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A healthy PostgreSQL cluster has fewer ready instances than it should have."},
			{Name: SwitchoverStuck, Severities: []v1alpha1.Severity{v1alpha1.SeverityCritical}, Summary: "A PostgreSQL cluster has another primary than it should have."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.StatefulSets.Ref(), Reads: []live.KindRef{inputs.Pods.Ref(), inputs.Nodes.Ref(), inputs.ControllerRevisions.Ref()}, Analyze: a.statefulSet},
			{Subject: inputs.Deployments.Ref(), Reads: []live.KindRef{inputs.ReplicaSets.Ref(), inputs.Pods.Ref(), inputs.Nodes.Ref()}, Analyze: a.deployment},
			{Subject: inputs.DaemonSets.Ref(), Reads: []live.KindRef{inputs.Pods.Ref(), inputs.Nodes.Ref()}, Analyze: a.daemonSet},
			{Subject: inputs.PostgresClusters.Ref(), Analyze: a.cluster},
		},
	}, nil
}

func (a analyzer) statefulSet(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	set, exists := inputs.StatefulSets.Get(view, subject)
	if !exists || set.DeletionTimestamp != nil || replicas(set) < 1 {
		return nil, nil
	}
	first := firstOrdinal(set)
	var zero *corev1.Pod
	higherRunning, higherReady := false, false
	pods := inputs.Pods.ByIndex(view, inputs.ByController, inputs.Controls(set.UID))
	for _, pod := range pods {
		ordinal, ok := ordinalOf(set, pod)
		switch {
		case !ok:
		case ordinal == first:
			zero = pod
		case ordinal > first && ordinal < first+replicas(set) && pod.DeletionTimestamp == nil:
			higherRunning = higherRunning || pod.Status.Phase == corev1.PodRunning
			higherReady = higherReady || ready(pod).Status == corev1.ConditionTrue
		}
	}
	switch {
	case zero == nil && higherRunning:
		return a.missing(view, set, first), nil
	case zero != nil && higherReady:
		if found := a.notReady(view, set, zero); len(found) > 0 {
			return found, nil
		}
	}
	if !settled(set) {
		return nil, nil
	}
	// Where all are made at once, those that never were Ready may be meant to stand by.
	counts := func(pod *corev1.Pod) bool {
		return set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || !workloads.NeverReady(pod)
	}
	return append(a.noneReady(view, reference("StatefulSet", set), pods), a.someNotReady(view, reference("StatefulSet", set), pods, counts)...), nil
}

func (a analyzer) missing(view *live.View, set *appsv1.StatefulSet, first int) []v1alpha1.FindingSpec {
	// No object tells since when something is missing.
	since := view.FirstObserved(OrdinalZeroMissing)
	if !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	pod := podName(set, first)
	return []v1alpha1.FindingSpec{{
		Reason: OrdinalZeroMissing, Severity: v1alpha1.SeverityCritical, Subject: reference("StatefulSet", set),
		Message: fmt.Sprintf("Pod %s, the first of StatefulSet %s, is missing while higher ordinals run. What treats the first ordinal as the primary or the seed is without it.", pod, set.Name),
		Remediation: v1alpha1.Remediation{
			Text: "Look why the StatefulSet controller does not create it: its Events name quotas, admission and volume claims that stand in the way.",
			Commands: []string{
				fmt.Sprintf("kubectl describe statefulset %s -n %s", set.Name, set.Namespace),
				fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=StatefulSet,involvedObject.name=%s", set.Namespace, set.Name),
				fmt.Sprintf("kubectl get persistentvolumeclaims -n %s", set.Namespace),
			},
		},
		Since: metav1.NewTime(since),
	}}
}

func (a analyzer) notReady(view *live.View, set *appsv1.StatefulSet, zero *corev1.Pod) []v1alpha1.FindingSpec {
	condition := ready(zero)
	finished := zero.Status.Phase == corev1.PodSucceeded || zero.Status.Phase == corev1.PodFailed
	// A pod that is being deleted or replaced is the controller's business; so is
	// a pod of another revision while a rollout is on its way to it.
	if zero.DeletionTimestamp != nil || finished || condition.Status == corev1.ConditionTrue || rolling(set, zero) {
		return nil
	}
	since := condition.LastTransitionTime.Time
	if since.IsZero() {
		since = zero.CreationTimestamp.Time
	}
	if !analyzers.Past(view, since.Add(a.graceOf(zero))) {
		return nil
	}
	remediation := v1alpha1.Remediation{
		Text: "Read what the pod says, and mend what it waits for.",
		Commands: []string{
			fmt.Sprintf("kubectl describe pod %s -n %s", zero.Name, zero.Namespace),
			fmt.Sprintf("kubectl logs %s -n %s --all-containers --tail=100", zero.Name, zero.Namespace),
		},
	}
	if workloads.Runs(view, zero) && !workloads.NeverReady(zero) {
		stays := "what it keeps outside a claim is lost"
		if workloads.HasClaim(zero) {
			stays = "its volume stays"
		}
		remediation.Text = "Read what the pod says. If nothing it depends on is broken, a fresh pod may work; " + stays + "."
		remediation.Commands = append(remediation.Commands, fmt.Sprintf("kubectl delete pod %s -n %s", zero.Name, zero.Namespace))
	}
	return []v1alpha1.FindingSpec{{
		Reason: OrdinalZeroNotReady, Severity: v1alpha1.SeverityWarning, Subject: reference("StatefulSet", set),
		Related: []v1alpha1.RelatedObject{{Relation: "pod of ordinal zero", ObjectReference: v1alpha1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: zero.Namespace, Name: zero.Name, UID: zero.UID,
		}}},
		Message:     fmt.Sprintf("Pod %s, the first of StatefulSet %s, is not Ready while higher ordinals are.", zero.Name, set.Name),
		Remediation: outdated.Advise(view, outdated.Stopped(zero), outdated.Shown(zero), remediation),
		Since:       metav1.NewTime(since),
	}}
}

// settled tells whether no rollout of a StatefulSet is under way. One that is,
// StuckRollout judges.
func settled(set *appsv1.StatefulSet) bool {
	rolling := set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && set.Status.UpdateRevision != set.Status.CurrentRevision
	return set.Status.ObservedGeneration >= set.Generation && !rolling
}

// rolling tells whether the controller is about to replace the pod, because it
// is not of the revision that a rollout goes to. With OnDelete nobody replaces it.
func rolling(set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	revision := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	return set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType &&
		set.Status.UpdateRevision != "" && set.Status.UpdateRevision != set.Status.CurrentRevision &&
		revision != set.Status.UpdateRevision && !partitioned(set)
}

// partitioned tells whether a partition keeps the first ordinal at its revision; it
// counts from there.
func partitioned(set *appsv1.StatefulSet) bool {
	update := set.Spec.UpdateStrategy.RollingUpdate
	return update != nil && update.Partition != nil && *update.Partition > 0
}

func replicas(set *appsv1.StatefulSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

func firstOrdinal(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return set.Name + "-" + strconv.Itoa(ordinal)
}

func ordinalOf(set *appsv1.StatefulSet, pod *corev1.Pod) (int, bool) {
	text, ok := strings.CutPrefix(pod.Name, set.Name+"-")
	if !ok {
		return 0, false
	}
	ordinal, err := strconv.Atoi(text)
	return ordinal, err == nil && ordinal >= 0
}

func ready(pod *corev1.Pod) corev1.PodCondition {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition
		}
	}
	return corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionUnknown}
}

func reference(kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID()}
}
