// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"slices"
	"time"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// component is the executor's name in the audit chain, before the pod's.
const component = audit.ComponentExecutor

// history is what the audit chain, and after it the status, know of one approval.
type history struct {
	// events about it, oldest first.
	events []opsv1alpha1.AuditEvent
	// intent is the name of the first event that records an intent to act; empty
	// if there is none, and so nothing was done.
	intent string
	// intentIndex and intentTime are the event's, or as good as can be told from
	// the status where the chain does not have it any more.
	intentIndex int64
	intentTime  time.Time
	// intended is what the intent says would be written; nil where that is not
	// known any more.
	intended *opsv1alpha1.AuditIntent
}

// recall reads the history of an approval by the token that its name calls for.
// An intent in either place counts: the chain, because anybody who may write the
// status could take it out of there, and the status, because the chain is pruned.
func (r *reconciler) recall(ctx context.Context, approval *opsv1alpha1.Approval) (*history, error) {
	events, err := audit.ByJTI(ctx, r.client, jtiOf(approval))
	if err != nil {
		return nil, err
	}
	past := &history{intentIndex: -1}
	for _, event := range events {
		references := &event.Spec.References
		if references.Approval != approval.Name || references.Namespace != approval.Namespace {
			continue
		}
		past.events = append(past.events, event)
		if event.Spec.Type == opsv1alpha1.AuditActionIntended && past.intent == "" {
			past.intend(&event)
		}
	}
	if record := approval.Status.Execution; record != nil && record.Intent != "" {
		if past.intent == "" {
			past.intentTime = record.ClaimedAt.Time
		}
		past.intent = record.Intent
		for _, event := range past.events {
			if event.Name == record.Intent {
				past.intend(&event)
			}
		}
	}
	return past, nil
}

// intend makes an event the intent.
func (h *history) intend(event *opsv1alpha1.AuditEvent) {
	h.intent, h.intentIndex, h.intentTime, h.intended = event.Name, event.Spec.Index, event.Spec.Time.Time, event.Spec.Intent
}

// accepted returns the acceptance of this very Approval, or nil. One of an
// Approval of the same name that was deleted since is not it.
func (h *history) accepted(approval *opsv1alpha1.Approval) *opsv1alpha1.AuditEvent {
	kind := opsv1alpha1.AuditApprovalAccepted
	if approval.Spec.Decision == srenix.DecisionDeny {
		kind = opsv1alpha1.AuditDenialRecorded
	}
	for i := range h.events {
		if spec := &h.events[i].Spec; spec.Type == kind && spec.References.ApprovalUID == approval.UID {
			return &h.events[i]
		}
	}
	return nil
}

// own returns the newest event of a type that an executor appended, or nil.
// Refusals by the webhook have the same type as those by the executor, and go on
// coming while somebody uses the token again.
func (h *history) own(t opsv1alpha1.AuditType) *opsv1alpha1.AuditEvent {
	for i := range slices.Backward(h.events) {
		if spec := &h.events[i].Spec; spec.Type == t && audit.ByExecutor(spec) {
			return &h.events[i]
		}
	}
	return nil
}

// endedBy returns the first record by which an executor ended this very Approval
// with nothing done, or nil. Who appended it may have stopped before the status
// said so, and by now the approval may look as good as it did before. One that
// comes after an intent is of an executor that had lost its claim, and ends nothing.
func endedBy(events []opsv1alpha1.AuditEvent, approval *opsv1alpha1.Approval) *opsv1alpha1.AuditEventSpec {
	for i := range events {
		spec := &events[i].Spec
		if (spec.Type == opsv1alpha1.AuditApprovalDenied || spec.Type == opsv1alpha1.AuditSuperseded) &&
			audit.ByExecutor(spec) && spec.References.ApprovalUID == approval.UID {
			return spec
		}
	}
	return nil
}
