// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// conditions are those that are trouble when True. Unknown is what the node
// lifecycle controller makes of all of them on a node that does not answer.
var conditions = []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeNetworkUnavailable}

// meanings tell what a condition is about, what follows, and what to do.
var meanings = map[corev1.NodeConditionType][2]string{
	corev1.NodeMemoryPressure: {
		"is short of memory: the kubelet evicts pods to get some back, and lets none on without requests",
		"See which pods use more than they request, and give them the requests and limits that they need, or the cluster another node.",
	},
	corev1.NodeDiskPressure: {
		"is short of disk: the kubelet deletes images and evicts pods to get some back",
		"See what fills the disk: images, the logs and emptyDir volumes of pods, or something beside Kubernetes.",
	},
	corev1.NodePIDPressure: {
		"is short of process IDs: the kubelet evicts pods to get some back",
		"See which pod makes so many processes, and mend it or limit them (podPidsLimit).",
	},
	corev1.NodeNetworkUnavailable: {
		"has no network for pods: none is placed on it",
		"See what the network plugin's pod on the node says, or the cloud's routes.",
	},
}

func (a analyzer) condition(view *live.View, node *corev1.Node, kind corev1.NodeConditionType) []v1alpha1.FindingSpec {
	condition, has := inputs.ConditionOfNode(node, kind)
	if !has || condition.Status != corev1.ConditionTrue {
		return nil
	}
	since := earlier(condition.LastTransitionTime.Time, view.FirstObserved(string(kind)))
	grace := a.grace
	if kind == corev1.NodeNetworkUnavailable {
		grace = a.patience(node, since)
	}
	if !analyzers.Past(view, since.Add(grace)) {
		return nil
	}
	spec := v1alpha1.FindingSpec{
		Reason: Pressure, Severity: v1alpha1.SeverityWarning, Subject: reference(node), Since: metav1.NewTime(since), Discriminator: string(kind),
		Message: fmt.Sprintf("Node %s %s.", node.Name, meanings[kind][0]),
		Remediation: v1alpha1.Remediation{
			Text: meanings[kind][1],
			Commands: []string{
				fmt.Sprintf("kubectl describe node %s", node.Name),
				fmt.Sprintf("kubectl get pods -A -o wide --field-selector spec.nodeName=%s", node.Name),
			},
		},
	}
	if kind == corev1.NodeNetworkUnavailable {
		spec.Reason, spec.Discriminator = NetworkUnavailable, ""
	}
	return []v1alpha1.FindingSpec{spec}
}
