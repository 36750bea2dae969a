// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// RestartedAtAnnotation is the only annotation that PatchDeploymentAnnotation
// sets, on the pod template. It is that of `kubectl rollout restart`
// (k8s.io/kubectl, pkg/polymorphichelpers/objectrestarter.go).
const RestartedAtAnnotation = "kubectl.kubernetes.io/restartedAt"

// RestartedAt is the value that PatchDeploymentAnnotation writes: when the
// approval's token was issued, in RFC 3339, UTC, to the second.
func RestartedAt(claims *token.Claims) string {
	return claims.IssuedAt.UTC().Format(time.RFC3339)
}

// TargetGVK is the one kind of object that an action kind fits. A Runbook acts
// on none, and an unknown kind fits none.
func TargetGVK(kind v1alpha1.ActionKind) (schema.GroupVersionKind, bool) {
	switch kind {
	case v1alpha1.ActionDeletePod:
		return schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, true
	case v1alpha1.ActionPatchDeploymentAnnotation:
		return schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, true
	case v1alpha1.ActionDeleteJob:
		return schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, true
	case v1alpha1.ActionDeleteCertificateRequest:
		return schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "CertificateRequest"}, true
	case v1alpha1.ActionPatchIngressTLS:
		return schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}, true
	}
	return schema.GroupVersionKind{}, false
}

// Patches tells whether an action kind writes, and so is dry-run before it acts.
func Patches(kind v1alpha1.ActionKind) bool {
	return kind == v1alpha1.ActionPatchDeploymentAnnotation || kind == v1alpha1.ActionPatchIngressTLS
}

// RequiredPermission is what one must be allowed to do to carry out an action on
// a target by hand. A Runbook needs nothing, and an unknown kind has no answer.
func RequiredPermission(kind v1alpha1.ActionKind, target v1alpha1.ObjectReference) (authorizationv1.ResourceAttributes, bool) {
	gvk, ok := TargetGVK(kind)
	if !ok {
		return authorizationv1.ResourceAttributes{}, false
	}
	verb := "delete"
	if Patches(kind) {
		verb = "patch"
	}
	resource := map[string]string{
		"Pod": "pods", "Deployment": "deployments", "Job": "jobs",
		"CertificateRequest": "certificaterequests", "Ingress": "ingresses",
	}[gvk.Kind]
	return authorizationv1.ResourceAttributes{
		Verb: verb, Group: gvk.Group, Version: gvk.Version, Resource: resource,
		Namespace: target.Namespace, Name: target.Name,
	}, true
}

// DecidePermission is the right to say yes or no to a proposal: that of posting to
// proposals/approve, also where a decision comes in as an Approval.
func DecidePermission(namespace, proposal string) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{
		Verb: "create", Group: v1alpha1.SchemeGroupVersion.Group, Version: v1alpha1.SchemeGroupVersion.Version,
		Resource: "proposals", Subresource: "approve", Namespace: namespace, Name: proposal,
	}
}

// ApprovePermission is the right to approve an action kind at all. The resource
// exists only for authorization, as the signers of CertificateSigningRequests do.
func ApprovePermission(kind v1alpha1.ActionKind, namespace string) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{
		Verb: "approve", Group: v1alpha1.SchemeGroupVersion.Group, Version: v1alpha1.SchemeGroupVersion.Version,
		Resource: "actionkinds", Namespace: namespace, Name: string(kind),
	}
}
