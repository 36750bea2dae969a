// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

const (
	// actAttempts bounds how often an action is sent whose precondition failed:
	// each was refused, and the target is judged anew before the next.
	actAttempts = 3
	// finishTimeout bounds what is done between the intent and its result. It is
	// not cut short when the process is asked to stop.
	finishTimeout = 30 * time.Second
)

// execute carries out an approval that this executor has claimed and for which
// nothing was done yet.
func (r *reconciler) execute(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
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
	other, err := r.actionBefore(ctx, approval, math.MaxInt64)
	if err != nil {
		return ctrl.Result{}, err
	}
	if other != nil {
		if !other.done {
			return ctrl.Result{RequeueAfter: waitRetry}, nil
		}
		return r.conclude(ctx, approval, past, superseded("the same was carried out already, by Approval "+other.approval))
	}
	accepted, err := r.accept(ctx, approval, past, digest)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !accepted.Allowed {
		return r.conclude(ctx, approval, past, deniedByPolicy(accepted.Message(), verdictsOf(*accepted)))
	}
	ruling, err := r.decide(ctx, approval, claims, digest, false)
	if err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case !ruling.allows():
		return r.conclude(ctx, approval, past, deniedByPolicy(ruling.message(), verdictsOf(ruling.Decision)))
	case ruling.Awaiting:
		return r.awaitAnother(ctx, approval, claims)
	}
	return r.act(context.WithoutCancel(ctx), approval, past, ruling)
}

// act records the intent, and acts if it could be recorded for nobody else.
// Whatever goes wrong from here on is settled by looking, never by acting again.
func (r *reconciler) act(ctx context.Context, approval *opsv1alpha1.Approval, past *history, ruling *ruling) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	claims, kind := ruling.order.claims, approval.Spec.Snapshot.ActionKind
	entry := r.entry(approval, opsv1alpha1.AuditActionIntended, fmt.Sprintf("%s is about to be carried out by %s", kind, r.identity), verdictsOf(ruling.Decision), claims.Subject)
	intent, err := r.chain.Append(ctx, entry)
	if err != nil {
		return ctrl.Result{}, err
	}
	past.intend(intent)
	other, err := r.actionBefore(ctx, approval, intent.Spec.Index)
	if err != nil {
		return ctrl.Result{}, err
	}
	if other != nil {
		return r.yield(ctx, approval, past, other)
	}
	err = r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.Execution.Intent = intent.Name
		status.Approver = claims.Subject
		status.Message = fmt.Sprintf("%s is being carried out", kind)
		for _, event := range past.events {
			addAuditEvent(status, event.Name)
		}
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionAccepted, "True", "PolicyAllows", "all layers of the policy allow it")
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	klog.FromContext(ctx).Info("Intent recorded", "auditEvent", intent.Name, "actionKind", kind, "approver", claims.Subject)
	return r.attempt(ctx, approval, past, ruling)
}

// attempt sends the action, and again if the API server refused it because the
// target had changed and it is still allowed on the target as it is now.
func (r *reconciler) attempt(ctx context.Context, approval *opsv1alpha1.Approval, past *history, ruling *ruling) (ctrl.Result, error) {
	act := r.actions[approval.Spec.Snapshot.ActionKind]
	var refusal error
	for n := range actAttempts {
		if r.clock.Since(past.intentTime) > actWithin {
			return ctrl.Result{}, fmt.Errorf("the intent %s is older than %s: it is settled by looking", past.intent, actWithin)
		}
		sending, cancel := context.WithTimeout(ctx, actTimeout)
		object, err := act.do(sending, r.client, ruling.order, false)
		cancel()
		if err == nil {
			return r.recordDone(ctx, approval, past, result{summary: act.summary(ruling.order), reason: "Acted", object: object})
		}
		if !refusedOutright(err) {
			return ctrl.Result{}, err
		}
		// The refusal may answer a second try of the client, after a first one that
		// went through and whose answer was lost.
		seen, lookErr := act.look(ctx, r.client, ruling.order)
		if lookErr != nil {
			return ctrl.Result{}, errors.Join(err, lookErr)
		}
		if seen.done {
			return r.recordDone(ctx, approval, past, settled(ruling.order, seen))
		}
		refusal = err
		if !targetMoved(err) || n == actAttempts-1 {
			break
		}
		next, err := r.decide(ctx, approval, ruling.order.claims, approval.Spec.Proposal.Digest, true)
		if err != nil {
			return ctrl.Result{}, err
		}
		if !next.allows() {
			refusal = errors.New(next.message())
			break
		}
		ruling = next
	}
	return r.recordFailed(ctx, approval, past, "Refused", "nothing was done, because the action was refused: "+refusal.Error())
}

// yield gives way to another approval of the same digest, whose intent is older.
func (r *reconciler) yield(ctx context.Context, approval *opsv1alpha1.Approval, past *history, other *otherAction) (ctrl.Result, error) {
	if other.approval == approval.Name {
		return ctrl.Result{}, errOvertaken
	}
	message := fmt.Sprintf("Approval %s of the same digest was faster, so that nothing was done for this one", other.approval)
	if past.own(opsv1alpha1.AuditActionFailed) == nil {
		event, err := r.chain.Append(ctx, r.entry(approval, opsv1alpha1.AuditActionFailed, message, nil, approverOf(approval, past)))
		if err != nil {
			return ctrl.Result{}, err
		}
		past.events = append(past.events, *event)
	}
	return r.conclude(ctx, approval, past, superseded(message))
}

// concludeToken ends an approval whose token does not count, or leaves it if
// that cannot be told.
func (r *reconciler) concludeToken(ctx context.Context, approval *opsv1alpha1.Approval, past *history, err error) (ctrl.Result, error) {
	switch {
	case errors.Is(err, token.ErrExpired):
		return r.conclude(ctx, approval, past, expired(err.Error()+", before anything was done: approve anew with "+approveCommand(approval)))
	case errors.Is(err, errTokenRefused):
		return r.conclude(ctx, approval, past, refused("InvalidToken", err.Error()))
	}
	return ctrl.Result{}, err
}

func supersededBy(digest string) string {
	if digest == "" {
		return "the proposal is gone, so that there is nothing left to be done"
	}
	return fmt.Sprintf("the proposal has changed since it was approved: its digest is %s now", digest)
}

// approveCommand is what a person types to approve anew.
func approveCommand(approval *opsv1alpha1.Approval) string {
	return fmt.Sprintf("kubectl create approval --proposal %s -n %s", approval.Spec.Proposal.Name, approval.Namespace)
}
