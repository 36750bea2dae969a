// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// pageSize is how many objects are asked for at a time.
const pageSize = 500

// component is the executor's name in the audit chain, before the pod's.
const component = "executor"

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
			past.intent, past.intentIndex, past.intentTime = event.Name, event.Spec.Index, event.Spec.Time.Time
		}
	}
	if record := approval.Status.Execution; record != nil && record.Intent != "" {
		if past.intent == "" {
			past.intentTime = record.ClaimedAt.Time
		}
		past.intent = record.Intent
		for _, event := range past.events {
			if event.Name == record.Intent {
				past.intentIndex, past.intentTime = event.Spec.Index, event.Spec.Time.Time
			}
		}
	}
	return past, nil
}

// last returns the newest event of a type, or nil.
func (h *history) last(t opsv1alpha1.AuditType) *opsv1alpha1.AuditEvent {
	for i := len(h.events) - 1; i >= 0; i-- {
		if h.events[i].Spec.Type == t {
			return &h.events[i]
		}
	}
	return nil
}

// own returns the newest event of a type that an executor appended, or nil.
// Refusals by the webhook have the same type as those by the executor.
func (h *history) own(t opsv1alpha1.AuditType) *opsv1alpha1.AuditEvent {
	if event := h.last(t); event != nil && strings.HasPrefix(event.Spec.Component, component) {
		return event
	}
	return nil
}

// otherAction is an action, done or perhaps under way, for the same digest.
type otherAction struct {
	approval string
	done     bool
}

// actionBefore returns the first action for the digest of an approval whose
// intent is older than the event with an index, this approval's own apart from
// one with that very index. Actions that came to nothing do not count: they were
// recorded as failed. The chain's order is the same for everybody, so of two
// approvals of one digest exactly one finds none.
func (r *reconciler) actionBefore(ctx context.Context, approval *opsv1alpha1.Approval, index int64) (*otherAction, error) {
	uid, digest := approval.Spec.Proposal.UID, approval.Spec.Proposal.Digest
	var events []opsv1alpha1.AuditEvent
	for next := ""; ; {
		page := &opsv1alpha1.AuditEventList{}
		if err := r.client.List(ctx, page, client.MatchingLabels{audit.LabelProposalUID: string(uid)}, client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("reading the actions for proposal %s: %w", uid, err)
		}
		events = append(events, page.Items...)
		if next = page.Continue; next == "" {
			break
		}
	}
	slices.SortFunc(events, func(a, b opsv1alpha1.AuditEvent) int { return cmp.Compare(a.Spec.Index, b.Spec.Index) })

	var first *otherAction
	for i := range events {
		intent := &events[i].Spec
		if intent.Type != opsv1alpha1.AuditActionIntended || intent.References.Digest != digest || intent.Index >= index {
			continue
		}
		outcome := outcomeOf(intent.References.JTI, events[i+1:])
		if outcome == opsv1alpha1.AuditActionFailed {
			continue
		}
		found := &otherAction{approval: intent.References.Approval, done: outcome == opsv1alpha1.AuditActionDone}
		if found.done {
			return found, nil
		}
		if first == nil {
			first = found
		}
	}
	return first, nil
}

// outcomeOf is what became of an intent, by the events after it; empty while
// nothing is known. An action that was done stays so, even if somebody who could
// not see it yet had recorded that it failed.
func outcomeOf(jti string, later []opsv1alpha1.AuditEvent) opsv1alpha1.AuditType {
	var outcome opsv1alpha1.AuditType
	for i := range later {
		spec := &later[i].Spec
		if spec.References.JTI != jti {
			continue
		}
		switch spec.Type {
		case opsv1alpha1.AuditActionDone:
			return spec.Type
		case opsv1alpha1.AuditActionFailed:
			outcome = spec.Type
		}
	}
	return outcome
}
