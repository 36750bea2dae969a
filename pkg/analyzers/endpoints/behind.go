// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/live"
)

// behind is what stands behind a Service that has no ready endpoint.
type behind struct {
	why string
	// zero tells that everything that makes its pods was scaled to zero.
	zero bool
	// rolling tells that its pods are being replaced.
	rolling bool
}

// pods tells what stands behind a Service. It reads a whole namespace's workloads,
// and is for Services in trouble only.
func pods(view *live.View, service *corev1.Service) behind {
	if len(service.Spec.Selector) == 0 {
		return behind{why: "no endpoint that was written for it is ready"}
	}
	selector := labels.SelectorFromSet(service.Spec.Selector)
	var b behind
	var others []string
	var selected, running int
	note := func(template *corev1.PodTemplateSpec, replicas *int32, rolls bool) {
		if !selector.Matches(labels.Set(template.Labels)) {
			return
		}
		selected++
		if replicas == nil || *replicas > 0 {
			running++
			b.rolling = b.rolling || rolls
		}
	}
	for _, d := range inputs.Deployments.List(view, service.Namespace, nil) {
		note(&d.Spec.Template, d.Spec.Replicas, rolling(d))
	}
	for _, s := range inputs.StatefulSets.List(view, service.Namespace, nil) {
		rolls := s.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && s.Status.CurrentRevision != s.Status.UpdateRevision
		note(&s.Spec.Template, s.Spec.Replicas, rolls || s.Status.ObservedGeneration < s.Generation)
	}
	for _, d := range inputs.DaemonSets.List(view, service.Namespace, nil) {
		rolls := d.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType && d.Status.UpdatedNumberScheduled < d.Status.DesiredNumberScheduled
		note(&d.Spec.Template, nil, rolls || d.Status.ObservedGeneration < d.Generation)
	}
	for _, r := range newest(inputs.ReplicaSets.List(view, service.Namespace, selector)) {
		selected++
		if r.Annotations[rolloutReplicas] == "0" {
			continue
		}
		// How many pods another one is to have nobody but its maker knows, which may be of
		// another project. A new one is part of a rollout.
		running++
		others = append(others, makerOf(r))
		b.rolling = b.rolling || !after(view, r.CreationTimestamp.Add(rollingGrace))
	}
	var alive, over int
	for _, pod := range inputs.Pods.List(view, service.Namespace, selector) {
		if inputs.Finished(pod) {
			over++
		} else {
			alive++
		}
	}
	switch {
	case alive > 0:
		b.why = "none of the pods that it selects is Ready"
	case selected > 0 && running == 0:
		b.why, b.zero = "what makes its pods is scaled to zero", true
	case len(others) > 0:
		b.why = "there are no pods of " + workloads.Names(others) + ", which makes those that it selects"
	case over > 0:
		b.why = "the pods that it selects are over"
	default:
		b.why = "it selects no pods"
	}
	return b
}

// What Argo Rollouts writes on the ReplicaSets of a Rollout: how many replicas that is to
// have, and the number of the revision (argo-rollouts, utils/annotations).
const (
	rolloutReplicas = "rollout.argoproj.io/desired-replicas"
	rolloutRevision = "rollout.argoproj.io/revision"
)

// newest returns the ReplicaSets that no Deployment has made, and of several of one
// maker the one of its last revision. What others say is of an earlier time.
func newest(all []*metav1.PartialObjectMetadata) []*metav1.PartialObjectMetadata {
	revision := func(r *metav1.PartialObjectMetadata) int {
		number, err := strconv.Atoi(r.Annotations[rolloutRevision])
		if err != nil {
			return 0
		}
		return number
	}
	last := map[types.UID]*metav1.PartialObjectMetadata{}
	for _, r := range all {
		maker := r.UID
		if controller := metav1.GetControllerOfNoCopy(r); controller != nil {
			if controller.Kind == "Deployment" && strings.HasPrefix(controller.APIVersion, "apps/") {
				continue
			}
			maker = controller.UID
		}
		if before := last[maker]; before == nil || cmp.Or(cmp.Compare(revision(before), revision(r)), before.CreationTimestamp.Compare(r.CreationTimestamp.Time)) < 0 {
			last[maker] = r
		}
	}
	return slices.Collect(maps.Values(last))
}

// makerOf names what makes the pods of a ReplicaSet.
func makerOf(r *metav1.PartialObjectMetadata) string {
	if controller := metav1.GetControllerOfNoCopy(r); controller != nil {
		return controller.Kind + " " + controller.Name
	}
	return "ReplicaSet " + r.Name
}

// rolling tells whether a Deployment replaces its pods. The Deployment controller
// says so until its deadline has passed.
func rolling(d *appsv1.Deployment) bool {
	if d.Status.ObservedGeneration < d.Generation {
		return true
	}
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			return condition.Status == corev1.ConditionTrue && condition.Reason != "NewReplicaSetAvailable"
		}
	}
	return false
}
