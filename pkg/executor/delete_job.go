// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deleteJob deletes a Job, and in the background its pods. By default they would
// be orphaned (k8s.io/kubernetes, pkg/registry/batch/job).
func deleteJob() action {
	return deletion{new: func() client.Object { return &batchv1.Job{} }, propagation: metav1.DeletePropagationBackground}
}
