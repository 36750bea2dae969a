// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecretmismatch

import (
	"slices"
	"strconv"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The annotations by which cert-manager makes a Certificate for each Secret that an
// Ingress or a Gateway names: these of both (hasShimAnnotation), and that of an Ingress if
// it is true (its standard for --auto-certificate-annotations).
var shimAnnotations = []string{"cert-manager.io/issuer", "cert-manager.io/cluster-issuer"}

const autoAnnotation = "kubernetes.io/tls-acme"

// undone tells whether cert-manager answers a change of the Secret's name by making
// another Certificate for the Secret named, which the better one writes already. It makes
// one called as the Secret, unless there is one that something else has made; it makes
// none at all for an Ingress that names a Secret twice; and it deletes the one that it
// made before (pkg/controller/certificate-shim).
func (s server) undone(served, better *unstructured.Unstructured) bool {
	if !s.shimmed(served) {
		return false
	}
	secret := secretOf(better)
	return better.GetName() != secret || metav1.IsControlledBy(better, s.object) ||
		slices.ContainsFunc(s.entries, func(entry networkingv1.IngressTLS) bool { return entry.SecretName == secret })
}

// shimmed tells whether cert-manager makes the Certificates for the Secrets named. The
// flag can name other annotations, but not hide what was made.
func (s server) shimmed(served *unstructured.Unstructured) bool {
	annotations := s.object.GetAnnotations()
	for _, name := range shimAnnotations {
		if _, has := annotations[name]; has {
			return true
		}
	}
	auto, err := strconv.ParseBool(annotations[autoAnnotation])
	return s.subject.Kind == "Ingress" && err == nil && auto || served != nil && metav1.IsControlledBy(served, s.object)
}
