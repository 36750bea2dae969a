// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodes finds nodes that are not Ready, short of something, or cordoned
// and forgotten.
package nodes

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "Nodes"
	// NotReady means that a node is not Ready, or does not answer.
	NotReady = "NodeNotReady"
	// Pressure means that a node is short of memory, disk or process IDs.
	Pressure = "NodePressure"
	// NetworkUnavailable means that a node has no network for pods.
	NetworkUnavailable = "NodeNetworkUnavailable"
	// Cordoned means that nothing new has been let onto a node for long.
	Cordoned = "NodeCordoned"

	// standardGrace is longer than a kubelet needs to be started anew, and ends
	// before the pods of a lost node are evicted: kube-controller-manager takes 50 s
	// to miss a node (node-monitor-grace-period), and pods bear that for five minutes
	// (DefaultTolerationSeconds admission).
	standardGrace       = 2 * time.Minute
	standardMaintenance = 15 * time.Minute
	standardCordoned    = 24 * time.Hour
	// joining is how soon after its creation a node that joins has its first conditions.
	joining = time.Minute
)

// removals are the taints of nodes that are about to be removed, which go away
// for good soon after they stop to be Ready.
var removals = []string{"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"}

// Options of the analyzer.
type Options struct {
	// Maintenance is the grace of nodes that may be away for a while: cordoned ones,
	// those about to be removed, and those that join.
	Maintenance *metav1.Duration `json:"maintenance"`
	// CordonedFor is how long a node may be cordoned.
	CordonedFor *metav1.Duration `json:"cordonedFor"`
}

type analyzer struct{ grace, maintenance, cordoned time.Duration }

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	options := Options{Maintenance: &metav1.Duration{Duration: standardMaintenance}, CordonedFor: &metav1.Duration{Duration: standardCordoned}}
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	for name, duration := range map[string]*metav1.Duration{"maintenance": options.Maintenance, "cordonedFor": options.CordonedFor} {
		if duration == nil || duration.Duration <= 0 {
			return analyzers.Analyzer{}, fmt.Errorf("options: %s: want a duration above zero, as 15m", name)
		}
	}
	a := analyzer{grace: settings.Grace(standardGrace), maintenance: options.Maintenance.Duration, cordoned: options.CordonedFor.Duration}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: NotReady, Severities: []v1alpha1.Severity{v1alpha1.SeverityCritical}, Summary: "A node is not Ready, or does not answer."},
			{Name: Pressure, Severities: warning, Summary: "A node is short of memory, disk or process IDs."},
			{Name: NetworkUnavailable, Severities: warning, Summary: "A node has no network for pods."},
			{Name: Cordoned, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}, Summary: "Nothing new has been let onto a node for a day."},
		},
		Rules: []analyzers.Rule{{Subject: inputs.Nodes.Ref(), Analyze: a.node}},
	}, nil
}

func (a analyzer) node(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	node, exists := inputs.Nodes.Get(view, subject)
	if !exists || node.DeletionTimestamp != nil {
		return nil, nil
	}
	found := a.notReady(view, node)
	for _, kind := range conditions {
		found = append(found, a.condition(view, node, kind)...)
	}
	return append(found, a.cordon(view, node)...), nil
}

func (a analyzer) notReady(view *live.View, node *corev1.Node) []v1alpha1.FindingSpec {
	if !inputs.NodeLost(node) {
		return nil
	}
	ready, _ := inputs.ConditionOfNode(node, corev1.NodeReady)
	// A node that says that it is not Ready may stop to say anything: the trouble is
	// the same, though the condition turns once more.
	since := earlier(ready.LastTransitionTime.Time, view.FirstObserved(NotReady))
	if !analyzers.Past(view, since.Add(a.patience(node, since))) {
		return nil
	}
	spec := v1alpha1.FindingSpec{
		Reason: NotReady, Severity: v1alpha1.SeverityCritical, Subject: reference(node), Since: metav1.NewTime(since),
		Message: fmt.Sprintf("Node %s does not answer: its kubelet has stopped to report. Its pods do not get traffic, and after five minutes most of them are replaced elsewhere.", node.Name),
		Remediation: v1alpha1.Remediation{
			Text: "See whether the machine runs, and on it the kubelet and the container runtime. If it is gone for good, delete the node.",
			Commands: []string{
				fmt.Sprintf("kubectl describe node %s", node.Name),
				fmt.Sprintf("kubectl get pods -A -o wide --field-selector spec.nodeName=%s", node.Name),
			},
		},
	}
	if ready.Status == corev1.ConditionFalse {
		spec.Message = fmt.Sprintf("Node %s is not Ready. Its pods do not get traffic, and after five minutes most of them are replaced elsewhere.", node.Name)
		if ready.Message != "" {
			spec.Message = fmt.Sprintf("Node %s is not Ready: %s. Its pods do not get traffic, and after five minutes most of them are replaced elsewhere.", node.Name, inputs.Sentence(ready.Message))
		}
		return []v1alpha1.FindingSpec{spec}
	}
	if tainted(node, "node.cloudprovider.kubernetes.io/shutdown") {
		spec.Message = fmt.Sprintf("Node %s does not answer: its machine is shut down, says the cloud provider.", node.Name)
	}
	spec.Remediation.Commands = append(spec.Remediation.Commands, fmt.Sprintf("kubectl get lease %s -n kube-node-lease -o yaml", node.Name))
	return []v1alpha1.FindingSpec{spec}
}

// patience is the grace of trouble that a node has had since some time: longer for
// one that is being looked after, and for one that joins.
func (a analyzer) patience(node *corev1.Node, since time.Time) time.Duration {
	joins := !node.CreationTimestamp.IsZero() && !since.After(node.CreationTimestamp.Add(joining))
	if node.Spec.Unschedulable || joins || removed(node) {
		return max(a.grace, a.maintenance)
	}
	return a.grace
}

func removed(node *corev1.Node) bool {
	return slices.ContainsFunc(removals, func(key string) bool { return tainted(node, key) })
}

func tainted(node *corev1.Node, key string) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == key })
}

// cordon tells whether a node has been cordoned for so long that somebody may have
// forgotten it.
func (a analyzer) cordon(view *live.View, node *corev1.Node) []v1alpha1.FindingSpec {
	if !node.Spec.Unschedulable || removed(node) {
		return nil
	}
	since := view.FirstObserved(Cordoned)
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeUnschedulable && taint.TimeAdded != nil {
			since = earlier(taint.TimeAdded.Time, since)
		}
	}
	if !analyzers.Past(view, since.Add(a.cordoned)) {
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: Cordoned, Severity: v1alpha1.SeverityInfo, Subject: reference(node), Since: metav1.NewTime(since),
		Message: fmt.Sprintf("Node %s is cordoned: no new pods come onto it, and its room is missed elsewhere.", node.Name),
		Remediation: v1alpha1.Remediation{
			Text: "If whatever it was cordoned for is over, let pods onto it again. If it is to go, drain and delete it.",
			Commands: []string{
				fmt.Sprintf("kubectl get pods -A -o wide --field-selector spec.nodeName=%s", node.Name),
				fmt.Sprintf("kubectl uncordon %s", node.Name),
			},
		},
	}}
}

func reference(node *corev1.Node) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
}

// earlier returns the earlier of two times, of which the first may not be known.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
