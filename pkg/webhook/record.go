// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
)

const deniedType = opsv1alpha1.AuditApprovalDenied

func (d *decision) acceptedType() opsv1alpha1.AuditType {
	if d.request.Decision == v1alpha1.DecisionDeny {
		return opsv1alpha1.AuditDenialRecorded
	}
	return opsv1alpha1.AuditApprovalAccepted
}

func (d *decision) acceptedMessage() string {
	spec, verb := &d.request.Proposal.Spec, "approved"
	if d.request.Decision == v1alpha1.DecisionDeny {
		verb = "denied"
	}
	if d.byLink {
		verb += " by a link"
	}
	message := fmt.Sprintf("%s %s %s of %s %s/%s", d.approver(), verb, spec.ActionKind, spec.Target.Kind, spec.Target.Namespace, spec.Target.Name)
	if reason := d.request.Reason; reason != "" {
		message += ": " + reason
	}
	return message
}

// approver is the token's subject.
func (d *decision) approver() string { return d.claims.Subject }

// entry tells the chain what was decided. It holds the token's ID, never the token.
func (d *decision) entry(kind opsv1alpha1.AuditType, message string) audit.Entry {
	proposal := &d.request.Proposal
	target := proposal.Spec.Target
	entry := audit.Entry{
		Actor: d.approver(), Type: kind, Message: message,
		References: opsv1alpha1.AuditReferences{
			Namespace: proposal.Namespace, Proposal: proposal.Name, ProposalUID: proposal.UID, Digest: proposal.Spec.Digest,
			Approval: d.in.ApprovalName, ApprovalUID: d.uid, DiagnosticClass: proposal.Spec.DiagnosticClass,
			Approver: d.approver(), JTI: d.claims.ID,
			ActionKind: proposal.Spec.ActionKind, Target: &target, Plan: proposal.Spec.Plan.Of(),
		},
		Verdicts: append(d.outcome.Verdicts[:len(d.outcome.Verdicts):len(d.outcome.Verdicts)], d.outcome.Access),
	}
	if d.user != entry.Actor {
		entry.References.Applier = d.user
	}
	if snapshot, err := digest.Of(&proposal.Spec); err == nil {
		entry.Hashes = map[string]string{"snapshot": snapshot}
	}
	return entry
}
