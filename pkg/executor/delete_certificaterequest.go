// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
)

// deleteCertificateRequest deletes a CertificateRequest of cert-manager, so that
// the Certificate's controller makes a new one. Its type is not compiled in.
func deleteCertificateRequest() action {
	gvk, _ := policy.TargetGVK(srenix.ActionDeleteCertificateRequest)
	return deletion{
		new: func() client.Object {
			object := &unstructured.Unstructured{}
			object.SetGroupVersionKind(gvk)
			return object
		},
		propagation: metav1.DeletePropagationBackground,
	}
}
