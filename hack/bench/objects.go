// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	revision = "7c9d5f6b84"
	// envValues is how many environment variables with a value a container has,
	// beside one from a ConfigMap and one from a Secret.
	envValues = 10
)

func podTemplate(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{"app": name},
			Annotations: map[string]string{"prometheus.io/scrape": "true"},
		},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](30),
			Containers:                    []corev1.Container{container(name, "main", 8080), container(name, "proxy", 15001)},
			Volumes: []corev1.Volume{
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: name},
				}}},
			},
		},
	}
}

func container(workload, name string, port int32) corev1.Container {
	own := corev1.LocalObjectReference{Name: workload}
	env := []corev1.EnvVar{
		{Name: "LOG_LEVEL", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: own, Key: "log-level"}}},
		{Name: "DATABASE_PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: own, Key: "password"}}},
	}
	for i := range envValues {
		env = append(env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%02d", i), Value: fmt.Sprintf("%s-%02d.svc", workload, i)})
	}
	return corev1.Container{
		Name: name, Image: "registry.example.com/payments/" + name + ":v1.4.2", Env: env,
		Ports: []corev1.ContainerPort{{Name: "http-" + name, ContainerPort: port}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/config"}},
	}
}

func pod(w *workload, name string, owner metav1.Object, kind string) *corev1.Pod {
	template := podTemplate(w.name)
	template.Labels["pod-template-hash"] = revision
	if kind == "StatefulSet" {
		template.Labels[appsv1.ControllerRevisionHashLabelKey] = w.name + "-" + revision
	}
	template.Spec.NodeName = fmt.Sprintf("node-%02d", len(name)%10)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: controlledBy(kind, owner),
		},
		Spec: template.Spec,
	}
}

func controlledBy(kind string, owner metav1.Object) []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: kind, Name: owner.GetName(), UID: owner.GetUID(),
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
	}}
}

// podStatus is that of a running pod whose Ready condition is as of then.
func podStatus(ready bool, restarts int32, started, then time.Time) corev1.PodStatus {
	status, since := corev1.ConditionTrue, metav1.NewTime(then)
	if !ready {
		status = corev1.ConditionFalse
	}
	begun := metav1.NewTime(started)
	out := corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &begun, HostIP: "10.1.0.1", HostIPs: []corev1.HostIP{{IP: "10.1.0.1"}},
		PodIP: "10.2.0.1", PodIPs: []corev1.PodIP{{IP: "10.2.0.1"}}, QOSClass: corev1.PodQOSBurstable,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: begun},
			{Type: corev1.PodReady, Status: status, LastTransitionTime: since},
			{Type: corev1.ContainersReady, Status: status, LastTransitionTime: since},
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: begun},
		},
	}
	for i, name := range []string{"main", "proxy"} {
		out.ContainerStatuses = append(out.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Ready: ready || i > 0, Started: ptr.To(true), RestartCount: restarts,
			Image:       "registry.example.com/payments/" + name + ":v1.4.2",
			ImageID:     "registry.example.com/payments/" + name + "@sha256:" + strings.Repeat("5e", 32),
			ContainerID: "containerd://" + strings.Repeat("a7", 32),
			State:       corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: begun}},
		})
	}
	return out
}

func statefulSet(w *workload, replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		// Its pods may say that they started before their configuration was made here, and
		// nothing is to be found of that.
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: w.name, Labels: map[string]string{"app": w.name},
			Annotations: map[string]string{"reloader.stakater.com/auto": "true"},
		},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: w.name, Replicas: &replicas, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": w.name}}, Template: podTemplate(w.name),
		},
	}
}

func deployment(w *workload, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: w.name, Labels: map[string]string{"app": w.name}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": w.name}}, Template: podTemplate(w.name),
		},
	}
}

func replicaSet(w *workload, replicas int32, owner types.UID) *appsv1.ReplicaSet {
	template := podTemplate(w.name)
	template.Labels["pod-template-hash"] = revision
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: w.name + "-" + revision, Labels: template.Labels,
			OwnerReferences: controlledBy("Deployment", &metav1.ObjectMeta{Name: w.name, UID: owner}),
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": w.name, "pod-template-hash": revision}}, Template: template,
		},
	}
}
