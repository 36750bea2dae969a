// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"fmt"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// node gathers the pods that cannot go because their node does not answer, or is not
// Ready: what is to be mended is the node, however many they are, and though it may be
// on its way out itself.
func (a analyzer) node(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	node, exists := inputs.Nodes.Get(view, subject)
	if !exists || !inputs.NodeLost(node) {
		return nil, nil
	}
	how, text := "is not Ready", "Bring the node back: see what its kubelet says, and whether its container runtime answers; the kubelet then ends the pods by itself."
	if inputs.NodeSilent(node) {
		how = "does not answer"
		text = "Bring the node back: its kubelet then ends the pods by itself. Only if the machine is switched off for certain, say so with the taint node.kubernetes.io/out-of-service=nodeshutdown:NoExecute: the pods are then removed and their volumes detached. While it may still run, forcing it lets two pods write one volume."
	}
	if node.DeletionTimestamp != nil {
		how += " and is being deleted itself"
	}
	finding := v1alpha1.FindingSpec{
		Reason: PodsStuckOnNode, Severity: v1alpha1.SeverityWarning,
		Subject: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
		Remediation: v1alpha1.Remediation{
			Text: text,
			Commands: []string{
				fmt.Sprintf("kubectl describe node %s", node.Name),
				fmt.Sprintf("kubectl get pods -A -o wide --field-selector spec.nodeName=%s", node.Name),
			},
		},
	}
	var names []string
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByTerminatingNode, node.Name) {
		if !a.past(view, pod) || hold(view, pod) != lostNode {
			continue
		}
		names = append(names, pod.Namespace+"/"+pod.Name)
		finding.Related = append(finding.Related, v1alpha1.RelatedObject{Relation: "pod that cannot go", ObjectReference: workloads.PodReference(pod)})
		if finding.Since.IsZero() || pod.DeletionTimestamp.Before(&finding.Since) {
			finding.Since = *pod.DeletionTimestamp
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	finding.Message = fmt.Sprintf("Pods that are being deleted stay on Node %s, which %s: %s. A StatefulSet does not replace its pod until it is certain that the old one has ended.", node.Name, how, listed(names))
	return []v1alpha1.FindingSpec{finding}, nil
}
