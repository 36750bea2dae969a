// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func deletePod() action {
	return deletion{kind: srenix.ActionDeletePod, propagation: metav1.DeletePropagationBackground}
}
