// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// vouches tells whether the audit chain knows of the end that a status speaks of.
// artifacts/ lets nobody but the executor write statuses; this holds where that
// policy is gone. What the chain does not know of was not done.
func (r *reconciler) vouches(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (bool, error) {
	switch approval.Status.Phase {
	case opsv1alpha1.PhaseSucceeded:
		return past.own(opsv1alpha1.AuditActionDone) != nil && past.notAsApproved() == nil, nil
	case opsv1alpha1.PhaseFailed:
		return past.own(opsv1alpha1.AuditActionFailed) != nil || past.own(opsv1alpha1.AuditActionUnsettled) != nil, nil
	case opsv1alpha1.PhaseSuperseded:
		return past.own(opsv1alpha1.AuditSuperseded) != nil, nil
	case opsv1alpha1.PhaseDenied:
		said := approval.Spec.Decision == srenix.DecisionDeny && past.accepted(approval) != nil
		return said || past.own(opsv1alpha1.AuditApprovalDenied) != nil, nil
	case opsv1alpha1.PhaseExpired:
		return past.own(opsv1alpha1.AuditApprovalDenied) != nil, nil
	case opsv1alpha1.PhaseReleased:
		// It was the last approval that released it, and each of the others with it.
		contest, err := r.contest(ctx, approval)
		return contest.released(), err
	}
	return false, nil
}

// outlived tells whether no token of an approval as old can count any more, so
// that nothing will be done for it whatever its status says.
func (r *reconciler) outlived(approval *opsv1alpha1.Approval) bool {
	return r.clock.Since(approval.CreationTimestamp.Time) > token.MaximumLifetime+token.Skew
}
