// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// readUse finds out by the audit chain whether the token was used up, and at
// execution when this approval was accepted. It returns the index of that event.
func (g *gathering) readUse(ctx context.Context, claims *token.Claims) (accepted int64) {
	events, err := audit.ByJTI(ctx, g.Reader, claims.ID)
	if err != nil {
		g.unknown(err, policy.SignedToken, policy.HashChainedAudit, policy.RateBudget)
		return 0
	}
	var usedBy string
	var used []*opsv1alpha1.AuditEventSpec
	for i := range events {
		spec := &events[i].Spec
		switch {
		case g.in.Stage == policy.StageExecution && g.accepts(spec):
			// The first counts; more of them are from an executor that was interrupted.
			if accepted == 0 {
				g.in.AcceptedAt, accepted = recorded(&events[i]), spec.Index
			}
		case audit.IsDecision(spec.Type), g.in.Stage == policy.StageExecution && spec.Type == opsv1alpha1.AuditActionIntended:
			used = append(used, spec)
		}
	}
	for _, spec := range used {
		// Requests that race are each judged before either is recorded; the one that
		// the chain has first counts, and the others were refused.
		raced := accepted > 0 && audit.IsDecision(spec.Type) && spec.Index > accepted
		if raced || usedBy != "" {
			continue
		}
		if usedBy = spec.References.Approval; usedBy == "" {
			usedBy = token.ApprovalName(claims.ID)
		}
	}
	g.in.TokenUsedBy = &usedBy
	return accepted
}

// recorded is when an event was, by both clocks that tell.
func recorded(event *opsv1alpha1.AuditEvent) (span policy.Span) {
	span.Earliest, span.Latest = audit.Recorded(event)
	return span
}

// accepts tells whether an event is the acceptance of this very approval.
func (g *gathering) accepts(event *opsv1alpha1.AuditEventSpec) bool {
	references, proposal := &event.References, &g.in.Proposal
	want := opsv1alpha1.AuditApprovalAccepted
	if g.in.Decision == v1alpha1.DecisionDeny {
		want = opsv1alpha1.AuditDenialRecorded
	}
	return event.Type == want && references.Approval == g.in.ApprovalName && references.ApprovalUID == g.approvalUID &&
		references.Namespace == proposal.Namespace &&
		references.ProposalUID == proposal.UID && references.Digest == proposal.Spec.Digest
}

// readDecisions gathers the other decisions on the same digest. A denial counts
// by the chain alone, so that deleting its Approval does not take it back. An
// approval counts, where more than one is needed, while it is stored and was not
// ended by the executor, carries a token that was valid when the chain recorded
// its acceptance, and is of somebody who may still do the action.
//
// The own decision, of the token with this ID, is none of them; "" if there is none.
func (g *gathering) readDecisions(ctx context.Context, own string) {
	events, err := audit.AboutDigest(ctx, g.Reader, g.in.Proposal.UID, g.in.Proposal.Spec.Digest)
	if err != nil {
		g.unknown(err, policy.DualApproval)
		return
	}
	var others []policy.ApprovalRecord
	several := policy.ApproversNeeded(g.in.Proposal.Spec.ActionKind, g.Config) > 1
	for i := range events {
		spec := &events[i].Spec
		record := policy.ApprovalRecord{
			Name: spec.References.Approval, Approver: spec.References.Approver,
			Decision: v1alpha1.DecisionApprove, Time: recorded(&events[i]),
		}
		switch {
		case spec.Type == opsv1alpha1.AuditDenialRecorded:
			record.Decision = v1alpha1.DecisionDeny
			others = append(others, record)
			continue
		case !several, spec.Type != opsv1alpha1.AuditApprovalAccepted, spec.References.JTI == own, endedByExecutor(spec, events[i+1:]):
			continue
		}
		counts, err := g.stillStands(ctx, spec)
		if err != nil {
			g.unknown(err, policy.DualApproval)
			return
		}
		if counts {
			others = append(others, record)
		}
	}
	g.in.Approvals = &others
}

// endedByExecutor tells whether the executor ended an approval after its
// acceptance: its token had expired by then, for one, or its proposal was gone.
// It has had its end, and does not rise again with a proposal of the same digest.
// What others record does not count: whoever holds a used token can provoke the
// webhook's refusals.
func endedByExecutor(accepted *opsv1alpha1.AuditEventSpec, later []opsv1alpha1.AuditEvent) bool {
	return slices.ContainsFunc(later, func(event opsv1alpha1.AuditEvent) bool {
		references := &event.Spec.References
		return ends(event.Spec.Type) && audit.ByExecutor(&event.Spec) &&
			references.JTI == accepted.References.JTI && references.ApprovalUID == accepted.References.ApprovalUID
	})
}

// ends tells whether nothing is carried out any more for an approval of which an
// executor records this.
func ends(t opsv1alpha1.AuditType) bool {
	switch t {
	case opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditSuperseded, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled:
		return true
	}
	return false
}

// stillStands tells whether an accepted approval is stored, was not withdrawn and
// is what the chain says, and its approver may still do what was approved.
func (g *gathering) stillStands(ctx context.Context, event *opsv1alpha1.AuditEventSpec) (bool, error) {
	references := &event.References
	stored := &opsv1alpha1.Approval{}
	err := g.Reader.Get(ctx, client.ObjectKey{Namespace: g.in.Proposal.Namespace, Name: references.Approval}, stored)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading Approval %s: %w", references.Approval, err)
	}
	// One whose token does not verify does not count, which asks for one approver
	// more and never for one less.
	claims, err := g.Verifier.VerifyAt(stored.Spec.Token, event.Time.Time)
	same := err == nil && stored.DeletionTimestamp == nil && stored.UID == references.ApprovalUID && stored.Spec.Decision == v1alpha1.DecisionApprove &&
		stored.Spec.Proposal.UID == references.ProposalUID && stored.Spec.Proposal.Digest == references.Digest &&
		claims.Binding.ProposalUID == references.ProposalUID && claims.Binding.Digest == references.Digest &&
		claims.Binding.Decision == v1alpha1.DecisionApprove &&
		claims.Subject == references.Approver && claims.ID == references.JTI
	if !same {
		return false, nil
	}
	refusal, err := g.accessRefusal(ctx, claims)
	return refusal == "", err
}

// readBudget gathers the accepted approvals of this person and class: at
// approval those of the last hour, at execution those that the chain has in the
// hour before this one, so that approvals which raced are settled by its order.
func (g *gathering) readBudget(ctx context.Context, claims *token.Claims, accepted int64) {
	end := g.in.Now
	if g.in.Stage == policy.StageExecution {
		end = g.in.AcceptedAt.Earliest
	}
	class := g.in.Proposal.Spec.DiagnosticClass
	events, err := audit.AcceptedSince(ctx, g.Reader, claims.Subject, class, end.Add(-policy.BudgetWindow))
	if err != nil {
		g.unknown(err, policy.RateBudget)
		return
	}
	var spent []time.Time
	seen := map[string]bool{claims.ID: true}
	for i := range events {
		spec := &events[i].Spec
		if g.in.Stage == policy.StageExecution && spec.Index >= accepted {
			break
		}
		if seen[spec.References.JTI] {
			continue
		}
		seen[spec.References.JTI] = true
		spent = append(spent, recorded(&events[i]).Latest)
	}
	g.in.Spent = &spent
}
