// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
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
	there := len(inputs.Pods.List(view, service.Namespace, selector)) > 0
	switch {
	case there:
		b.why = "none of the pods that it selects is Ready"
	case selected > 0 && running == 0:
		b.why, b.zero = "what makes its pods is scaled to zero", true
	default:
		b.why = "it selects no pods"
	}
	return b
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
