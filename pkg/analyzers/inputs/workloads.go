// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
)

// What makes pods.
var (
	StatefulSets = live.NewInput(appsv1.SchemeGroupVersion.WithResource("statefulsets"), live.InputOptions[*appsv1.StatefulSet]{
		Indexes: map[string]func(*appsv1.StatefulSet) []string{
			ByServiceAccount: func(in *appsv1.StatefulSet) []string { return accountOf(in, &in.Spec.Template) },
		},
		Trim: func(in *appsv1.StatefulSet) *appsv1.StatefulSet {
			trimMeta(&in.ObjectMeta)
			trimTemplate(&in.Spec.Template)
			in.Spec.VolumeClaimTemplates = nil
			return in
		},
	})
	Deployments = live.NewInput(appsv1.SchemeGroupVersion.WithResource("deployments"), live.InputOptions[*appsv1.Deployment]{
		Indexes: map[string]func(*appsv1.Deployment) []string{
			ByServiceAccount: func(in *appsv1.Deployment) []string { return accountOf(in, &in.Spec.Template) },
		},
		Trim: func(in *appsv1.Deployment) *appsv1.Deployment {
			trimMeta(&in.ObjectMeta)
			trimTemplate(&in.Spec.Template)
			return in
		},
	})
	DaemonSets = live.NewInput(appsv1.SchemeGroupVersion.WithResource("daemonsets"), live.InputOptions[*appsv1.DaemonSet]{
		Indexes: map[string]func(*appsv1.DaemonSet) []string{
			ByServiceAccount: func(in *appsv1.DaemonSet) []string { return accountOf(in, &in.Spec.Template) },
		},
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
		Indexes: map[string]func(*batchv1.Job) []string{
			ByController:     controller[*batchv1.Job],
			ByServiceAccount: func(in *batchv1.Job) []string { return accountOf(in, &in.Spec.Template) },
		},
		Trim: func(in *batchv1.Job) *batchv1.Job {
			trimMeta(&in.ObjectMeta)
			labels := in.Spec.Template.Labels // they tell what a Job is for
			for _, own := range jobsOwn {
				delete(labels, own)
			}
			in.Spec.Template = trimJobTemplate(&in.Spec.Template)
			in.Spec.Template.Labels = labels
			return in
		},
	})
	CronJobs = live.NewInput(batchv1.SchemeGroupVersion.WithResource("cronjobs"), live.InputOptions[*batchv1.CronJob]{
		Indexes: map[string]func(*batchv1.CronJob) []string{
			ByServiceAccount: func(in *batchv1.CronJob) []string { return accountOf(in, &in.Spec.JobTemplate.Spec.Template) },
		},
		Trim: func(in *batchv1.CronJob) *batchv1.CronJob {
			keepChangeOf(&in.ObjectMeta, "spec") // a new schedule, or one that goes on, counts from then
			in.Spec.JobTemplate.Spec.Template = trimJobTemplate(&in.Spec.JobTemplate.Spec.Template)
			return in
		},
	})
)

// SecretsStore is the CSI driver that mounts what secret stores have, and makes Secrets
// of it while a pod has it mounted, if it is told to (secrets-store-csi-driver,
// secretObjects).
const SecretsStore = "secrets-store.csi.k8s.io"

// jobsOwn are the labels that each Job gives its pods to tell them from those of any other
// (k8s.io/kubernetes, pkg/registry/batch/job).
var jobsOwn = []string{batchv1.JobNameLabel, batchv1.ControllerUidLabel, "job-name", "controller-uid"}

func trimTemplate(template *corev1.PodTemplateSpec) {
	template.Spec = trimPodSpec(&template.Spec)
	delete(template.Annotations, lastApplied)
}

// trimJobTemplate keeps what tells whether two templates start the same, with
// images: what a container waits for may be one; and whether pods that fail stay.
func trimJobTemplate(in *corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	out := corev1.PodTemplateSpec{Spec: trimPodSpec(&in.Spec)}
	out.Spec.RestartPolicy = corev1.RestartPolicy(shared(string(in.Spec.RestartPolicy)))
	keepImages(&out.Spec, &in.Spec)
	return out
}

// keepImages keeps the images of the containers of a trimmed spec.
func keepImages(out, in *corev1.PodSpec) {
	for i := range out.Containers {
		out.Containers[i].Image = in.Containers[i].Image
	}
	for i := range out.InitContainers {
		out.InitContainers[i].Image = in.InitContainers[i].Image
	}
}

// accountOf is "NAMESPACE/NAME" of the ServiceAccount that pods of a template run as,
// unless it is the default one.
func accountOf(in metav1.Object, template *corev1.PodTemplateSpec) []string {
	if name := template.Spec.ServiceAccountName; name != "" && name != "default" {
		return []string{in.GetNamespace() + "/" + name}
	}
	return nil
}

// trimPodSpec keeps which containers there are, which ConfigMaps and Secrets they
// use, and as whom they run.
func trimPodSpec(in *corev1.PodSpec) corev1.PodSpec {
	out := corev1.PodSpec{
		Containers: trimContainers(in.Containers), InitContainers: trimContainers(in.InitContainers),
		ImagePullSecrets: in.ImagePullSecrets, ServiceAccountName: shared(in.ServiceAccountName),
		AutomountServiceAccountToken: in.AutomountServiceAccountToken,
	}
	for _, volume := range in.Volumes {
		switch {
		case volume.ConfigMap != nil || volume.Secret != nil || volume.Projected != nil:
			out.Volumes = append(out.Volumes, volume)
		case volume.CSI != nil && volume.CSI.Driver == SecretsStore:
			csi := &corev1.CSIVolumeSource{Driver: SecretsStore}
			out.Volumes = append(out.Volumes, corev1.Volume{Name: volume.Name, VolumeSource: corev1.VolumeSource{CSI: csi}})
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
