// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// freshCrashed deletes a pod that crashes where the next one would not be the same:
// what the pod takes from a ConfigMap or Secret is another since it crashed.
func freshCrashed(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	for _, related := range finding.Spec.Related {
		if related.Kind != "Pod" {
			continue
		}
		pod, exists := inputs.Pods.Get(view, live.Key{Namespace: related.Namespace, Name: related.Name})
		if !exists || pod.UID != related.UID || pod.DeletionTimestamp != nil {
			continue
		}
		if why := whyFresh(view, finding.Spec.Subject, pod); why != "" {
			return fix{action: v1alpha1.ActionDeletePod, target: related.ObjectReference, rationale: why}, true
		}
	}
	return fix{}, false
}

// whyFresh tells why a fresh pod may work where this one crashes; empty if it would
// crash just the same.
func whyFresh(view *live.View, subject v1alpha1.ObjectReference, pod *corev1.Pod) string {
	key := live.Key{Namespace: subject.Namespace, Name: subject.Name}
	var template *corev1.PodTemplateSpec
	switch subject.Kind {
	case "StatefulSet":
		set, exists := inputs.StatefulSets.Get(view, key)
		if !exists || set.UID != subject.UID || set.DeletionTimestamp != nil {
			return ""
		}
		template = &set.Spec.Template
	case "Deployment":
		deployment, exists := inputs.Deployments.Get(view, key)
		if !exists || deployment.UID != subject.UID || deployment.DeletionTimestamp != nil {
			return ""
		}
		template = &deployment.Spec.Template
	case "DaemonSet":
		set, exists := inputs.DaemonSets.Get(view, key)
		if !exists || set.UID != subject.UID || set.DeletionTimestamp != nil {
			return ""
		}
		template = &set.Spec.Template
	default:
		return "" // nobody is known to make another pod
	}
	crashed, waits := waitsSince(pod)
	if !waits {
		return ""
	}
	for _, from := range configurationOf(&template.Spec) {
		object, exists := from.get(view, pod.Namespace)
		if exists && inputs.Changed(object).After(crashed) {
			return fmt.Sprintf("%s %s, which pod %s takes its configuration from, was made or changed after the pod crashed last. The kubelet waits up to 5 minutes before it starts the pod's container again; a fresh pod starts with it at once.",
				from.kind, from.name, pod.Name)
		}
	}
	return ""
}

// waitsSince tells when the container of a pod that waits between two starts ended.
func waitsSince(pod *corev1.Pod) (ended time.Time, waits bool) {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		wait, last := status.State.Waiting, status.LastTerminationState.Terminated
		if wait != nil && wait.Reason == "CrashLoopBackOff" && last != nil && !last.FinishedAt.IsZero() && last.FinishedAt.After(ended) {
			ended, waits = last.FinishedAt.Time, true
		}
	}
	return ended, waits
}

// configuration is a ConfigMap or Secret that pods take something from.
type configuration struct{ kind, name string }

func (c configuration) get(view *live.View, namespace string) (*metav1.PartialObjectMetadata, bool) {
	key := live.Key{Namespace: namespace, Name: c.name}
	if c.kind == "Secret" {
		return inputs.Secrets.Get(view, key)
	}
	return inputs.ConfigMaps.Get(view, key)
}

// configurationOf returns the ConfigMaps and Secrets that pods of a template take
// their environment and their files from, ConfigMaps first.
func configurationOf(spec *corev1.PodSpec) []configuration {
	var all []configuration
	add := func(kind, name string) { all = append(all, configuration{kind, name}) }
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, from := range container.EnvFrom {
			if from.ConfigMapRef != nil {
				add("ConfigMap", from.ConfigMapRef.Name)
			}
			if from.SecretRef != nil {
				add("Secret", from.SecretRef.Name)
			}
		}
		for _, env := range container.Env {
			if env.ValueFrom != nil && env.ValueFrom.ConfigMapKeyRef != nil {
				add("ConfigMap", env.ValueFrom.ConfigMapKeyRef.Name)
			}
			if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
				add("Secret", env.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	for _, volume := range spec.Volumes {
		projections := []corev1.VolumeProjection{}
		if volume.Projected != nil {
			projections = volume.Projected.Sources
		}
		if volume.ConfigMap != nil {
			add("ConfigMap", volume.ConfigMap.Name)
		}
		if volume.Secret != nil {
			add("Secret", volume.Secret.SecretName)
		}
		for _, projection := range projections {
			if projection.ConfigMap != nil {
				add("ConfigMap", projection.ConfigMap.Name)
			}
			if projection.Secret != nil {
				add("Secret", projection.Secret.Name)
			}
		}
	}
	slices.SortFunc(all, func(a, b configuration) int { return strings.Compare(a.kind+" "+a.name, b.kind+" "+b.name) })
	return slices.Compact(all)
}
