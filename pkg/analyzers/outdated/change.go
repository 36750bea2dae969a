// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package outdated

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/live"
)

// change is between the revision that a pod is of and the one that it would be made of
// now. What admission adds to pods has no part in it: the next one gets that too.
type change struct{ was, is *appsv1.ControllerRevision }

// changeOf returns it, if both revisions are there. A StatefulSet keeps those of its
// pods whatever its revisionHistoryLimit is.
func changeOf(view *live.View, set *appsv1.StatefulSet, pod *corev1.Pod, present string) (change, bool) {
	was, had := inputs.ControllerRevisions.Get(view, live.Key{Namespace: set.Namespace, Name: pod.Labels[appsv1.ControllerRevisionHashLabelKey]})
	is, has := inputs.ControllerRevisions.Get(view, live.Key{Namespace: set.Namespace, Name: present})
	return change{was, is}, had && has && metav1.IsControlledBy(was, set) && metav1.IsControlledBy(is, set)
}

// differs tells whether a part is certainly another: of containers, that of each one
// which waits.
func (c change) differs(pod *corev1.Pod, part inputs.TemplatePart) bool {
	if !part.OfContainer() {
		return c.differsIn(part, "")
	}
	waiting := waitingContainers(pod)
	return len(waiting) > 0 && !slices.ContainsFunc(waiting, func(container string) bool { return !c.differsIn(part, container) })
}

func (c change) differsIn(part inputs.TemplatePart, container string) bool {
	was, had := inputs.PartOf(c.was, part, container)
	is, has := inputs.PartOf(c.is, part, container)
	if part.OfContainer() && had && !has {
		_, stays := inputs.PartOf(c.is, inputs.PartImage, container)
		return !stays // it is gone, or its image has a name that tells nothing
	}
	return had && has && was != is
}

// waitsForTheSameImage tells whether a container of a pod waits for an image that the
// next one would pull in the same way.
func (c change) waitsForTheSameImage(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(status corev1.ContainerStatus) bool {
		return workloads.WaitsForImage(status) && !c.differsIn(inputs.PartImage, status.Name) &&
			!c.differsIn(inputs.PartPullPolicy, status.Name) && !c.differsIn(inputs.PartPullSecrets, "")
	})
}

// waitingContainers are those that wait for their image, else those that cannot be
// made as the template says.
func waitingContainers(pod *corev1.Pod) (names []string) {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if workloads.WaitsForImage(status) {
			names = append(names, status.Name)
		}
	}
	if len(names) > 0 {
		return names
	}
	for _, wait := range references.Waits(pod) {
		names = append(names, wait.Container)
	}
	return names
}
