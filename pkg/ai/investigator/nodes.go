// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/ai/redaction"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// shutdown is the taint of a node whose machine is shut down (k8s.io/cloud-provider/api).
const shutdown = "node.cloudprovider.kubernetes.io/shutdown"

// nodeSigns are words of kubelets about why their node is not Ready (k8s.io/kubernetes,
// pkg/kubelet), in lower case.
var nodeSigns = []struct{ cause, part string }{
	{"NetworkPluginNotReady", "networkpluginnotready"}, {"NetworkPluginNotReady", "cni plugin not initialized"},
	{"ContainerRuntimeDown", "container runtime is down"}, {"ContainerRuntimeDown", "container runtime not ready"},
	{"PodLifecycleStuck", "pleg is not healthy"},
	{"NodeShutsDown", "node is shutting down"},
}

// nodeState reads how a node stands, and notes that.
func (q *inquiry) nodeState(ref v1alpha1.ObjectReference) (*corev1.Node, presence) {
	node := &corev1.Node{}
	is := q.object(ref, node)
	if is != present {
		return node, is
	}
	var said []string
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady || condition.Status != corev1.ConditionFalse {
			said = append(said, strings.TrimSpace(fmt.Sprintf("%s=%s %s: %s", condition.Type, condition.Status, condition.Reason, sentence(condition.Message))))
		}
	}
	if node.Spec.Unschedulable {
		said = append(said, "nothing new is scheduled to it")
	}
	if slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == shutdown }) {
		said = append(said, "its machine is shut down, says the cloud provider")
	}
	q.note(opsv1alpha1.ToolObject, name(ref), cmp.Or(strings.Join(said, "; "), "has no conditions"))
	return node, is
}

// node goes by what a kubelet says of its node, and where it says nothing, by what
// others said last.
func (q *inquiry) node(ref v1alpha1.ObjectReference) verdict {
	node, is := q.nodeState(ref)
	if !q.subject(ref, is) {
		return verdict{}
	}
	of := "Node " + node.Name
	ready, _ := inputs.ConditionOfNode(node, corev1.NodeReady)
	said := redaction.Mask(ready.Message)
	switch ready.Status {
	case corev1.ConditionFalse:
		if said == "" {
			break
		}
		lower := strings.ToLower(said)
		for _, sign := range nodeSigns {
			if strings.Contains(lower, sign.part) {
				return verdict{sign.cause, of + " is not Ready: " + sentence(said)}
			}
		}
		return verdict{signIn(said, "KubeletNotReady"), of + " is not Ready: " + sentence(said)}
	case corev1.ConditionUnknown:
		if slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == shutdown }) {
			return verdict{"MachineShutDown", of + " does not answer: its machine is shut down, says the cloud provider"}
		}
		for _, event := range q.events(ref) {
			if event.Reason != "NodeNotReady" { // which says the same as the condition
				return verdict{signIn(event.Message, "WarningEvent"), fmt.Sprintf("%s does not answer. The newest warning about it is %s: %s", of, event.Reason, sentence(event.Message))}
			}
		}
		q.lack(CauseNoKnownSign, of+" does not answer, and no Event about it says why: look at its machine")
		return verdict{}
	case corev1.ConditionTrue:
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return verdict{string(condition.Type), fmt.Sprintf("%s has %s: %s", of, condition.Type, cmp.Or(sentence(redaction.Mask(condition.Message)), condition.Reason, "nothing says more"))}
		}
	}
	return q.other(ref)
}
