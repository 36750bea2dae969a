// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package configdrift

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// source is a ConfigMap or Secret, by kind and name, in the workload's namespace.
type source struct{ kind, name string }

func (s source) String() string { return s.kind + " " + s.name }

// taken is a source with the containers that take its content over.
type taken struct {
	source
	containers []string
}

// frozen returns the ConfigMaps and Secrets whose content a container takes once,
// when it starts: those in environment variables and those mounted with a subPath.
// What is mounted whole follows by itself.
func frozen(spec *corev1.PodSpec) []taken {
	by := map[source][]string{}
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, s := range sourcesIn(container, spec.Volumes) {
			if !slices.Contains(by[s], container.Name) {
				by[s] = append(by[s], container.Name)
			}
		}
	}
	var found []taken
	for s, containers := range by {
		found = append(found, taken{s, containers})
	}
	slices.SortFunc(found, func(a, b taken) int { return strings.Compare(a.String(), b.String()) })
	return found
}

func sourcesIn(container corev1.Container, volumes []corev1.Volume) []source {
	var found []source
	for _, from := range container.EnvFrom {
		if from.ConfigMapRef != nil {
			found = append(found, source{"ConfigMap", from.ConfigMapRef.Name})
		}
		if from.SecretRef != nil {
			found = append(found, source{"Secret", from.SecretRef.Name})
		}
	}
	for _, env := range container.Env {
		if env.ValueFrom != nil && env.ValueFrom.ConfigMapKeyRef != nil {
			found = append(found, source{"ConfigMap", env.ValueFrom.ConfigMapKeyRef.Name})
		}
		if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
			found = append(found, source{"Secret", env.ValueFrom.SecretKeyRef.Name})
		}
	}
	for _, mount := range container.VolumeMounts {
		if mount.SubPath != "" || mount.SubPathExpr != "" {
			found = append(found, sourcesOf(volumes, mount.Name)...)
		}
	}
	return found
}

func sourcesOf(volumes []corev1.Volume, name string) []source {
	var found []source
	for _, volume := range volumes {
		if volume.Name != name {
			continue
		}
		if volume.ConfigMap != nil {
			found = append(found, source{"ConfigMap", volume.ConfigMap.Name})
		}
		if volume.Secret != nil {
			found = append(found, source{"Secret", volume.Secret.SecretName})
		}
		if volume.Projected != nil {
			for _, projection := range volume.Projected.Sources {
				if projection.ConfigMap != nil {
					found = append(found, source{"ConfigMap", projection.ConfigMap.Name})
				}
				if projection.Secret != nil {
					found = append(found, source{"Secret", projection.Secret.Name})
				}
			}
		}
	}
	return found
}
