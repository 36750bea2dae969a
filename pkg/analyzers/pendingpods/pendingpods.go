// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pendingpods finds workloads with pods for which there is no node, by what
// the scheduler says stands in the way.
package pendingpods

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

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
	Name = "PendingPods"
	// InsufficientResources means that the nodes which a pod may run on are too full.
	InsufficientResources = "InsufficientResources"
	// UntoleratedTaints means that what is left are nodes with taints, or cordoned.
	UntoleratedTaints = "UntoleratedTaints"
	// AffinityUnsatisfied means that no node satisfies a selector, affinity or spread.
	AffinityUnsatisfied = "AffinityUnsatisfied"
	// VolumeUnavailable means that a volume keeps a pod from every node.
	VolumeUnavailable = "VolumeUnavailable"
	// PortsTaken means that a host port is taken on every node.
	PortsTaken = "HostPortsTaken"
	// Unschedulable means that the scheduler says something else, or nothing.
	Unschedulable = "PodUnschedulable"

	standardGrace = 60 * time.Second
)

// reasons that the scheduler tells.
var reasons = []string{InsufficientResources, UntoleratedTaints, AffinityUnsatisfied, VolumeUnavailable, PortsTaken}

// HangsOn are the parts of the template that each reason can come from. Whatever stands
// in the way on some nodes, other rules may let the pods onto others.
var HangsOn = map[string][]inputs.TemplatePart{
	InsufficientResources: {inputs.PartResources, inputs.PartScheduling},
	UntoleratedTaints:     {inputs.PartScheduling},
	AffinityUnsatisfied:   {inputs.PartScheduling},
	VolumeUnavailable:     {inputs.PartStorage, inputs.PartScheduling},
	PortsTaken:            {inputs.PartHostPorts, inputs.PartScheduling},
	Unschedulable:         {inputs.PartScheduling},
}

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: InsufficientResources, Severities: warning, Summary: "Pods find no node, because those that they may run on have too little left."},
			{Name: UntoleratedTaints, Severities: warning, Summary: "Pods find no node, because of taints that they do not tolerate, or cordoned nodes."},
			{Name: AffinityUnsatisfied, Severities: warning, Summary: "Pods find no node that satisfies their selector, affinity or spread."},
			{Name: VolumeUnavailable, Severities: warning, Summary: "Pods find no node on which they can have a volume."},
			{Name: PortsTaken, Severities: warning, Summary: "Pods find no node on which their host ports are free."},
			{Name: Unschedulable, Severities: warning, Summary: "Pods find no node for another reason, or no scheduler looks at them."},
		},
		Rules: workloads.Rules(a.workload, outdated.Reads()...),
	}, nil
}

// pending is a pod without a node.
type pending struct {
	pod       *corev1.Pod
	obstacles []obstacle // what tells most first
	since     time.Time
}

func (a analyzer) workload(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	ofJob := w.Reference.Kind == "Job" || w.Reference.Kind == "CronJob"
	if ofJob && !w.Settled { // suspended
		return nil, nil
	}
	var all []pending
	for _, pod := range w.Troubled(view) {
		if !waits(pod) {
			continue
		}
		// PodScheduled does not turn when scheduling gates are gone, so a pod may have
		// begun to wait later than it tells, but never sooner.
		turned := inputs.ConditionOfPod(pod, corev1.PodScheduled).LastTransitionTime
		since := slices.MaxFunc([]time.Time{view.FirstObserved("no node"), pod.CreationTimestamp.Time, turned.Time}, time.Time.Compare)
		if !analyzers.Past(view, since.Add(a.grace)) {
			continue
		}
		all = append(all, pending{pod, obstaclesOf(inputs.ConditionOfPod(pod, corev1.PodScheduled).Message), since})
	}
	if len(all) == 0 {
		return nil, nil
	}
	slices.SortFunc(all, func(x, y pending) int {
		return cmp.Or(cmp.Compare(x.obstacles[0].rank, y.obstacles[0].rank), strings.Compare(x.pod.Name, y.pod.Name))
	})
	now := all[0].obstacles[0].reason
	if now == Unschedulable {
		now = ""
	}
	// What stands in the way changes as nodes and other pods come and go.
	reason := analyzers.Steady(view, "node", now, reasons)
	return []v1alpha1.FindingSpec{finding(view, w, all, cmp.Or(reason, Unschedulable))}, nil
}

