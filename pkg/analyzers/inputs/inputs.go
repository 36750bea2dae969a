// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inputs declares what analyzers and proposals read from the cluster,
// each kind once, trimmed to the fields that somebody reads.
package inputs

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/live"
)

// ByController finds objects by the UID of their controller.
const ByController = "controller"

// Inputs of the live view. Of ConfigMaps and Secrets only metadata is asked for,
// so no value ever reaches this process.
var (
	Pods = live.NewInput(corev1.SchemeGroupVersion.WithResource("pods"), live.InputOptions[*corev1.Pod]{
		Trim: trimPod, Indexes: byController[*corev1.Pod](),
	})
	StatefulSets = live.NewInput(appsv1.SchemeGroupVersion.WithResource("statefulsets"), live.InputOptions[*appsv1.StatefulSet]{
		Trim: func(in *appsv1.StatefulSet) *appsv1.StatefulSet {
			trimMeta(&in.ObjectMeta)
			trimTemplate(&in.Spec.Template)
			in.Spec.VolumeClaimTemplates = nil
			return in
		},
	})
	Deployments = live.NewInput(appsv1.SchemeGroupVersion.WithResource("deployments"), live.InputOptions[*appsv1.Deployment]{
		Trim: func(in *appsv1.Deployment) *appsv1.Deployment {
			trimMeta(&in.ObjectMeta)
			trimTemplate(&in.Spec.Template)
			return in
		},
	})
	DaemonSets = live.NewInput(appsv1.SchemeGroupVersion.WithResource("daemonsets"), live.InputOptions[*appsv1.DaemonSet]{
		Trim: func(in *appsv1.DaemonSet) *appsv1.DaemonSet {
			trimMeta(&in.ObjectMeta)
			trimTemplate(&in.Spec.Template)
			return in
		},
	})
	ReplicaSets = live.NewInput(appsv1.SchemeGroupVersion.WithResource("replicasets"), live.InputOptions[*metav1.PartialObjectMetadata]{
		Trim: trimMetadata, Indexes: byController[*metav1.PartialObjectMetadata](),
	})
	Jobs = live.NewInput(batchv1.SchemeGroupVersion.WithResource("jobs"), live.InputOptions[*batchv1.Job]{
		Trim: func(in *batchv1.Job) *batchv1.Job {
			trimMeta(&in.ObjectMeta)
			in.Spec.Template = trimJobTemplate(&in.Spec.Template)
			return in
		},
	})
	CronJobs = live.NewInput(batchv1.SchemeGroupVersion.WithResource("cronjobs"), live.InputOptions[*batchv1.CronJob]{
		Trim: func(in *batchv1.CronJob) *batchv1.CronJob {
			trimMeta(&in.ObjectMeta)
			in.Spec.JobTemplate.Spec.Template = trimJobTemplate(&in.Spec.JobTemplate.Spec.Template)
			return in
		},
	})
	Ingresses = live.NewInput(networkingv1.SchemeGroupVersion.WithResource("ingresses"), live.InputOptions[*networkingv1.Ingress]{
		Trim: func(in *networkingv1.Ingress) *networkingv1.Ingress {
			trimMeta(&in.ObjectMeta)
			in.Spec = networkingv1.IngressSpec{TLS: in.Spec.TLS}
			in.Status = networkingv1.IngressStatus{}
			return in
		},
	})
	ConfigMaps = live.NewInput(corev1.SchemeGroupVersion.WithResource("configmaps"), live.InputOptions[*metav1.PartialObjectMetadata]{Trim: trimToChange})
	Secrets    = live.NewInput(corev1.SchemeGroupVersion.WithResource("secrets"), live.InputOptions[*metav1.PartialObjectMetadata]{Trim: trimToChange})

	Namespaces = live.NewInput(corev1.SchemeGroupVersion.WithResource("namespaces"), live.InputOptions[*corev1.Namespace]{
		Trim: func(in *corev1.Namespace) *corev1.Namespace { trimMeta(&in.ObjectMeta); return in },
	})
	Roles = live.NewInput(rbacv1.SchemeGroupVersion.WithResource("roles"), live.InputOptions[*rbacv1.Role]{
		Trim: func(in *rbacv1.Role) *rbacv1.Role { keepChange(&in.ObjectMeta); return in },
	})
	ClusterRoles = live.NewInput(rbacv1.SchemeGroupVersion.WithResource("clusterroles"), live.InputOptions[*rbacv1.ClusterRole]{
		Trim: func(in *rbacv1.ClusterRole) *rbacv1.ClusterRole { keepChange(&in.ObjectMeta); return in },
	})
)

