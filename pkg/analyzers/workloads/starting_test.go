// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

func TestOver(t *testing.T) {
	for name, test := range map[string]struct {
		conditions []batchv1.JobCondition
		over       bool
	}{
		"nothing yet": {},
		"complete":    {[]batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}, true},
		"failing":     {[]batchv1.JobCondition{{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue}}, true},
		"not failed":  {[]batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionFalse}}, false},
		"suspended":   {[]batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}, false},
	} {
		if over := Over(&batchv1.Job{Status: batchv1.JobStatus{Conditions: test.conditions}}); over != test.over {
			t.Errorf("%s: over is %t", name, over)
		}
	}
}