// waits tells whether a pod waits for a node. One that is held by scheduling gates does
// not, nor one whose priority says that it is there to make room.
func waits(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName != "" || pod.Spec.Priority != nil && *pod.Spec.Priority < 0 {
		return false
	}
	condition := inputs.ConditionOfPod(pod, corev1.PodScheduled)
	return condition.Reason != corev1.PodReasonSchedulingGated && condition.Status != corev1.ConditionTrue
}

// finding is about pods without a node, of which the first tells most.
func finding(view *live.View, w workloads.Workload, all []pending, reason string) v1alpha1.FindingSpec {
	first := all[0].pod
	message := fmt.Sprintf("Pod %s of %s finds no node: %s", first.Name, w, told(all[0].obstacles))
	if w.Reference.Kind == "Pod" {
		message = fmt.Sprintf("Pod %s finds no node: %s", first.Name, told(all[0].obstacles))
	}
	text, more := advice(all[0].obstacles, first)
	if inputs.ConditionOfPod(first, corev1.PodScheduled).Status == corev1.ConditionUnknown {
		message = fmt.Sprintf("Pod %s has no node, and no scheduler has looked at it", first.Name)
		text, more = "See whether a scheduler of the name that the pod asks for runs.", []string{"kubectl get pods -n kube-system", fmt.Sprintf("kubectl get pod %s -n %s -o jsonpath='{.spec.schedulerName}'", first.Name, first.Namespace)}
	}
	since, same := all[0].since, true
	var related []v1alpha1.RelatedObject
	var pods []*corev1.Pod
	for _, p := range all {
		pods = append(pods, p.pod)
		if p.since.Before(since) {
			since = p.since
		}
		same = same && p.obstacles[0].reason == all[0].obstacles[0].reason
		related = append(related, v1alpha1.RelatedObject{Relation: "pod without a node", ObjectReference: workloads.PodReference(p.pod)})
	}
	switch {
	case len(all) > 1 && same:
		message += ". The same is so of other pods of it"
	case len(all) > 1:
		message += ". Other pods of it find none either, some for another reason"
	}
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Related: related, Message: message + ".",
		Remediation: outdated.Advise(view, pods, HangsOn[reason], v1alpha1.Remediation{
			Text:     text,
			Commands: append([]string{fmt.Sprintf("kubectl describe pod %s -n %s", first.Name, first.Namespace)}, more...),
		}),
		Since: metav1.NewTime(since),
	}
}

// advice is what to do about obstacles, and where to look, for each reason once.
func advice(obstacles []obstacle, pod *corev1.Pod) (text string, commands []string) {
	var texts []string
	for _, o := range obstacles {
		about, more := adviceOn(o.reason, pod)
		if !slices.Contains(texts, about) {
			texts, commands = append(texts, about), append(commands, more...)
		}
	}
	return strings.Join(texts, " "), commands
}

func adviceOn(reason string, pod *corev1.Pod) (text string, commands []string) {
	switch reason {
	case InsufficientResources:
		return "Add nodes, free some of what is requested, or lower the requests. What counts are requests, not what is used.", []string{"kubectl describe nodes"}
	case UntoleratedTaints:
		return "Uncordon nodes or take the taints away if they are not meant for these pods, or give the pods the toleration.",
			[]string{"kubectl get nodes -o custom-columns=NAME:.metadata.name,CORDONED:.spec.unschedulable,TAINTS:.spec.taints[*].key"}
	case AffinityUnsatisfied:
		return "Compare the pod's selector, affinity and spread with the labels that the nodes have and with the pods on them.", []string{"kubectl get nodes --show-labels", fmt.Sprintf("kubectl get pods -n %s -o wide", pod.Namespace)}
	case VolumeUnavailable:
		return "See which claim is not bound, or is bound to a volume that is elsewhere or taken, and why.",
			[]string{fmt.Sprintf("kubectl get persistentvolumeclaims -n %s", pod.Namespace), "kubectl get persistentvolumes", "kubectl get storageclasses"}
	case PortsTaken:
		return "Let fewer pods ask for the port, do without hostPort, or add nodes.", []string{"kubectl get pods -A -o wide"}
	}
	return "Read what the scheduler says.", []string{"kubectl get nodes"}
}
