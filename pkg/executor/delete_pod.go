// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deletePod deletes a Pod with its own grace period.
func deletePod() action {
	return deletion{new: func() client.Object { return &corev1.Pod{} }, propagation: metav1.DeletePropagationBackground}
}
