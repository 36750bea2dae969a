// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
)

// maximumOwners bounds a chain of controllers. Real ones have three links at most.
const maximumOwners = 8

// readTarget reads the target and its controllers. An unknown kind, a Runbook
// and a target in another namespace than the proposal have none to read: the
// policy judges those by what the proposal says.
func (g *gathering) readTarget(ctx context.Context) {
	spec := &g.in.Proposal.Spec
	gvk, known := policy.TargetGVK(spec.ActionKind)
	if !known || spec.Target.Namespace != g.in.Proposal.Namespace {
		return
	}
	// Whole, also where there is a type for it: the policy compares it with what a
	// dry run answers, and a type knows no field that is newer than it.
	target := &unstructured.Unstructured{}
	target.SetGroupVersionKind(gvk)
	err := g.Reader.Get(ctx, client.ObjectKey{Namespace: spec.Target.Namespace, Name: spec.Target.Name}, target)
	if apierrors.IsNotFound(err) {
		return
	}
	if err != nil {
		g.unknown(fmt.Errorf("reading the target: %w", err), policy.TargetScope, policy.GitOpsManaged)
		return
	}
	g.in.Target = target
	if g.in.Owners, err = g.readOwners(ctx, target); err != nil {
		g.unknown(err, policy.GitOpsManaged)
	}
	if spec.ActionKind == v1alpha1.ActionPatchIngressTLS {
		if g.in.Certificates, err = g.readCertificates(ctx, spec.Target.Namespace); err != nil {
			g.unknown(err, policy.TargetScope)
		}
	}
}

// readOwners follows the controller references, nearest first. Each owner must
// exist and be the very object that is referred to.
func (g *gathering) readOwners(ctx context.Context, target client.Object) ([]policy.Owner, error) {
	var owners []policy.Owner
	for controller := metav1.GetControllerOf(target); controller != nil; {
		if len(owners) == maximumOwners {
			return nil, fmt.Errorf("the chain of controllers of %s has more than %d links", target.GetName(), maximumOwners)
		}
		owner := &metav1.PartialObjectMetadata{}
		owner.SetGroupVersionKind(schema.FromAPIVersionAndKind(controller.APIVersion, controller.Kind))
		if err := g.Reader.Get(ctx, client.ObjectKey{Namespace: target.GetNamespace(), Name: controller.Name}, owner); err != nil {
			return nil, fmt.Errorf("reading controller %s %s: %w", controller.Kind, controller.Name, err)
		}
		if owner.UID != controller.UID {
			return nil, fmt.Errorf("controller %s %s was replaced by another object of the same name", controller.Kind, controller.Name)
		}
		owners = append(owners, policy.Owner{APIVersion: controller.APIVersion, Kind: controller.Kind, ObjectMeta: owner.ObjectMeta})
		controller = metav1.GetControllerOf(owner)
	}
	return owners, nil
}

func (g *gathering) readNamespace(ctx context.Context) {
	namespace := &corev1.Namespace{}
	err := g.Reader.Get(ctx, client.ObjectKey{Name: g.in.Proposal.Namespace}, namespace)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		g.unknown(fmt.Errorf("reading the namespace: %w", err), policy.NamespaceProtection)
	default:
		g.in.Namespace = namespace
	}
}

func (g *gathering) readCertificates(ctx context.Context, namespace string) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "CertificateList"})
	if err := g.Reader.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("reading the Certificates of namespace %s: %w", namespace, err)
	}
	return list.Items, nil
}
