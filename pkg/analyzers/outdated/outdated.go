// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outdated knows the pods that a StatefulSet keeps though its template has
// changed since. Its controller waits for each pod to become Ready before it replaces
// any, so one that cannot become Ready stays, even after the template was mended or set
// back (k8s.io/kubernetes, pkg/controller/statefulset, and its issue 67250).
package outdated

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Reads are what telling that reads, beside pods.
func Reads() []live.KindRef {
	return []live.KindRef{inputs.StatefulSets.Ref(), inputs.Nodes.Ref(), inputs.ControllerRevisions.Ref()}
}

// Of returns the StatefulSet that keeps a pod which would be made otherwise now, if
// deleting the pod can help: it is not on a node that is away, one of the parts of the
// template that its trouble hangs on is another by now, and what its containers wait
// for, or what else is known to be missing, the present template does not ask for. Where
// that cannot be told it cannot.
func Of(view *live.View, pod *corev1.Pod, hangsOn []inputs.TemplatePart, missing ...references.Item) (*appsv1.StatefulSet, bool) {
	set, present := keeper(view, pod)
	if set == nil || workloads.OnLostNode(view, pod) {
		return nil, false
	}
	since, known := changeOf(view, set, pod, present)
	if !known || !slices.ContainsFunc(hangsOn, func(part inputs.TemplatePart) bool { return since.differs(pod, part) }) {
		return nil, false
	}
	if since.waitsForTheSameImage(pod) || asksForTheSame(set, present, pod, missing) {
		return nil, false
	}
	return set, true
}

// Kept tells whether a StatefulSet keeps a pod that is not Ready though it would be
// made of another revision now, whether that would help or not.
func Kept(view *live.View, pod *corev1.Pod) bool {
	set, _ := keeper(view, pod)
	return set != nil
}

// Shown are the parts of the template that the trouble of a pod hangs on as far as its
// status alone shows it. What it does not show, such as why an image cannot be pulled,
// may have to do with the template or not, so these are the parts that count in any case.
func Shown(pod *corev1.Pod) []inputs.TemplatePart {
	statuses := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	_, waitsForVolumes := workloads.WaitsForVolumes(pod)
	switch {
	case pod.Spec.NodeName == "":
		return []inputs.TemplatePart{inputs.PartScheduling}
	case slices.ContainsFunc(statuses, workloads.WaitsForImage):
		return []inputs.TemplatePart{inputs.PartRegistry}
	case len(references.Waits(pod)) > 0:
		return []inputs.TemplatePart{inputs.PartConfiguration}
	case waitsForVolumes:
		return nil
	}
	return []inputs.TemplatePart{inputs.PartRun}
}

// Runs tells whether a pod has been started, and none of its containers waits or has
// ended: it may be about to become Ready, as a database that recovers is, and would
// begin anew. What is kept of a pod does not say more of containers that run.
func Runs(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && !slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Waiting != nil || c.State.Terminated != nil
	})
}

// Stopped are the pods that do not run.
func Stopped(pods ...*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), Runs)
}

func setOf(view *live.View, pod *corev1.Pod) (*appsv1.StatefulSet, bool) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind != "StatefulSet" || !strings.HasPrefix(owner.APIVersion, appsv1.GroupName+"/") {
		return nil, false
	}
	set, exists := inputs.StatefulSets.Get(view, live.Key{Namespace: pod.Namespace, Name: owner.Name})
	return set, exists && set.UID == owner.UID && set.DeletionTimestamp == nil
}

// keeper returns the StatefulSet that keeps a pod which is not Ready and of another
// revision than it would be made of now, with the name of that one; nil if none does.
func keeper(view *live.View, pod *corev1.Pod) (set *appsv1.StatefulSet, present string) {
	set, has := setOf(view, pod)
	stuck := pod.DeletionTimestamp == nil && !inputs.Finished(pod) && inputs.ConditionOfPod(pod, corev1.PodReady).Status != corev1.ConditionTrue
	revision := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	if !has || !stuck || revision == "" || set.Status.ObservedGeneration < set.Generation || !keeps(set) {
		return nil, ""
	}
	present = set.Status.UpdateRevision
	if ordinal, err := strconv.Atoi(strings.TrimPrefix(pod.Name, set.Name+"-")); err != nil {
		return nil, ""
	} else if ordinal < firstUpdated(set) {
		present = set.Status.CurrentRevision
	}
	if present == "" || revision == present {
		return nil, ""
	}
	return set, present
}

