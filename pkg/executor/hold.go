// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// pageSize is how many objects are asked for at a time.
const pageSize = 500

// hindrance is why an approval is not carried out now, though nothing is wrong
// with it. It goes on by itself once that is over.
type hindrance struct{ reason, message string }

// hindrance returns what keeps an approval from being carried out now, or nil.
func (r *reconciler) hindrance(ctx context.Context, approval *opsv1alpha1.Approval) (*hindrance, error) {
	snapshot := &approval.Spec.Snapshot
	kind := snapshot.ActionKind
	if r.leash.Err() != nil {
		message := fmt.Sprintf("%s is not carried out while kube-apiserver does not hold the executor to what it may do: apply ValidatingAdmissionPolicy %s and its binding as this version has them, and it goes on by itself", kind, leashName)
		return &hindrance{"SecondLeashMissing", message}, nil //nolint:nilerr // It is no failure of this approval.
	}
	stored, err := r.approvals(ctx)
	if err != nil {
		return nil, err
	}
	if open := r.openBreaker(stored, kind, approval.Namespace); open != nil {
		return &hindrance{"BreakerOpen", fmt.Sprintf("%s is not carried out, because %s; once the cause is understood, close the breaker: %s",
			kind, open, open.closeCommand())}, nil
	}
	if other := atWorkBeside(stored, approval); other != nil {
		return &hindrance{"TargetBusy", fmt.Sprintf("Approval %s acts on %s %s/%s too, and is not verified yet: this one goes on by itself once the verification of that one is over, however it ends",
			other.Name, snapshot.Target.Kind, snapshot.Target.Namespace, snapshot.Target.Name)}, nil
	}
	return nil, nil
}

// approvals are all that are stored.
func (r *reconciler) approvals(ctx context.Context) ([]opsv1alpha1.Approval, error) {
	var all []opsv1alpha1.Approval
	for next := ""; ; {
		page := &opsv1alpha1.ApprovalList{}
		if err := r.client.List(ctx, page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("reading what became of other approvals: %w", err)
		}
		all = append(all, page.Items...)
		if next = page.Continue; next == "" {
			return all, nil
		}
	}
}

// atWorkBeside returns an approval of another digest that acts on the same target
// and has not come to its end, or nil. Which of several of one digest is carried
// out, the audit chain decides.
func atWorkBeside(stored []opsv1alpha1.Approval, approval *opsv1alpha1.Approval) *opsv1alpha1.Approval {
	target := keyOfTarget(approval.Spec.Snapshot.Target)
	for i := range stored {
		other := &stored[i]
		execution := other.Status.Execution
		if execution != nil && execution.Intent != "" && !completed(other) &&
			other.Spec.Proposal.Digest != approval.Spec.Proposal.Digest && keyOfTarget(other.Spec.Snapshot.Target) == target {
			return other
		}
	}
	return nil
}

// hold leaves an approval pending, and gives a claim back under which nothing was
// done. Should its token expire meanwhile, that ends it.
func (r *reconciler) hold(ctx context.Context, approval *opsv1alpha1.Approval, past *history, by *hindrance) (ctrl.Result, error) {
	if _, err := r.verifyToken(approval); err != nil {
		return r.concludeToken(ctx, approval, past, err)
	}
	known := meta.FindStatusCondition(approval.Status.Conditions, opsv1alpha1.ConditionAccepted)
	if known == nil || known.Message != by.message || approval.Status.Phase != opsv1alpha1.PhasePending {
		err := r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
			status.Phase = opsv1alpha1.PhasePending
			status.Message = by.message
			status.Execution = nil
			r.setCondition(status, approval.Generation, opsv1alpha1.ConditionAccepted, metav1.ConditionFalse, by.reason, by.message)
		})
		if err != nil {
			return ctrl.Result{}, err
		}
		kind := string(approval.Spec.Snapshot.ActionKind)
		klog.FromContext(ctx).Info("Approval held back", "reason", by.reason, "actionKind", kind, "message", by.message)
		r.announce(approval, false, warning, by.reason, kind, by.message)
	}
	return ctrl.Result{RequeueAfter: waitRetry}, nil
}
