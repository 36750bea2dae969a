// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// holder is who holds a pod.
type holder string

const (
	nobody     holder = ""           // that is known
	lostNode   holder = "lost node"  // for which the node's finding stands
	goneNode   holder = "gone node"  // which the pod garbage collector cleans up after
	kubelet    holder = "kubelet"    // which has not told that the containers ended
	finalizers holder = "finalizers" // the containers have ended, or need not
)

// hold returns who holds a pod that is being deleted. The kubelet tells that the
// containers have ended by deleting the pod once more with no grace at all
// (k8s.io/kubernetes, pkg/kubelet/status).
func hold(view *live.View, pod *corev1.Pod) holder {
	told := pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0
	held := finalizers
	if len(pod.Finalizers) == 0 {
		held = nobody
	}
	if pod.Spec.NodeName == "" || told {
		return held
	}
	node, exists := inputs.Nodes.Get(view, live.Key{Name: pod.Spec.NodeName})
	switch {
	case exists && inputs.NodeLost(node):
		return lostNode
	case held == finalizers && (!exists || inputs.Finished(pod) || pod.DeletionGracePeriodSeconds == nil):
		return finalizers
	case !exists:
		return goneNode
	}
	return kubelet
}

func said(names []string) string {
	if len(names) == 1 {
		return "Pod " + names[0]
	}
	return "Pods " + listed(names)
}

// explain tells why pods do not go that are held alike, and what to do about the first.
func explain(pods []*Held) (string, v1alpha1.Remediation) {
	pod := pods[0]
	nodes, several := nodesOf(pods)
	switch pod.By {
	case goneNode:
		why := fmt.Sprintf("there is no Node %s any more, and the pod garbage collector has not cleaned up after it", nodes)
		if several {
			why = fmt.Sprintf("there are no Nodes %s any more, and the pod garbage collector has not cleaned up after them", nodes)
		}
		return why, v1alpha1.Remediation{
			Text: "See whether kube-controller-manager runs: it removes pods of nodes that are gone within minutes. With the node gone for certain, nothing runs any more, and the pod may be removed by force.",
			Commands: []string{
				"kubectl get lease kube-controller-manager -n kube-system -o yaml",
				fmt.Sprintf("kubectl delete pod %s -n %s --grace-period=0 --force", pod.Name, pod.Namespace),
			},
		}
	case kubelet:
		why := fmt.Sprintf("Node %s is Ready, and its kubelet has not told that the containers ended", nodes)
		if several {
			why = fmt.Sprintf("Nodes %s are Ready, and their kubelets have not told that the containers ended", nodes)
		}
		var waiting []string
		for _, pod := range pods {
			waiting = append(waiting, pod.Finalizers...)
		}
		if len(waiting) > 0 {
			why += fmt.Sprintf("; %s waits for that too", listed(waiting))
		}
		return why, v1alpha1.Remediation{
			Text: "See what the kubelet says: a process that does not end even when killed (it waits for a disk or an NFS server), a volume that cannot be unmounted, or a container runtime that does not answer. Mend that, or drain and restart the node. To force the deletion only takes the pod out of the API: its processes go on, and a second one may then write the same volume.",
			Commands: []string{
				fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=Pod,involvedObject.name=%s", pod.Namespace, pod.Name),
				fmt.Sprintf("kubectl describe node %s", pod.Node),
			},
		}
	}
	return "held by " + waitsFor(pod.Finalizers), v1alpha1.Remediation{
		Text:     "A finalizer is a piece of work that somebody has promised to do first. " + whose(pod.Finalizers) + " See why that does not run or does not get on, and mend it: the finalizer then goes by itself. What is removed by hand leaves that work undone for good, so do it only when nobody will ever do it.",
		Commands: []string{fmt.Sprintf("kubectl get pod %s -n %s -o jsonpath='{.metadata.finalizers}'", pod.Name, pod.Namespace)},
	}
}

func waitsFor(names []string) string {
	if len(names) == 1 {
		return "finalizer " + names[0]
	}
	return "finalizers " + listed(names)
}

// owners are whose the finalizers of Kubernetes itself are.
var owners = map[string]string{
	"batch.kubernetes.io/job-tracking": "the Job controller of kube-controller-manager",
	"foregroundDeletion":               "the garbage collector of kube-controller-manager, which deletes the dependents first",
	"orphan":                           "the garbage collector of kube-controller-manager",
	"kubernetes.io/pvc-protection":     "the PVC protection controller of kube-controller-manager",
	"snapshot.storage.kubernetes.io/pvc-as-source-protection": "the snapshot controller, which still takes a VolumeSnapshot of it",
	"provisioner.storage.kubernetes.io/cloning-protection":    "the CSI provisioner, which still makes a clone of it",
}

// whose tells who is to remove finalizers.
func whose(names []string) string {
	var sentences []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		if owner, known := owners[name]; known {
			sentences = append(sentences, fmt.Sprintf("%s is removed by %s.", name, owner))
		}
	}
	if len(sentences) == 0 {
		return "The part of its name before the slash tells whose it is."
	}
	return strings.Join(sentences, " ")
}