// keeps tells whether the controller leaves a pod that is not Ready as it is when the
// template changes. With OnDelete it leaves all, and whoever deletes them has an order
// of their own.
func keeps(set *appsv1.StatefulSet) bool {
	switch set.Spec.UpdateStrategy.Type {
	case "", appsv1.RollingUpdateStatefulSetStrategyType:
		return set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
	}
	return false
}

// firstUpdated is the first ordinal that is made from the new revision: what is below
// the partition is made from the one before.
func firstUpdated(set *appsv1.StatefulSet) (ordinal int) {
	if set.Spec.Ordinals != nil {
		ordinal = int(set.Spec.Ordinals.Start)
	}
	update := set.Spec.UpdateStrategy.RollingUpdate
	if update != nil && update.Partition != nil {
		ordinal += int(*update.Partition)
	}
	return ordinal
}

// asksForTheSame tells whether a pod waits for a key or an object that the revision
// asks for too which it would be made of now. Of those, the template is that of the
// newest one.
func asksForTheSame(set *appsv1.StatefulSet, present string, pod *corev1.Pod, missing []references.Item) bool {
	for _, wait := range references.Waits(pod) {
		missing = append(missing, wait.Missing)
	}
	required := references.Required(pod.Namespace, &set.Spec.Template.Spec)
	return slices.ContainsFunc(missing, func(m references.Item) bool {
		asks := func(item references.Item) bool {
			return item.Kind == m.Kind && (m.Key == "" || item.Key == m.Key) && (m.Name == "" || item.Name == m.Name)
		}
		return m.Kind != "" && (present != set.Status.UpdateRevision || slices.ContainsFunc(required, asks))
	})
}

// Advise returns what to do about a trouble of some pods, where some of them, or all,
// are outdated: to delete those. Of others of a StatefulSet it adds that they have to be
// deleted once the template is mended, and so where the revisions cannot be read.
func Advise(view *live.View, pods []*corev1.Pod, hangsOn []inputs.TemplatePart, otherwise v1alpha1.Remediation, missing ...references.Item) v1alpha1.Remediation {
	var kept *appsv1.StatefulSet
	var stuck []string
	claims := true
	for _, pod := range pods {
		var set *appsv1.StatefulSet
		outdated := false
		if view.Try(func() { set, outdated = Of(view, pod, hangsOn, missing...) }) && outdated {
			kept, stuck = set, append(stuck, pod.Name)
			claims = claims && workloads.HasClaim(pod)
		}
	}
	if kept == nil {
		if len(pods) == 0 {
			return otherwise
		}
		if set, has := setOf(view, pods[0]); has && keeps(set) && !workloads.OnLostNode(view, pods[0]) {
			otherwise.Text += " If the template is changed for that, delete the pod then: a StatefulSet does not replace one that is not Ready."
		}
		return otherwise
	}
	slices.Sort(stuck)
	stuck = stuck[:min(len(stuck), most)]
	remove := fmt.Sprintf("kubectl delete pod %s -n %s", strings.Join(stuck, " "), kept.Namespace)
	anew := "from the present template, and what it keeps outside a claim is lost"
	if claims {
		anew = "on the same volume, from the present template"
	}
	text := fmt.Sprintf("The template of StatefulSet %s was changed or set back since pod %s was made, and its controller waits for the pod to become Ready before it replaces it. Delete the pod: it is made anew, %s.",
		kept.Name, workloads.Names(stuck), anew)
	return v1alpha1.Remediation{Text: otherwise.Text + " " + text, Commands: append(slices.Clone(otherwise.Commands), remove)}
}

// most is how many pods a command names.
const most = 10
