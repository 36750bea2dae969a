// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
)

// durations are as Go writes them: "3m12.5s".
var durations = regexp.MustCompile(`\b(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|µs|ns))+\b`)

// What a cluster is made of.
var (
	Namespaces = live.NewInput(corev1.SchemeGroupVersion.WithResource("namespaces"), live.InputOptions[*corev1.Namespace]{
		Trim: func(in *corev1.Namespace) *corev1.Namespace { trimMeta(&in.ObjectMeta); return in },
	})
	// Nodes without what they report every few minutes: only what the kubelet says of
	// a node that is not Ready is kept of its words, without how long it is so.
	Nodes = live.NewInput(corev1.SchemeGroupVersion.WithResource("nodes"), live.InputOptions[*corev1.Node]{
		Trim: func(in *corev1.Node) *corev1.Node {
			trimMeta(&in.ObjectMeta)
			in.ResourceVersion = "" // a heartbeat is no change
			in.Annotations = nil
			conditions := make([]corev1.NodeCondition, len(in.Status.Conditions))
			for i, condition := range in.Status.Conditions {
				condition.LastHeartbeatTime = metav1.Time{}
				if condition.Type != corev1.NodeReady || condition.Status == corev1.ConditionTrue {
					condition.Message = ""
				}
				condition.Message = durations.ReplaceAllString(condition.Message, "some time")
				conditions[i] = condition
			}
			return &corev1.Node{
				ObjectMeta: in.ObjectMeta,
				Spec:       corev1.NodeSpec{Unschedulable: in.Spec.Unschedulable, Taints: in.Spec.Taints},
				Status:     corev1.NodeStatus{Conditions: conditions},
			}
		},
	})
	// PersistentVolumeClaims by their metadata: whether one is being deleted, and
	// what is waited for.
	PersistentVolumeClaims = live.NewInput(corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"), live.InputOptions[*metav1.PartialObjectMetadata]{Trim: trimMetadata})
)

// ConditionOfNode returns the condition of a type, and whether there is one.
func ConditionOfNode(node *corev1.Node, kind corev1.NodeConditionType) (corev1.NodeCondition, bool) {
	for _, condition := range node.Status.Conditions {
		if condition.Type == kind {
			return condition, true
		}
	}
	return corev1.NodeCondition{}, false
}

// NodeLost tells whether a node says that it is not Ready, or has stopped to say
// anything. Of a node that has no such condition nothing is known.
func NodeLost(node *corev1.Node) bool {
	ready, has := ConditionOfNode(node, corev1.NodeReady)
	return has && ready.Status != corev1.ConditionTrue
}

// NodeSilent tells whether a node has stopped to say anything. Of one that says it is
// not Ready the kubelet runs, and its pods with it.
func NodeSilent(node *corev1.Node) bool {
	ready, has := ConditionOfNode(node, corev1.NodeReady)
	return has && ready.Status == corev1.ConditionUnknown
}
