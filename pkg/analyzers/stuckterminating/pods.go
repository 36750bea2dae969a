// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
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
	case exists && inputs.NodeSilent(node):
		return lostNode
	case held == finalizers && (!exists || inputs.Finished(pod) || pod.DeletionGracePeriodSeconds == nil):
		return finalizers
	case !exists:
		return goneNode
	}
	return kubelet
}

// Held is a pod that should have been gone for the grace, and that somebody holds. It has
// the pod's name and UID. The pods of one controller that are held alike are one trouble,
// and are put together once for a namespace.
type Held struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// Subject is the controller, which may be gone; of a pod without one the pod. A
	// Deployment is named without its UID.
	Subject v1alpha1.ObjectReference
	// By is who holds it, and Of its finalizers, sorted, where those do.
	By string
	Of string
	// Deleted is when the pod should have been gone.
	Deleted metav1.Time
}

// DeepCopyObject implements runtime.Object.
func (h *Held) DeepCopyObject() runtime.Object {
	out := *h
	out.ObjectMeta = *h.ObjectMeta.DeepCopy()
	return &out
}

const byNamespace = "namespace"

var held = live.NewDerived("held", map[string]func(*Held) []string{
	byNamespace: func(held *Held) []string { return []string{held.Namespace} },
})

func (a analyzer) holding() live.Rule {
	return live.Rule{
		Subject: inputs.Pods.Ref(), Reads: []live.KindRef{inputs.Nodes.Ref()}, Outputs: []live.KindRef{held.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			pod, exists := inputs.Pods.Get(view, subject)
			if !exists || !a.past(view, pod) {
				return nil, nil
			}
			by := hold(view, pod)
			if by == nobody || by == lostNode {
				return nil, nil
			}
			one := &Held{
				ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
				Subject:    workloads.PodReference(pod), By: string(by), Deleted: *pod.DeletionTimestamp,
			}
			// A node is no controller of several pods: it shows those that it has of its own.
			if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && owner.Kind != "Node" {
				one.Subject = v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name, UID: owner.UID}
				if name, is := deploymentOf(pod, owner); is {
					one.Subject = v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: deployment, Namespace: pod.Namespace, Name: name}
				}
			}
			if by == finalizers {
				one.Of = strings.Join(slices.Sorted(slices.Values(pod.Finalizers)), ",")
			}
			return []live.Output{live.Emit(held, one)}, nil
		},
	}
}

const deployment = "Deployment"

// deploymentOf returns the name of the Deployment of a pod, if it has one. A ReplicaSet has
// the name of its Deployment and a hash, which the pods have as a label
// (k8s.io/kubernetes, pkg/controller/deployment). So it is the same when the ReplicaSet is
// gone, as it is after some rollouts, or after the Deployment was deleted.
func deploymentOf(pod *corev1.Pod, owner *metav1.OwnerReference) (name string, is bool) {
	hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if hash == "" || owner.Kind != "ReplicaSet" || !strings.HasPrefix(owner.APIVersion, "apps/") {
		return "", false
	}
	name, is = strings.CutSuffix(owner.Name, "-"+hash)
	return name, is && name != ""
}

// alike is what makes one trouble of pods, whichever of them are left.
type alike struct {
	subject v1alpha1.ObjectReference
	by, of  string
}

func (g alike) discriminator() string {
	if g.of != "" {
		return g.by + " " + g.of
	}
	return g.by
}

// stuckPods are the findings about the pods of a namespace.
func stuckPods(view *live.View, namespace string) []v1alpha1.FindingSpec {
	groups := map[alike][]*Held{}
	for _, one := range held.ByIndex(view, byNamespace, namespace) {
		group := alike{one.Subject, one.By, one.Of}
		groups[group] = append(groups[group], one)
	}
	var found []v1alpha1.FindingSpec
	for group, of := range groups {
		slices.SortFunc(of, func(x, y *Held) int { return strings.Compare(x.Name, y.Name) })
		var pods []*corev1.Pod
		var related []v1alpha1.RelatedObject
		since := of[0].Deleted
		for _, one := range of {
			if one.Deleted.Before(&since) {
				since = one.Deleted
			}
			if pod, exists := inputs.Pods.Get(view, live.Key{Namespace: one.Namespace, Name: one.Name}); exists && pod.UID == one.UID {
				pods = append(pods, pod)
				related = append(related, v1alpha1.RelatedObject{Relation: "pod that cannot go", ObjectReference: workloads.PodReference(pod)})
			}
		}
		if len(pods) == 0 {
			continue // they have just gone, and this is about to be looked at again
		}
		who := said(namesOf(pods))
		if group.subject.Kind == "Pod" && group.subject.APIVersion == "v1" {
			related = nil // it is the subject
		} else {
			who += fmt.Sprintf(" of %s %s", group.subject.Kind, group.subject.Name)
		}
		subject := group.subject
		if subject.UID == "" && subject.Kind == deployment {
			if d, exists := inputs.Deployments.Get(view, live.Key{Namespace: namespace, Name: subject.Name}); exists {
				subject.UID = d.UID
			}
		}
		why, remediation := explain(pods, holder(group.by))
		remediation.Commands = append([]string{
			fmt.Sprintf("kubectl describe pod %s -n %s", pods[0].Name, namespace),
		}, remediation.Commands...)
		found = append(found, v1alpha1.FindingSpec{
			Reason: PodStuck, Severity: v1alpha1.SeverityWarning, Subject: subject, Discriminator: group.discriminator(), Related: related,
			Message:     fmt.Sprintf("%s should have been gone: %s.", who, why),
			Remediation: remediation,
			// Of those that are left the first may have been deleted later than those that went.
			Since: metav1.NewTime(view.Began(strings.Join([]string{PodStuck, cmp.Or(string(group.subject.UID), group.subject.Name), group.discriminator()}, " "), since.Time)),
		})
	}
	return found
}

func namesOf(pods []*corev1.Pod) (names []string) {
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return names
}

// nodesOf are the names of the nodes of pods, as a sentence lists them.
func nodesOf(pods []*corev1.Pod) (names string, several bool) {
	var all []string
	for _, pod := range pods {
		all = append(all, pod.Spec.NodeName)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return listed(all), len(all) > 1
}

func said(names []string) string {
	if len(names) == 1 {
		return "Pod " + names[0]
	}
	return "Pods " + listed(names)
}

// explain tells why pods do not go that are held alike, and what to do about the first.
func explain(pods []*corev1.Pod, by holder) (string, v1alpha1.Remediation) {
	pod := pods[0]
	nodes, several := nodesOf(pods)
	switch by {
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
				fmt.Sprintf("kubectl describe node %s", pod.Spec.NodeName),
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
