// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// settle ends an approval that has an intent and no recorded result: an executor
// stopped, or lost contact, somewhere around the action. It only looks.
func (r *reconciler) settle(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	if stray := past.notAsApproved(); stray != nil {
		return r.recordNotDone(ctx, approval, past, stray.Spec.Type, result{reason: reasonNotAsApproved, summary: stray.Spec.Message})
	}
	if done := past.own(opsv1alpha1.AuditActionDone); done != nil {
		return r.recordDone(ctx, approval, past, result{summary: done.Spec.Message, reason: "Acted"})
	}
	act := r.actions[approval.Spec.Snapshot.ActionKind]
	if act == nil {
		return r.recordNotDone(ctx, approval, past, opsv1alpha1.AuditActionUnsettled, result{reason: "Unsettled", summary: "it cannot be told whether anything was done: this version of srenix does not know the action"})
	}
	contest, err := r.contest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if other := contest.precedes(approval, past); other != nil {
		return r.giveUp(ctx, approval, past, other.end())
	}
	order := order{target: approval.Spec.Snapshot.Target, patch: approval.Spec.Snapshot.Patch}
	seen := sight{unclear: true, text: "was judged, and what for is not known any more"}
	if past.intended != nil {
		order.value = past.intended.Value
		if seen, err = look(ctx, r.client, act, order, past.intended.Generation); err != nil {
			return ctrl.Result{}, err
		}
	}
	klog.FromContext(ctx).Info("Settling an approval by looking", "auditEvent", past.intent, "done", seen.done, "unclear", seen.unclear)
	if seen.done && contest.succeeds(approval, past) {
		// What shows is the other one's doing, which cannot always be told by looking:
		// who deleted a target, for one.
		seen = sight{text: seen.text + ", for another approval of the same digest", object: seen.object}
	}
	if seen.done {
		return r.recordDone(ctx, approval, past, settled(order, seen))
	}
	if wait := r.untilSettled(past.intent, past.intentTime); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	stopped := fmt.Sprintf("the executor stopped around the action (audit event %s): %s %s/%s %s", past.intent, order.target.Kind, order.target.Namespace, order.target.Name, seen.text)
	if seen.unclear {
		return r.recordNotDone(ctx, approval, past, seen.outcome(), result{
			reason: "Unsettled", summary: stopped + ". So it cannot be told whether anything was done, and nothing is done for this digest again: look at it, and do by hand what is still needed",
		})
	}
	return r.recordNotDone(ctx, approval, past, seen.outcome(), result{reason: "NotActed", summary: stopped + ". Nothing is tried again: approve anew with " + approveCommand(approval)})
}

// precedes returns the approval of the same digest because of which nothing can
// have been done for this one: its intent is older, and it was never said that
// nothing was done for it. Before that is said, nobody else acts.
func (c contest) precedes(approval *opsv1alpha1.Approval, past *history) *rival {
	for _, other := range c.rivals(approval, past.intentIndex) {
		if !other.failed {
			return &other
		}
	}
	return nil
}

// succeeds tells whether another approval of the same digest came after it was
// said of this one that nothing was done for it.
func (c contest) succeeds(approval *opsv1alpha1.Approval, past *history) bool {
	given := past.own(opsv1alpha1.AuditActionFailed)
	return given != nil && slices.ContainsFunc(c.rivals(approval, math.MaxInt64), func(other rival) bool {
		return other.intent.Index > given.Spec.Index && other.outcome != opsv1alpha1.AuditActionFailed
	})
}

// untilSettled is how long to wait until "there is nothing to see" counts for an
// intent, which is the name of its audit event.
func (r *reconciler) untilSettled(intent string, since time.Time) time.Duration {
	return SettleAfter - r.seen.age(intent, since, r.clock.Now())
}

// outcome is what an audit event says of what was seen.
func (s sight) outcome() opsv1alpha1.AuditType {
	switch {
	case s.done:
		return opsv1alpha1.AuditActionDone
	case s.unclear:
		return opsv1alpha1.AuditActionUnsettled
	}
	return opsv1alpha1.AuditActionFailed
}

// settled is the result of an action that nobody answered for and that is there to see.
func settled(order order, seen sight) result {
	return result{
		summary: fmt.Sprintf("Settled by looking: %s %s/%s (UID %s) %s", order.target.Kind, order.target.Namespace, order.target.Name, order.target.UID, seen.text),
		reason:  "SettledByLooking",
		object:  seen.object,
	}
}

// acceptedAt is when the approval was accepted, as the chain has it.
func (h *history) acceptedAt() time.Time {
	for i := range slices.Backward(h.events) {
		if spec := &h.events[i].Spec; spec.Type == opsv1alpha1.AuditApprovalAccepted {
			return spec.Time.Time
		}
	}
	return time.Time{}
}
