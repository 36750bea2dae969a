// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// ProtectedLabel marks a namespace in which nothing is ever done, by the value "true".
const ProtectedLabel = "srenix.io/protected"

// ProtectedNamespaces is the built-in list, for every part of the program that
// needs one. The namespace that srenix runs in comes on top.
func ProtectedNamespaces() []string {
	return []string{"kube-system", "kube-public", "kube-node-lease", "vault", "external-secrets", "cnpg-system", "rook-ceph"}
}

// IsProtected tells whether nothing may be done in a namespace, and why. A nil
// configuration adds no namespaces.
func IsProtected(namespace *corev1.Namespace, own string, cfg *config.PolicyConfiguration) (bool, string) {
	switch name := namespace.Name; {
	case name == own:
		return true, fmt.Sprintf("namespace %s is the one that srenix runs in", name)
	case slices.Contains(ProtectedNamespaces(), name):
		return true, fmt.Sprintf("namespace %s is protected", name)
	case cfg != nil && slices.Contains(cfg.ProtectedNamespaces, name):
		return true, fmt.Sprintf("namespace %s is protected by this cluster's configuration", name)
	case namespace.Labels[ProtectedLabel] == "true":
		return true, fmt.Sprintf("namespace %s is protected by its label %s=true", name, ProtectedLabel)
	}
	return false, ""
}

// namespaceOf is the namespace that an object is in, or is: a runbook may be about one.
func namespaceOf(object v1alpha1.ObjectReference) string {
	if object.APIVersion == "v1" && object.Kind == "Namespace" && object.Namespace == "" {
		return object.Name
	}
	return object.Namespace
}

// namespaceProtection is layer 3.
func namespaceProtection(f *facts) v1alpha1.Verdict {
	if f.actsOnNothing() {
		return noAction()
	}
	name := namespaceOf(f.Proposal.Spec.Target)
	switch {
	case f.OwnNamespace == "":
		return denied("it is not known which namespace srenix runs in", "report this to whoever runs srenix")
	case name == "" || name != f.Proposal.Namespace:
		return denied(fmt.Sprintf("the target is in namespace %q, and the proposal in %q", name, f.Proposal.Namespace), defect)
	case f.Namespace == nil:
		return denied(fmt.Sprintf("namespace %q does not exist", name), "nothing is left to do: look at the findings again")
	case f.Namespace.Name != name:
		return denied(fmt.Sprintf("namespace %q was read for namespace %q", f.Namespace.Name, name), "report this to whoever runs srenix")
	}
	if protected, why := IsProtected(f.Namespace, f.OwnNamespace, f.Config); protected {
		return denied(why, "mend it by hand: the finding says how")
	}
	if f.Namespace.DeletionTimestamp != nil || f.Namespace.Status.Phase == corev1.NamespaceTerminating {
		return denied(fmt.Sprintf("namespace %s is being deleted", name), "nothing is left to do")
	}
	return allowed(fmt.Sprintf("namespace %s is not protected", name))
}
