// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/tracing"
)

// Bounds of how often the finding is looked at while an action is verified.
const (
	minimumPoll = 500 * time.Millisecond
	maximumPoll = 5 * time.Second
	// pollsMissed is how many looks in a row may be late without the settle time
	// starting anew.
	pollsMissed = 2
)

// verify looks whether the finding that the action should mend has cleared and
// stays so for the settle time, by the deadline.
//
// Cleared means that the aggregated API says that there is no finding of that
// name, and that what comes in the place of the old pods is Ready. A finding's name is made of its identity (analyzer, reason, subject,
// discriminator), so one of the same name with a later since is the same trouble
// come back, and not cleared. An API that cannot be read, or whose analyzer is
// degraded, is unknown, and not cleared either: the settle time starts anew. So it does
// where nobody looked for a while, as when an executor takes over: the finding may have
// come back and gone meanwhile.
//
// What was not seen by the deadline makes Verified False, also where nobody looked:
// what has cleared by then may have been mended by somebody else.
func (r *reconciler) verify(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	if event := past.own(opsv1alpha1.AuditVerified); event != nil {
		return r.recordVerified(ctx, approval, past, true, "FindingCleared", event.Spec.Message)
	}
	if event := past.own(opsv1alpha1.AuditNotVerified); event != nil {
		return r.recordVerified(ctx, approval, past, false, "NotVerifiedBefore", event.Spec.Message)
	}
	name := approval.Spec.Snapshot.Finding.Name
	stands, err := r.served(ctx, approval, name, &srenix.Finding{})
	var waits string
	if err == nil && !stands {
		waits, err = r.unready(ctx, approval)
	}
	now, deadline, settle := r.clock.Now(), r.deadline(approval), r.config.SettleTime.Duration
	cleared, wait := err == nil && !stands && waits == "", r.pollInterval()
	watched := r.seen.again(string(approval.UID), pollsMissed*wait, now)
	if !cleared {
		r.seen.forget(string(approval.UID)) // whatever becomes of writing that down
	}
	if since := approval.Status.ClearedAt; cleared && since != nil && watched {
		left := since.Add(settle).Sub(now)
		if left <= 0 && !now.After(deadline) {
			return r.recordVerified(ctx, approval, past, true, "FindingCleared", fmt.Sprintf("the finding has cleared, and stayed so for %s", settle))
		}
		wait = min(wait, left)
	}
	if !now.Before(deadline) {
		reason, message := r.unverified(approval, stands, waits, err)
		return r.recordVerified(ctx, approval, past, false, reason, message)
	}
	clearedAt, reason, message := (*metav1.Time)(nil), "FindingPersists", "the finding is still there"
	switch {
	case err != nil:
		klog.FromContext(ctx).Info("It is not known whether the finding has cleared", "finding", name, "reason", err.Error())
		reason, message = "FindingUnknown", "it cannot be read now whether the finding has cleared"
	case waits != "":
		reason, message = "NotReadyYet", "the finding has cleared for now, and "+waits
	case cleared:
		if clearedAt = approval.Status.ClearedAt; clearedAt == nil || !watched {
			clearedAt = wholeSecond(now)
		}
		reason, message = "Settling", fmt.Sprintf("the finding has cleared, and must stay so for %s", settle)
	}
	err = r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.ClearedAt = clearedAt
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionVerified, metav1.ConditionUnknown, reason, message)
	})
	return ctrl.Result{RequeueAfter: min(wait, deadline.Sub(now))}, err
}

// unverified tells why nothing is verified by the deadline, with what was seen of
// the finding then, or as soon as somebody looked.
func (r *reconciler) unverified(approval *opsv1alpha1.Approval, stands bool, waits string, err error) (reason, message string) {
	deadline, settle := r.config.VerifyDeadline.Duration, r.config.SettleTime.Duration
	since := approval.Status.ClearedAt
	switch {
	case err != nil:
		return "FindingUnknown", "it could not be seen in time whether the finding has cleared: " + err.Error()
	case stands:
		return "FindingPersists", fmt.Sprintf("the finding is there, and was not seen to clear and stay so for %s within %s", settle, deadline)
	case waits != "":
		return "NotReadyInTime", fmt.Sprintf("the finding has cleared for now, and %s, %s after the action", waits, deadline)
	case since != nil && since.Add(settle).After(r.deadline(approval)):
		return "ClearedTooLate", fmt.Sprintf("the finding cleared at %s, too late to stay so for %s within %s", since.UTC().Format(time.RFC3339), settle, deadline)
	}
	return "NotSeenInTime", fmt.Sprintf(
		"the finding is gone, and nobody saw it clear and stay so for %s within %s, as when no executor runs: whether the action has helped cannot be told", settle, deadline)
}

func (r *reconciler) recordVerified(ctx context.Context, approval *opsv1alpha1.Approval, past *history, verified bool, reason, message string) (_ ctrl.Result, err error) {
	_, span := r.span(ctx, approval, spanVerify, startedAt(approval)...)
	span.SetAttributes(tracing.Outcome.String(reason))
	defer func() { tracing.End(span, err) }()
	value, kind, severity := metav1.ConditionTrue, opsv1alpha1.AuditVerified, normal
	if !verified {
		value, kind, severity = metav1.ConditionFalse, opsv1alpha1.AuditNotVerified, warning
	}
	event := past.own(kind)
	if event == nil {
		if event, err = r.chain.Append(ctx, r.entry(approval, kind, message, nil, approverOf(approval, past))); err != nil {
			return ctrl.Result{}, err
		}
	}
	err = r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.CompletedAt = wholeSecond(r.clock.Now())
		addAuditEvent(status, event.Name)
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionVerified, value, reason, message)
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	klog.FromContext(ctx).Info("Verification ended", "auditEvent", event.Name, "verified", verified, "reason", reason)
	action := approval.Spec.Snapshot.ActionKind
	r.metrics.verified(action, verified)
	r.announce(approval, true, severity, string(kind), string(action), message)
	return ctrl.Result{}, nil
}

// deadline is by when the finding must have cleared and stayed so.
func (r *reconciler) deadline(approval *opsv1alpha1.Approval) time.Time {
	acted := approval.CreationTimestamp.Time
	if record := approval.Status.Execution; record != nil && record.ActedAt != nil {
		acted = record.ActedAt.Time
	}
	return acted.Add(r.config.VerifyDeadline.Duration)
}

// pollInterval is a few looks for each settle time.
func (r *reconciler) pollInterval() time.Duration {
	return max(minimumPoll, min(maximumPoll, r.config.SettleTime.Duration/4))
}
