// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"fmt"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/policy"
)

// readSteps gathers how far the steps have come that are before the one under decision.
// The chain alone tells: writing the status of an Approval verifies nothing, and
// deleting one takes nothing back. The digest of each step is that which it has in this
// very plan. What contradicts itself has no steps to read: the policy refuses it.
func (g *gathering) readSteps(ctx context.Context) {
	plan := g.in.Proposal.Spec.Plan
	if plan == nil || plan.Step < 1 || int(plan.Step) > len(plan.Steps) || len(plan.Steps) > v1alpha1.MaximumPlanSteps {
		return
	}
	before := make([]policy.StepRecord, 0, plan.Step)
	for step := int32(1); step < plan.Step; step++ {
		sum, err := digest.Step(g.in.Proposal.Namespace, plan, step)
		if err != nil {
			g.unknown(err, policy.DualApproval)
			return
		}
		events, err := audit.AboutDigest(ctx, g.Reader, plan.Steps[step-1].UID, sum)
		if err != nil {
			g.unknown(fmt.Errorf("reading how far step %d of plan %s has come: %w", step, plan.Name, err), policy.DualApproval)
			return
		}
		before = append(before, recordOf(events))
	}
	g.in.Before = &before
}

// recordOf is how far a step has come, by the events about its digest, oldest first.
// Whatever speaks against it holds, whenever that was recorded.
func recordOf(events []opsv1alpha1.AuditEvent) policy.StepRecord {
	record := policy.StepRecord{State: policy.StepNotApproved}
	var verified, failed *policy.StepRecord
	for i := range events {
		spec := &events[i].Spec
		if spec.Type == opsv1alpha1.AuditDenialRecorded {
			return policy.StepRecord{State: policy.StepDenied, Message: "by " + spec.References.Approver}
		}
		if spec.Type == opsv1alpha1.AuditApprovalAccepted && !endedByExecutor(spec, events[i+1:]) {
			record = policy.StepRecord{State: policy.StepUnderWay}
		}
		if !audit.ByExecutor(spec) {
			continue
		}
		switch {
		case spec.Type == opsv1alpha1.AuditNotVerified, spec.Type == opsv1alpha1.AuditActionUnsettled:
			failed = &policy.StepRecord{State: policy.StepNotVerified, Message: spec.Message}
		case spec.Type == opsv1alpha1.AuditVerified:
			verified = &policy.StepRecord{State: policy.StepVerified}
		case ends(spec.Type) && record.State != policy.StepUnderWay:
			record = policy.StepRecord{State: policy.StepNotDone, Message: spec.Message}
		}
	}
	switch {
	case failed != nil:
		return *failed
	case verified != nil:
		return *verified
	}
	return record
}