func byController[T live.Object]() map[string]func(T) []string {
	return map[string]func(T) []string{ByController: func(object T) []string {
		if controller := metav1.GetControllerOf(object); controller != nil {
			return []string{string(controller.UID)}
		}
		return nil
	}}
}

// Controls returns the index value under which what an object controls is found.
func Controls(uid types.UID) string { return string(uid) }

// Changed returns when an object was last changed: the newest entry of its
// managedFields that is not of a subresource, else its creation.
func Changed(object metav1.Object) metav1.Time {
	newest := object.GetCreationTimestamp()
	for _, entry := range object.GetManagedFields() {
		if entry.Subresource == "" && entry.Time != nil && entry.Time.After(newest.Time) {
			newest = *entry.Time
		}
	}
	return newest
}

// lastApplied repeats a whole object and may hold anything.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func trimMeta(meta *metav1.ObjectMeta) {
	meta.ManagedFields = nil
	delete(meta.Annotations, lastApplied)
}

// keepChange trims all of managedFields but the time of the last change.
func keepChange(meta *metav1.ObjectMeta) {
	changed := Changed(meta)
	trimMeta(meta)
	if changed.After(meta.CreationTimestamp.Time) {
		meta.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &changed}}
	}
}

func trimMetadata(in *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	trimMeta(&in.ObjectMeta)
	return in
}

// trimToChange keeps what tells which object it is and when it changed.
func trimToChange(in *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	keepChange(&in.ObjectMeta)
	in.Annotations = nil
	return in
}

func trimTemplate(template *corev1.PodTemplateSpec) {
	template.Spec = trimPodSpec(&template.Spec)
	delete(template.Annotations, lastApplied)
}

// trimJobTemplate keeps what tells whether two templates start the same, with
// images: what a container waits for may be one.
func trimJobTemplate(in *corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	out := corev1.PodTemplateSpec{Spec: trimPodSpec(&in.Spec)}
	for i := range out.Spec.Containers {
		out.Spec.Containers[i].Image = in.Spec.Containers[i].Image
	}
	for i := range out.Spec.InitContainers {
		out.Spec.InitContainers[i].Image = in.Spec.InitContainers[i].Image
	}
	return out
}

// trimPod keeps where a pod runs, whether it is Ready, and what its containers
// wait for. What it is made of is read from the template of its workload.
func trimPod(in *corev1.Pod) *corev1.Pod {
	trimMeta(&in.ObjectMeta)
	return &corev1.Pod{
		ObjectMeta: in.ObjectMeta,
		Spec:       corev1.PodSpec{NodeName: in.Spec.NodeName},
		Status: corev1.PodStatus{
			Phase: in.Status.Phase, StartTime: in.Status.StartTime, Reason: in.Status.Reason,
			Conditions:        readiness(in.Status.Conditions),
			ContainerStatuses: waiting(in.Status.ContainerStatuses), InitContainerStatuses: waiting(in.Status.InitContainerStatuses),
		},
	}
}

// readiness keeps the condition Ready, and of it what tells since when.
func readiness(in []corev1.PodCondition) []corev1.PodCondition {
	for _, condition := range in {
		if condition.Type == corev1.PodReady {
			return []corev1.PodCondition{{
				Type: condition.Type, Status: condition.Status, Reason: condition.Reason, LastTransitionTime: condition.LastTransitionTime,
			}}
		}
	}
	return nil
}

// waiting keeps the containers that wait, and for what.
func waiting(in []corev1.ContainerStatus) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for _, status := range in {
		if why := status.State.Waiting; why != nil {
			out = append(out, corev1.ContainerStatus{
				Name: status.Name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: why.Reason}},
			})
		}
	}
	return out
}

// trimPodSpec keeps which containers there are and which ConfigMaps and Secrets they use.
func trimPodSpec(in *corev1.PodSpec) corev1.PodSpec {
	out := corev1.PodSpec{
		Containers: trimContainers(in.Containers), InitContainers: trimContainers(in.InitContainers),
	}
	for _, volume := range in.Volumes {
		if volume.ConfigMap != nil || volume.Secret != nil || volume.Projected != nil {
			out.Volumes = append(out.Volumes, volume)
		}
	}
	return out
}

func trimContainers(in []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for _, container := range in {
		kept := corev1.Container{Name: container.Name, EnvFrom: container.EnvFrom, VolumeMounts: container.VolumeMounts}
		for _, env := range container.Env {
			// Values in the spec are nobody's business here.
			if env.ValueFrom != nil && (env.ValueFrom.ConfigMapKeyRef != nil || env.ValueFrom.SecretKeyRef != nil) {
				kept.Env = append(kept.Env, corev1.EnvVar{Name: env.Name, ValueFrom: env.ValueFrom})
			}
		}
		out = append(out, kept)
	}
	return out
}
