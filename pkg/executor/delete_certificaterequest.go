// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// deleteCertificateRequest deletes a CertificateRequest of cert-manager, so that
// the Certificate's controller makes a new one. Its type is not compiled in.
func deleteCertificateRequest() action {
	return deletion{
		new:         func() client.Object { return newWhole(srenix.ActionDeleteCertificateRequest) },
		propagation: metav1.DeletePropagationBackground,
	}
}
