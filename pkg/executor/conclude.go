// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// Types of Kubernetes events, of which the library has no names for events.k8s.io.
const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning
)

// maximumNote bounds the note of an event in bytes (k8s.io/api, events/v1).
const maximumNote = 1024

// ending is how an approval ends for which nothing was done.
type ending struct {
	phase opsv1alpha1.ApprovalPhase
	// condition is the one that is set to value, for reason.
	condition string
	value     metav1.ConditionStatus
	reason    string
	message   string
	// audit is appended before the end takes effect; empty if the chain has it already.
	audit    opsv1alpha1.AuditType
	verdicts []srenix.Verdict
}

func refused(reason, message string) ending {
	return ending{
		phase: opsv1alpha1.PhaseDenied, condition: opsv1alpha1.ConditionAccepted, value: metav1.ConditionFalse,
		reason: reason, message: message, audit: opsv1alpha1.AuditApprovalDenied,
	}
}

func deniedByPolicy(message string, verdicts []srenix.Verdict) ending {
	end := refused("DeniedByPolicy", message)
	end.verdicts = verdicts
	return end
}

func expired(message string) ending {
	end := refused("TokenExpired", message)
	end.phase = opsv1alpha1.PhaseExpired
	return end
}

func superseded(message string) ending {
	return ending{
		phase: opsv1alpha1.PhaseSuperseded, condition: opsv1alpha1.ConditionExecuted, value: metav1.ConditionFalse,
		reason: "Superseded", message: message, audit: opsv1alpha1.AuditSuperseded,
	}
}

// recorded is the end that the chain has already.
func (r *reconciler) recorded(approval *opsv1alpha1.Approval, record *opsv1alpha1.AuditEventSpec) ending {
	if record.Type == opsv1alpha1.AuditSuperseded {
		return superseded(record.Message)
	}
	if _, err := r.verifier.VerifyAt(approval.Spec.Token, record.Time.Time); errors.Is(err, token.ErrExpired) {
		return expired(record.Message)
	}
	return refused("DeniedBefore", record.Message)
}

// conclude ends an approval for which nothing was done, and nothing will be.
func (r *reconciler) conclude(ctx context.Context, approval *opsv1alpha1.Approval, past *history, end ending) (ctrl.Result, error) {
	approver := approverOf(approval, past)
	if end.audit != "" && past.own(end.audit) == nil {
		// An intent of another executor may have come in since this one looked.
		if err := r.stillUntouched(ctx, approval, past); err != nil {
			return ctrl.Result{}, err
		}
		event, err := r.chain.Append(ctx, r.entry(approval, end.audit, end.message, end.verdicts, approver))
		if err != nil {
			return ctrl.Result{}, err
		}
		past.events = append(past.events, *event)
	}
	// From here on every intent is younger than the end, and comes to nothing.
	if err := r.stillUntouched(ctx, approval, past); err != nil {
		return ctrl.Result{}, err
	}
	err := r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.Phase = end.phase
		status.Approver = approver
		status.Message = end.message
		status.CompletedAt = wholeSecond(r.clock.Now())
		for _, event := range past.events {
			addAuditEvent(status, event.Name)
		}
		r.setCondition(status, approval.Generation, end.condition, end.value, end.reason, end.message)
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	name := ""
	if n := len(past.events); n > 0 {
		name = past.events[n-1].Name
	}
	kind := approval.Spec.Snapshot.ActionKind
	klog.FromContext(ctx).Info("Approval ended without an action", "auditEvent", name, "phase", end.phase, "reason", end.reason, "message", end.message)
	r.metrics.acted(kind, string(end.phase), past.acceptedAt(), r.clock.Now())
	severity := warning
	if end.phase == opsv1alpha1.PhaseReleased || end.phase == opsv1alpha1.PhaseSuperseded || end.reason == reasonDeniedByPerson {
		severity = normal
	}
	r.announce(approval, false, severity, end.reason, string(kind), end.message)
	return ctrl.Result{}, nil
}

// stillUntouched returns errOvertaken if the chain has an intent for an approval
// that had none: what came of it has to be looked at.
func (r *reconciler) stillUntouched(ctx context.Context, approval *opsv1alpha1.Approval, past *history) error {
	if past.intent != "" || jtiOf(approval) == "" {
		return nil
	}
	now, err := r.recall(ctx, approval)
	if err != nil {
		return err
	}
	if now.intent != "" {
		return errOvertaken
	}
	return nil
}

// announce makes a Kubernetes event on the approval, and on its target too if
// something was, or should have been, done to it.
func (r *reconciler) announce(approval *opsv1alpha1.Approval, onTarget bool, severity, reason, action, note string) {
	note = cut(note, maximumNote)
	about := &corev1.ObjectReference{
		APIVersion: opsv1alpha1.SchemeGroupVersion.String(), Kind: "Approval",
		Namespace: approval.Namespace, Name: approval.Name, UID: approval.UID,
	}
	target := referTo(approval.Spec.Snapshot.Target)
	r.recorder.Eventf(about, target, severity, reason, action, "%s", note)
	if onTarget {
		r.recorder.Eventf(target, about, severity, reason, action, "%s", note)
	}
}

func referTo(target srenix.ObjectReference) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: target.APIVersion, Kind: target.Kind, Namespace: target.Namespace, Name: target.Name, UID: target.UID,
	}
}

// cut shortens text to at most so many bytes, between two characters.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const ellipsis = "..."
	end := most - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
