// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/test/harness"
)

// Namespaces of the cases, besides the protected ones.
const (
	open         = "leash-open"
	labeled      = "leash-labeled"
	unlabeled    = "leash-labeled-false"
	terminating  = "leash-terminating"
	byConfigured = "leash-configured"
)

// The names that the design names. Cases are about these and whatever package
// policy has besides, so that neither leash can lose one unnoticed.
func protected() []string {
	return union(policy.ProtectedNamespaces(),
		"kube-system", "kube-public", "kube-node-lease", "vault", "external-secrets", "cnpg-system", "rook-ceph", harness.Namespace)
}

func markerAnnotations() []string {
	return union(policy.GitOpsMarkers().Annotations,
		"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance", "meta.helm.sh/release-name",
		"kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace",
		"helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace")
}

func markerLabels() []string {
	return union(policy.GitOpsMarkers().Labels,
		"argocd.argoproj.io/instance", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")
}

func managers() []string {
	return union(policy.GitOpsManagers(), "helm", "argocd", "argo-cd", "flux", "fluxcd")
}

func union(some []string, others ...string) []string {
	return slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(some), others...))))
}

// newNamespaces makes every namespace that a case is in, and what a pod in it needs.
func newNamespaces(ctx context.Context) error {
	names := append(protected(), open, labeled, unlabeled, terminating, byConfigured)
	labels := map[string]map[string]string{labeled: {policy.ProtectedLabel: "true"}, unlabeled: {policy.ProtectedLabel: "false"}}
	for _, name := range names {
		for _, object := range []client.Object{
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels[name]}},
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}},
		} {
			if err := cluster.admin.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
		}
	}
	return nil
}

// metadata that marks nothing, though it looks like it.
func metadata(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}, Annotations: map[string]string{"example.com/note": "kept"}}
}

func podSpec(policy corev1.RestartPolicy) corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy: policy,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{Name: "web", Image: "example/web:1", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}
}

// newObject is a target that every layer lets the action of its kind be done to.
// The pod is bound to a node, as one is that was ever started.
func newObject(kind v1alpha1.ActionKind, namespace, name string) client.Object {
	about := metadata(namespace, name)
	labels := map[string]string{"app": name}
	switch kind {
	case v1alpha1.ActionPatchDeploymentAnnotation:
		return &appsv1.Deployment{ObjectMeta: about, Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{"example.com/note": "kept"}},
				Spec:       podSpec(corev1.RestartPolicyAlways),
			},
		}}
	case v1alpha1.ActionDeleteJob:
		return &batchv1.Job{ObjectMeta: about, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: podSpec(corev1.RestartPolicyNever)}}}
	case v1alpha1.ActionPatchIngressTLS:
		return &networkingv1.Ingress{ObjectMeta: about, Spec: networkingv1.IngressSpec{
			IngressClassName: ptr.To("web"), DefaultBackend: backend("web"),
			Rules: []networkingv1.IngressRule{{Host: "a.example.com"}},
			TLS: []networkingv1.IngressTLS{
				{Hosts: []string{"a.example.com"}, SecretName: "a-tls"}, {Hosts: []string{"b.example.com"}, SecretName: "old-tls"},
			},
		}}
	case v1alpha1.ActionDeleteCertificateRequest:
		object := &unstructured.Unstructured{Object: map[string]any{
			"spec": map[string]any{"request": "bm9uZQ==", "issuerRef": map[string]any{"name": "ca"}},
		}}
		gvk, _ := policy.TargetGVK(kind)
		object.SetGroupVersionKind(gvk)
		object.SetNamespace(namespace)
		object.SetName(name)
		object.SetLabels(about.Labels)
		object.SetAnnotations(about.Annotations)
		return object
	}
	spec := podSpec(corev1.RestartPolicyAlways)
	spec.NodeName = "nowhere"
	return &corev1.Pod{ObjectMeta: about, Spec: spec}
}

func backend(service string) *networkingv1.IngressBackend {
	return &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}
}

func withLabel(key, value string) func(client.Object) {
	return func(object client.Object) {
		labels := maps.Clone(object.GetLabels())
		labels[key] = value
		object.SetLabels(labels)
	}
}

func withAnnotation(key, value string) func(client.Object) {
	return func(object client.Object) {
		annotations := maps.Clone(object.GetAnnotations())
		annotations[key] = value
		object.SetAnnotations(annotations)
	}
}

// as changes an object of a type that the case knows.
func as[T client.Object](change func(T)) func(client.Object) {
	return func(object client.Object) { change(object.(T)) }
}
