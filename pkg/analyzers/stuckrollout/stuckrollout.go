// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stuckrollout finds rollouts that do not get on: Deployments past their
// own deadline, Deployments, StatefulSets and DaemonSets whose old pods stay or whose
// pods are not made, and workloads whose controller has stopped to look at them.
package stuckrollout

import (
	"fmt"
	"time"

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
	Name = "StuckRollout"
	// DeadlineExceeded means that a Deployment has not got on within its progressDeadlineSeconds.
	DeadlineExceeded = "RolloutDeadlineExceeded"
	// Stuck means that pods of the last revision stay, or others cannot be made, and
	// nothing has moved for the grace.
	Stuck = "RolloutStuck"
	// Unobserved means that a controller has not looked at a workload since it was changed.
	Unobserved = "GenerationUnobserved"

	standardGrace = 15 * time.Minute
)

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	critical := []v1alpha1.Severity{v1alpha1.SeverityCritical}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: DeadlineExceeded, Severities: critical, Summary: "A Deployment has not got on with its rollout within its progressDeadlineSeconds, and why."},
			{Name: Stuck, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A rollout does not move and pods of the last revision stay, or pods are not made."},
			{Name: Unobserved, Severities: critical, Summary: "A workload was changed, and its controller has not looked at it."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.Deployments.Ref(), Reads: []live.KindRef{inputs.ReplicaSets.Ref(), inputs.Pods.Ref(), inputs.Nodes.Ref()}, Analyze: a.deployment},
			{Subject: inputs.StatefulSets.Ref(), Reads: []live.KindRef{inputs.Pods.Ref(), inputs.Nodes.Ref(), inputs.Events.Ref(), inputs.ControllerRevisions.Ref()}, Analyze: a.statefulSet},
			{Subject: inputs.DaemonSets.Ref(), Reads: []live.KindRef{inputs.Pods.Ref(), inputs.Nodes.Ref(), inputs.Events.Ref()}, Analyze: a.daemonSet},
			{Subject: inputs.ReplicaSets.Ref(), Reads: []live.KindRef{inputs.Pods.Ref(), inputs.Events.Ref()}, Analyze: a.replicaSet},
		},
	}, nil
}

// unobserved tells whether the controller of a workload has not looked at it since
// it was changed. Each look begins the grace anew, since there may be many changes.
func (a analyzer) unobserved(view *live.View, of v1alpha1.ObjectReference, observed int64) []v1alpha1.FindingSpec {
	since, past := a.observed(view, fmt.Sprintf("generation %d was looked at", observed), a.grace)
	if !past {
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: Unobserved, Severity: v1alpha1.SeverityCritical, Subject: of,
		Message: fmt.Sprintf("%s %s was changed, and its controller has not looked at it since: what runs is not what was asked for.", of.Kind, of.Name),
		Remediation: v1alpha1.Remediation{
			Text: "See whether kube-controller-manager runs, holds its lease and reaches the API server.",
			Commands: []string{
				fmt.Sprintf("kubectl get %s -o jsonpath='{.metadata.generation} {.status.observedGeneration}'", workloads.Argument(of)),
				"kubectl get lease kube-controller-manager -n kube-system -o yaml",
				"kubectl get pods -n kube-system -o wide",
			},
		},
		Since: since,
	}}
}

// observed tells since when something is so, and whether that is longer than a grace.
func (a analyzer) observed(view *live.View, what string, grace time.Duration) (since metav1.Time, past bool) {
	at := view.FirstObserved(what)
	return metav1.NewTime(at), analyzers.Past(view, at.Add(grace))
}

// ending tells whether one of the pods has time yet to end by itself: that is how
// a rollout gets on.
func ending(view *live.View, pods []*corev1.Pod) bool {
	ending := false
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil && !analyzers.Past(view, pod.DeletionTimestamp.Time) {
			ending = true
		}
	}
	return ending
}

// finding is what all rollouts that do not get on have in common.
func finding(of v1alpha1.ObjectReference, what string, cause Cause) v1alpha1.FindingSpec {
	spec := v1alpha1.FindingSpec{
		Reason: Stuck, Severity: v1alpha1.SeverityWarning, Subject: of,
		Message: fmt.Sprintf("%s %s %s.", of.Kind, of.Name, what),
		Remediation: v1alpha1.Remediation{
			Text:     cause.mend(),
			Commands: []string{fmt.Sprintf("kubectl describe %s", workloads.Argument(of))},
		},
	}
	if cause.Text != "" {
		spec.Message = fmt.Sprintf("%s %s %s: %s.", of.Kind, of.Name, what, cause.Text)
	}
	if pod := cause.Pod; pod != nil {
		spec.Related = []v1alpha1.RelatedObject{{Relation: "pod that holds it up", ObjectReference: workloads.PodReference(pod)}}
		spec.Remediation.Commands = append(spec.Remediation.Commands, fmt.Sprintf("kubectl describe pod %s -n %s", pod.Name, pod.Namespace))
		if cause.Kind == Crash {
			spec.Remediation.Commands = append(spec.Remediation.Commands, fmt.Sprintf("kubectl logs %s -n %s -c %s --previous", pod.Name, pod.Namespace, cause.container))
		}
	}
	return spec
}

func reference(kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: "apps/v1", Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}

func desired(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}
