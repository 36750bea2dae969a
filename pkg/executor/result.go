// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/policy"
)

// result is what came of an action.
type result struct {
	// summary tells in a sentence what was done, or why it was not.
	summary string
	// reason is that of the condition Executed.
	reason string
	// object is the target as the API server answered or as it was seen; may be nil.
	object client.Object
	// hashes are those of the request and of object, for the audit chain; nil where
	// what was found is not what was answered.
	hashes map[string]string
}

// Keys of the hashes of intents and results.
const (
	hashOfRequest = "request"
	hashOfTarget  = "target"
)

// hashesOf are the hashes of a request, and of the target as it is before or after
// it. None of the five actions is on a Secret, or reads one.
func hashesOf(act action, order order, target client.Object) (map[string]string, error) {
	request, err := act.request(order)
	if err != nil {
		return nil, err
	}
	hashes := map[string]string{}
	for key, value := range map[string]any{hashOfRequest: request, hashOfTarget: target} {
		if hashes[key], err = digest.Of(value); err != nil {
			return nil, fmt.Errorf("hashing the %s of an action: %w", key, err)
		}
	}
	return hashes, nil
}

// hashesOfDone are hashesOf what was done: that it was has to be recorded without
// them, too.
func hashesOfDone(ctx context.Context, act action, order order, answered client.Object) map[string]string {
	hashes, err := hashesOf(act, order, answered)
	if err != nil {
		klog.FromContext(ctx).Error(err, "The record of an action lacks its hashes")
	}
	return hashes
}

func (r *result) evidence() map[string]string {
	if r.object == nil {
		return nil
	}
	return map[string]string{"uid": string(r.object.GetUID()), "resourceVersion": r.object.GetResourceVersion()}
}

// reasonNotAsApproved is that of an action whose answer shows something else than
// what was approved.
const reasonNotAsApproved = "NotAsApproved"

// strayed tells how the API server's answer to an action differs from what was
// approved; empty if it does not. Admission can refuse a deletion and cannot change
// one, so that of a deletion the answer is all there is to look at.
func strayed(approved *srenix.ProposalSpec, act action, ruling *ruling, answered client.Object) string {
	if act.deletes() {
		return ""
	}
	target := &ruling.order.target
	problem := func(what string) string {
		return fmt.Sprintf("kube-apiserver took the patch of %s %s/%s, and its answer is not what was approved: %s. Nothing is done for this digest again: look at it and for what changes it on its way, such as an admission webhook that leaves dry runs alone, and put it right by hand",
			target.Kind, target.Namespace, target.Name, what)
	}
	judged, comparable := ruling.order.object.(*unstructured.Unstructured)
	stored, whole := answered.(*unstructured.Unstructured)
	if !comparable || !whole {
		return problem("it cannot be compared")
	}
	paths, err := policy.Unapproved(approved, ruling.claims, judged, stored)
	if err != nil {
		return problem(err.Error())
	}
	if len(paths) > 0 {
		return problem("it differs in " + strings.Join(paths, ", "))
	}
	if done, _ := act.done(answered, ruling.order); !done {
		return problem("it does not show the action")
	}
	return ""
}

// notAsApproved returns the record of an answer that was not what was approved, or
// nil. It has the answer's hash, and so outweighs what somebody says who only looked.
func (h *history) notAsApproved() *opsv1alpha1.AuditEvent {
	if event := h.own(opsv1alpha1.AuditActionUnsettled); event != nil && event.Spec.Hashes[hashOfTarget] != "" {
		return event
	}
	return nil
}

