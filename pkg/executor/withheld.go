// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// seenWithin is how long a replica of the aggregated server may take to see a new
// Approval.
const seenWithin = 30 * time.Second

// notYetSeen is an error while it is not certain that a proposal which is not
// served is gone: its approval is new, and its finding stands. A replica that sees
// a silence before it sees the approval withholds the proposal for that moment, and
// an approval that ended for it would have ended for good.
func (r *reconciler) notYetSeen(ctx context.Context, approval *opsv1alpha1.Approval) error {
	if approval.Spec.Decision != srenix.DecisionApprove || r.clock.Since(approval.CreationTimestamp.Time) >= seenWithin {
		return nil
	}
	of := &approval.Spec.Snapshot.Finding
	finding := &srenix.Finding{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: approval.Namespace, Name: of.Name}, finding)
	switch {
	case gone(err, of.Name):
		return nil
	case err != nil:
		return fmt.Errorf("reading the finding of proposal %s/%s, which is not served: %w", approval.Namespace, approval.Spec.Proposal.Name, err)
	case finding.UID != of.UID || !finding.Spec.Since.Equal(&of.Since):
		return nil
	}
	return fmt.Errorf("proposal %s/%s is not served though its finding stands: not every replica may have seen Approval %s yet", approval.Namespace, approval.Spec.Proposal.Name, approval.Name)
}
