// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// proposing is the name under which the server reports that it cannot compute
// proposals, or complete findings.
const proposing = "proposals"

// served reads the finding or the proposal of an approval from the aggregated API,
// and tells whether there is one. A server that has begun while an analyzer was
// degraded serves none of its findings, and nothing that is proposed for them;
// what it does not serve need not be gone, and that is an error.
//
// Whether one is degraded is asked first. One that heals in between is asked again.
func (r *reconciler) served(ctx context.Context, approval *opsv1alpha1.Approval, name string, object client.Object) (bool, error) {
	degraded := r.degraded(ctx, approval)
	err := r.client.Get(ctx, client.ObjectKey{Namespace: approval.Namespace, Name: name}, object)
	if gone(err, name) {
		return false, degraded
	}
	return err == nil, err
}

// degraded is an error unless the server can see what the finding of an approval
// rests on.
func (r *reconciler) degraded(ctx context.Context, approval *opsv1alpha1.Approval) error {
	reports := &srenix.ClusterFindingList{}
	if err := r.client.List(ctx, reports, client.MatchingFields{"spec.reason": srenix.ReasonAnalyzerDegraded}); err != nil {
		return fmt.Errorf("reading which analyzers are degraded: %w", err)
	}
	for i := range reports.Items {
		report := &reports.Items[i]
		if about := report.Spec.Analyzer; about == approval.Spec.Snapshot.DiagnosticClass || about == proposing {
			return fmt.Errorf("%s is degraded, so that what is not served need not be gone: kubectl describe clusterfinding.srenix.io %s", about, report.Name)
		}
	}
	return nil
}
