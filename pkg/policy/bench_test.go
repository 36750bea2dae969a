// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// BenchmarkEvaluate is what the live view does for each proposal that changes
// (Standing), and admission for each approval.
func BenchmarkEvaluate(b *testing.B) {
	for _, stage := range []Stage{StageStanding, StageApproval} {
		b.Run(string(stage), func(b *testing.B) {
			in := good(b, stage, v1alpha1.ActionDeletePod)
			b.ReportAllocs()
			for b.Loop() {
				if !Evaluate(in).Allowed && stage == StageApproval {
					b.Fatal("denied")
				}
			}
		})
	}
}
