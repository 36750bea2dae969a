// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
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
)

// verify looks whether the finding that the action should mend has cleared and
// stays so for the settle time.
//
// Cleared means that the aggregated API says that there is no finding of that
// name. A finding's name is made of its identity (analyzer, reason, subject,
// discriminator), so one of the same name with a later since is the same trouble
// come back, and not cleared. An API that cannot be read, or whose analyzer is
// degraded, is unknown, and not cleared either: the settle time starts anew.
//
// A finding that is not seen cleared at the deadline makes Verified False. One
// that is may use up its settle time beyond it.
func (r *reconciler) verify(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	name := approval.Spec.Snapshot.Finding.Name
	stands, err := r.served(ctx, approval, name, &srenix.Finding{})
	now := r.clock.Now()
	switch {
	case err == nil && !stands:
		return r.settleTime(ctx, approval, past, now)
	case !now.Before(r.deadline(approval)):
		if err != nil {
			return r.recordVerified(ctx, approval, past, false, "FindingUnknown", "it could not be seen in time whether the finding has cleared: "+err.Error())
		}
		return r.recordVerified(ctx, approval, past, false, "FindingPersists", "the finding did not clear, or did not stay so, within "+r.config.VerifyDeadline.Duration.String())
	}
	reason, message := "FindingPersists", "the finding is still there"
	if err != nil {
		klog.FromContext(ctx).Info("It is not known whether the finding has cleared", "finding", name, "reason", err.Error())
		reason, message = "FindingUnknown", "the finding cannot be read now"
	}
	err = r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.ClearedAt = nil
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionVerified, metav1.ConditionUnknown, reason, message)
	})
	return ctrl.Result{RequeueAfter: r.pollInterval()}, err
}

// settleTime goes on with a finding that is gone now.
func (r *reconciler) settleTime(ctx context.Context, approval *opsv1alpha1.Approval, past *history, now time.Time) (ctrl.Result, error) {
	if approval.Status.ClearedAt == nil {
		err := r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
			status.ClearedAt = wholeSecond(now)
			r.setCondition(status, approval.Generation, opsv1alpha1.ConditionVerified, metav1.ConditionUnknown, "Settling",
				"the finding has cleared, and must stay so for "+r.config.SettleTime.Duration.String())
		})
		if err != nil {
			return ctrl.Result{}, err
		}
	}
	if wait := approval.Status.ClearedAt.Add(r.config.SettleTime.Duration).Sub(now); wait > 0 {
		return ctrl.Result{RequeueAfter: min(wait, r.pollInterval())}, nil
	}
	return r.recordVerified(ctx, approval, past, true, "FindingCleared", "the finding has cleared, and stayed so for "+r.config.SettleTime.Duration.String())
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

// deadline is when an uncleared finding counts as not verified.
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
