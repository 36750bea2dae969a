// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deleteJob deletes a Job, and in the background its pods. The default of
// batch/v1 Jobs would be the same; naming it makes that independent of the version.
func deleteJob() action {
	return deletion{new: func() client.Object { return &batchv1.Job{} }, propagation: metav1.DeletePropagationBackground}
}