// recordDone writes down that the action was carried out, in the chain and then
// in the status, whatever the status says by now: that something was done is
// never covered up by somebody who looked too early.
func (r *reconciler) recordDone(ctx context.Context, approval *opsv1alpha1.Approval, past *history, result result) (ctrl.Result, error) {
	approver, kind, now := approverOf(approval, past), approval.Spec.Snapshot.ActionKind, r.microNow()
	event := past.own(opsv1alpha1.AuditActionDone)
	if event == nil {
		var err error
		entry := r.entry(approval, opsv1alpha1.AuditActionDone, result.summary, nil, approver)
		entry.Hashes = result.hashes
		if event, err = r.chain.Append(ctx, entry); err != nil {
			return ctrl.Result{}, err
		}
		past.events = append(past.events, *event)
	} else {
		now = event.Spec.Time
	}
	err := r.update(ctx, approval, anyProgress, func(status *opsv1alpha1.ApprovalStatus) {
		if status.Phase == opsv1alpha1.PhaseSucceeded {
			return
		}
		status.Phase = opsv1alpha1.PhaseSucceeded
		status.Approver = approver
		status.Message = result.summary
		status.CompletedAt, status.ClearedAt = nil, nil
		r.noteIntent(status, past)
		status.Execution.ActedAt = &now
		status.Execution.Summary = result.summary
		status.Execution.Evidence = result.evidence()
		for _, event := range past.events {
			addAuditEvent(status, event.Name)
		}
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionExecuted, metav1.ConditionTrue, result.reason, result.summary)
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionVerified, metav1.ConditionUnknown, "Verifying", "waiting for the finding to clear and stay so")
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	klog.FromContext(ctx).Info("Action carried out", "auditEvent", event.Name, "actionKind", kind, "summary", result.summary)
	r.metrics.acted(kind, outcomeDone, past.acceptedAt(), now.Time)
	r.announce(approval, true, normal, string(kind), string(kind), result.summary)
	return ctrl.Result{RequeueAfter: r.pollInterval()}, nil
}

// recordNotDone writes down that the action was not carried out (ActionFailed),
// or that it was not as approved or nobody can tell (ActionUnsettled), unless
// somebody has recorded meanwhile that it was.
func (r *reconciler) recordNotDone(ctx context.Context, approval *opsv1alpha1.Approval, past *history, outcome opsv1alpha1.AuditType, result result) (ctrl.Result, error) {
	reason, message := result.reason, result.summary
	approver, kind := approverOf(approval, past), approval.Spec.Snapshot.ActionKind
	event := past.own(outcome)
	if event == nil {
		var err error
		entry := r.entry(approval, outcome, message, nil, approver)
		entry.Hashes = result.hashes
		if event, err = r.chain.Append(ctx, entry); err != nil {
			return ctrl.Result{}, err
		}
		past.events = append(past.events, *event)
	}
	err := r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.Phase = opsv1alpha1.PhaseFailed
		status.Approver = approver
		status.Message = message
		status.CompletedAt = wholeSecond(r.clock.Now())
		r.noteIntent(status, past)
		status.Execution.Evidence = result.evidence()
		for _, event := range past.events {
			addAuditEvent(status, event.Name)
		}
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionExecuted, metav1.ConditionFalse, reason, message)
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	klog.FromContext(ctx).Info("Action not carried out", "auditEvent", event.Name, "actionKind", kind, "reason", reason, "message", message)
	r.metrics.acted(kind, outcomeFailed, past.acceptedAt(), r.clock.Now())
	r.announce(approval, true, warning, reason, string(kind), message)
	return ctrl.Result{}, nil
}

// noteIntent puts the intent where it should have been, for an approval whose
// status was lost since.
func (r *reconciler) noteIntent(status *opsv1alpha1.ApprovalStatus, past *history) {
	if status.Execution == nil {
		status.Execution = &opsv1alpha1.ExecutionRecord{Executor: r.identity, ClaimedAt: metav1.NewMicroTime(past.intentTime)}
	}
	if status.Execution.Intent == "" {
		status.Execution.Intent = past.intent
	}
}

// anyProgress is for what is right however far the approval got meanwhile.
func anyProgress(*opsv1alpha1.Approval) bool { return true }

// approverOf is the user name in the token, as it was verified before.
func approverOf(approval *opsv1alpha1.Approval, past *history) string {
	for _, event := range past.events {
		if name := event.Spec.References.Approver; name != "" {
			return name
		}
	}
	return approval.Status.Approver
}
