// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// settle ends an approval that has an intent and no recorded result: an executor
// stopped, or lost contact, somewhere around the action. It only looks.
func (r *reconciler) settle(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	if done := past.own(opsv1alpha1.AuditActionDone); done != nil {
		return r.recordDone(ctx, approval, past, result{summary: done.Spec.Message, reason: "Acted"})
	}
	act := r.actions[approval.Spec.Snapshot.ActionKind]
	if act == nil {
		return r.recordFailed(ctx, approval, past, "Unsettled", "it cannot be told whether anything was done: this version of srenix does not know the action")
	}
	if record := approval.Status.Execution; past.intentIndex >= 0 && (record == nil || record.Intent == "") {
		// An intent that came second was given up before it went into the status.
		other, err := r.actionBefore(ctx, approval, past.intentIndex)
		if err != nil {
			return ctrl.Result{}, err
		}
		if other != nil && other.approval != approval.Name {
			return r.yield(ctx, approval, past, other)
		}
	}
	// The intent was recorded under a token that was valid then, which says what would be seen.
	claims, err := r.verifier.VerifyAt(approval.Spec.Token, past.intentTime)
	if err != nil && r.keys.Err() != nil {
		return ctrl.Result{}, fmt.Errorf("reading the keys that tokens are verified with: %w", r.keys.Err())
	}
	if err != nil {
		return r.recordFailed(ctx, approval, past, "Unsettled", "it cannot be told whether anything was done: "+err.Error())
	}
	order := order{target: approval.Spec.Snapshot.Target, patch: approval.Spec.Snapshot.Patch, claims: claims}
	seen, err := act.look(ctx, r.client, order)
	if err != nil {
		return ctrl.Result{}, err
	}
	klog.FromContext(ctx).Info("Settling an approval by looking", "auditEvent", past.intent, "done", seen.done)
	if seen.done {
		return r.recordDone(ctx, approval, past, settled(order, seen))
	}
	if wait := past.intentTime.Add(SettleAfter).Sub(r.clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: min(wait, SettleAfter)}, nil
	}
	return r.recordFailed(ctx, approval, past, "NotActed", fmt.Sprintf(
		"the executor stopped between its intent (audit event %s) and the action: %s %s/%s %s. Nothing is tried again: approve anew with %s",
		past.intent, order.target.Kind, order.target.Namespace, order.target.Name, seen.text, approveCommand(approval)))
}

// settled is the result of an action that nobody answered for and that is there to see.
func settled(order order, seen sight) result {
	return result{
		summary: fmt.Sprintf("Settled by looking: %s %s/%s (UID %s) %s", order.target.Kind, order.target.Namespace, order.target.Name, order.target.UID, seen.text),
		reason:  "SettledByLooking",
		object:  seen.object,
	}
}

// intend adds this executor's own intent.
func (h *history) intend(event *opsv1alpha1.AuditEvent) {
	h.events = append(h.events, *event)
	h.intent, h.intentIndex, h.intentTime = event.Name, event.Spec.Index, event.Spec.Time.Time
}

// acceptedAt is when the approval was accepted, as the chain has it.
func (h *history) acceptedAt() time.Time {
	if event := h.last(opsv1alpha1.AuditApprovalAccepted); event != nil {
		return event.Spec.Time.Time
	}
	return time.Time{}
}
