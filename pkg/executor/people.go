// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"math"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

const reasonDeniedByPerson = "DeniedByPerson"

// concludeDenial ends a person's no. It acts on nothing; it counts by its event
// in the audit chain, which the webhook appended, or is appended here.
func (r *reconciler) concludeDenial(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	if past.accepted(approval) == nil {
		if _, err := r.verifyToken(approval); err != nil {
			return r.concludeToken(ctx, approval, past, err)
		}
		digest, err := r.currentDigest(ctx, approval)
		if err != nil {
			return ctrl.Result{}, err
		}
		accepted, err := r.accept(ctx, approval, past, digest)
		if err != nil {
			return ctrl.Result{}, err
		}
		if !accepted.Allowed {
			return r.conclude(ctx, approval, past, deniedByPolicy(accepted.Message(), verdictsOf(*accepted)))
		}
	}
	end := refused(reasonDeniedByPerson, fmt.Sprintf("%s denied the proposal; that holds until its digest changes", approverOf(approval, past)))
	end.audit = ""
	return r.conclude(ctx, approval, past, end)
}

// releaseRunbook judges the approval of a runbook: a text that people may read
// once enough of them approved it. Nothing ever executes it.
func (r *reconciler) releaseRunbook(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	if past.own(opsv1alpha1.AuditRunbookReleased) != nil {
		return r.concludeRelease(ctx, approval, past)
	}
	claims, err := r.verifyToken(approval)
	if err != nil {
		return r.concludeToken(ctx, approval, past, err)
	}
	digest, err := r.currentDigest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if digest != approval.Spec.Proposal.Digest {
		return r.conclude(ctx, approval, past, superseded(supersededBy(digest)))
	}
	accepted, err := r.accept(ctx, approval, past, digest)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !accepted.Allowed {
		return r.conclude(ctx, approval, past, deniedByPolicy(accepted.Message(), verdictsOf(*accepted)))
	}
	_, decision, err := r.judge(ctx, approval, policy.StageExecution, digest, nil, false)
	switch {
	case err != nil:
		return ctrl.Result{}, err
	case !decision.Allowed:
		return r.conclude(ctx, approval, past, deniedByPolicy(decision.Message(), verdictsOf(decision)))
	case decision.Awaiting:
		return r.awaitAnother(ctx, approval, claims)
	}
	event, err := r.chain.Append(ctx, r.entry(approval, opsv1alpha1.AuditRunbookReleased, released().message, verdictsOf(decision), claims.Subject))
	if err != nil {
		return ctrl.Result{}, err
	}
	past.events = append(past.events, *event)
	return r.concludeRelease(ctx, approval, past)
}

// concludeRelease ends an approval whose release the chain has recorded: whichever
// of a release and a denial the chain has first holds.
func (r *reconciler) concludeRelease(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	contest, err := r.contest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if contest.released() {
		return r.conclude(ctx, approval, past, released())
	}
	if denial := contest.denial(math.MaxInt64); denial != nil {
		return r.conclude(ctx, approval, past, deniedByPerson(denial.References.Approver, denial.References.Approval))
	}
	return ctrl.Result{}, fmt.Errorf("audit event %s, which releases the runbook of Approval %s/%s, is not found by its digest", past.own(opsv1alpha1.AuditRunbookReleased).Name, approval.Namespace, approval.Name)
}

func deniedByPerson(who, approval string) ending {
	return refused(reasonDeniedByPerson, fmt.Sprintf("%s denied the proposal (Approval %s)", who, approval))
}

func released() ending {
	return ending{
		phase: opsv1alpha1.PhaseReleased, condition: opsv1alpha1.ConditionAccepted, value: metav1.ConditionTrue,
		reason: "Released", message: "the runbook is released: people may read and follow it",
	}
}

// awaitAnother lets an approval that counts wait for the next one, and gives the
// claim back: nothing was done under it.
func (r *reconciler) awaitAnother(ctx context.Context, approval *opsv1alpha1.Approval, claims *token.Claims) (ctrl.Result, error) {
	err := r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.Phase = opsv1alpha1.PhaseAwaitingSecondApproval
		status.Approver = claims.Subject
		status.Message = "it counts, and another person has to approve too"
		status.Execution = nil
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionAccepted, metav1.ConditionTrue, "AwaitingSecondApproval", status.Message)
	})
	return ctrl.Result{RequeueAfter: waitRetry}, err
}

// await looks what became of an approval that counts and waits for another one.
// That one carries the action out, if there is one. The audit chain tells, and no
// status. The token was in time when it counted, and need not be now.
func (r *reconciler) await(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	digest, err := r.currentDigest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if digest != approval.Spec.Proposal.Digest {
		return r.conclude(ctx, approval, past, superseded(supersededBy(digest)))
	}
	contest, err := r.contest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if contest.released() {
		return r.conclude(ctx, approval, past, released())
	}
	if done := contest.carriedOut(); done != nil {
		return r.conclude(ctx, approval, past, superseded("it was carried out for the last approval that it needed, "+done.References.Approval))
	}
	if denial := contest.denial(math.MaxInt64); denial != nil {
		return r.conclude(ctx, approval, past, deniedByPerson(denial.References.Approver, denial.References.Approval))
	}
	if accepted := past.accepted(approval); accepted != nil {
		// Keys rotate, and what cannot be verified any more does not count for another.
		if _, err := r.verifyTokenAt(approval, accepted.Spec.Time.Time); errors.Is(err, errTokenRefused) {
			return r.conclude(ctx, approval, past, refused("CountsNoLonger",
				fmt.Sprintf("it counted, and does not any more: %v. %s can approve anew, while the proposal is the same", err, approverOf(approval, past))))
		} else if err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{RequeueAfter: waitRetry}, nil
}
