// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Held is a pod that should have been gone for the grace, and that somebody holds. It has
// the pod's name and UID. Those of one workload that are held alike are one trouble, and
// are put together once for all of them.
type Held struct {
	metav1.TypeMeta
	metav1.ObjectMeta // with the pod's finalizers, sorted

	// Controller is the pod's, if it has one.
	Controller types.UID
	// By is who holds the pod, and Node where it is.
	By   holder
	Node string
	// Deleted is when the pod should have been gone.
	Deleted metav1.Time
}

// DeepCopyObject implements runtime.Object.
func (h *Held) DeepCopyObject() runtime.Object {
	out := *h
	out.ObjectMeta = *h.ObjectMeta.DeepCopy()
	return &out
}

// alike tells pods of one workload apart that are held otherwise.
func (h *Held) alike() string {
	if h.By == finalizers {
		return strings.Join(append([]string{string(h.By)}, h.Finalizers...), " ")
	}
	return string(h.By)
}

// Unclaimed is a pod that is Held and that no controller's rule speaks for: it has none,
// or one that is gone, or of another project's kind.
type Unclaimed struct {
	Held

	// Of is the pod's controller; empty where nobody is, or its node.
	Of v1alpha1.ObjectReference
}

// DeepCopyObject implements runtime.Object.
func (l *Unclaimed) DeepCopyObject() runtime.Object {
	out := *l
	out.ObjectMeta = *l.ObjectMeta.DeepCopy()
	return &out
}

const (
	byController = "controller"
	byNamespace  = "namespace"
)

var (
	held = live.NewDerived("held", map[string]func(*Held) []string{
		byController: func(h *Held) []string { return []string{string(h.Controller)} },
	})
	unclaimed = live.NewDerived("unclaimed", map[string]func(*Unclaimed) []string{
		byNamespace: func(l *Unclaimed) []string {
			if l.Of.UID == "" {
				return nil
			}
			return []string{l.Namespace}
		},
	})
)

func (a analyzer) heldRule() live.Rule {
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
				ObjectMeta: metav1.ObjectMeta{
					Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Finalizers: slices.Sorted(slices.Values(pod.Finalizers)),
				},
				By: by, Node: pod.Spec.NodeName, Deleted: *pod.DeletionTimestamp,
			}
			if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
				one.Controller = owner.UID
			}
			return []live.Output{live.Emit(held, one)}, nil
		},
	}
}

// leftRule reads of each pod what makes it, and nothing that tells who holds it: what
// cannot be read of one has no part in what is found of others.
func leftRule() live.Rule {
	return live.Rule{
		Subject: held.Ref(), Reads: append(controllerReads(), inputs.Pods.Ref()), Outputs: []live.KindRef{unclaimed.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			one, exists := held.Get(view, subject)
			if !exists {
				return nil, nil
			}
			pod, exists := inputs.Pods.Get(view, subject)
			if !exists || pod.UID != one.UID {
				return nil, nil // this is about to be looked at again
			}
			of := &Unclaimed{Held: *one}
			if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
				if claimed(view, pod.Namespace, owner) {
					return nil, nil
				}
				// A node is no controller of several pods: it shows those that it has of its own.
				if owner.Kind != "Node" {
					of.Of = v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name, UID: owner.UID}
				}
			}
			return []live.Output{live.Emit(unclaimed, of)}, nil
		},
	}
}

// alone tells of a pod that has no controller.
func alone(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	pod, exists := unclaimed.Get(view, subject)
	if !exists || pod.Of.UID != "" {
		return nil, nil
	}
	spec := stuck([]*Held{&pod.Held}, "")
	spec.Subject = v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	spec.Since = pod.Deleted
	return []v1alpha1.FindingSpec{spec}, nil
}

// leftIn tells which pods of a namespace do not go whose controllers no rule is about.
func leftIn(view *live.View, namespace string) (found []v1alpha1.FindingSpec) {
	controllers := map[v1alpha1.ObjectReference][]*Held{}
	for _, pod := range unclaimed.ByIndex(view, byNamespace, namespace) {
		controllers[pod.Of] = append(controllers[pod.Of], &pod.Held)
	}
	for of, pods := range controllers {
		// It is not what was found of the controller while it was there.
		found = append(found, together(view, of, "left ", pods)...)
	}
	return found
}

// together makes one finding about a controller of each of its pods that are held alike,
// from the first of them that should have been gone until the last one has.
func together(view *live.View, of v1alpha1.ObjectReference, discriminator string, pods []*Held) []v1alpha1.FindingSpec {
	groups := map[string][]*Held{}
	for _, pod := range pods {
		groups[pod.alike()] = append(groups[pod.alike()], pod)
	}
	var found []v1alpha1.FindingSpec
	for _, how := range slices.Sorted(maps.Keys(groups)) {
		group := groups[how]
		slices.SortFunc(group, func(x, y *Held) int { return strings.Compare(x.Name, y.Name) })
		spec := stuck(group, fmt.Sprintf(" of %s %s", of.Kind, of.Name))
		spec.Subject, spec.Discriminator = of, discriminator+how
		since := group[0].Deleted
		for _, pod := range group {
			if pod.Deleted.Before(&since) {
				since = pod.Deleted
			}
			spec.Related = append(spec.Related, v1alpha1.RelatedObject{Relation: "pod that cannot go", ObjectReference: v1alpha1.ObjectReference{
				APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			}})
		}
		// Of those that are left the first may have been deleted later than those that went.
		spec.Since = metav1.NewTime(view.Began(strings.Join([]string{PodStuck, string(of.UID), spec.Discriminator}, " "), since.Time))
		found = append(found, spec)
	}
	return found
}

// stuck is what there is to say of pods that are held alike, in the order of their names.
func stuck(pods []*Held, of string) v1alpha1.FindingSpec {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	why, remediation := explain(pods)
	remediation.Commands = append([]string{fmt.Sprintf("kubectl describe pod %s -n %s", pods[0].Name, pods[0].Namespace)}, remediation.Commands...)
	return v1alpha1.FindingSpec{
		Reason: PodStuck, Severity: v1alpha1.SeverityWarning, Remediation: remediation,
		Message: fmt.Sprintf("%s%s should have been gone: %s.", said(names), of, why),
	}
}

// nodesOf are the names of the nodes of pods, as a sentence lists them.
func nodesOf(pods []*Held) (names string, several bool) {
	var all []string
	for _, pod := range pods {
		all = append(all, pod.Node)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return listed(all), len(all) > 1
}
