// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"strings"
	"testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
)

// planned makes the proposal of a world the second step of a plan of two, and returns
// the digest of the first.
func (w *world) planned() (first string) {
	w.t.Helper()
	spec := &w.proposal.Spec
	plan := &srenix.PlanStep{Name: "plan-shop", Step: 2}
	for _, name := range []string{"fix-db", w.proposal.Name} {
		action := srenix.PlannedAction{
			Proposal: name, UID: w.proposal.UID, Finding: spec.Finding, DiagnosticClass: spec.DiagnosticClass,
			Fixer: "replace-crashing-pod", ActionKind: spec.ActionKind, Target: spec.Target, Patch: spec.Patch,
		}
		if name == "fix-db" {
			action.UID, action.Target.Name, action.Target.UID = "db-uid", "db", "db-pod"
		}
		plan.Steps = append(plan.Steps, action)
	}
	var err error
	if plan.Digest, err = digest.Plan("shop", plan.Name, plan.Steps); err != nil {
		w.t.Fatal(err)
	}
	*spec = digest.StepSpec(plan, 2)
	if spec.Digest, err = digest.Step("shop", plan, 2); err != nil {
		w.t.Fatal(err)
	}
	change(w, w.proposal.DeepCopy(), func(stored *srenix.Proposal) { stored.Spec = *spec.DeepCopy() })
	if first, err = digest.Step("shop", plan, 1); err != nil {
		w.t.Fatal(err)
	}
	return first
}

// The chain says that the step was accepted, as if the webhook had let it pass.
func TestAStepIsNotCarriedOutBeforeTheOneAheadIsVerified(t *testing.T) {
	for name, test := range map[string]struct {
		happened []opsv1alpha1.AuditType
		says     string
	}{
		"verified":     {[]opsv1alpha1.AuditType{opsv1alpha1.AuditActionDone, opsv1alpha1.AuditVerified}, ""},
		"nothing":      {nil, "proposal fix-db, is not approved yet"},
		"under way":    {[]opsv1alpha1.AuditType{opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditActionDone}, "proposal fix-db, is approved and not verified yet"},
		"not verified": {[]opsv1alpha1.AuditType{opsv1alpha1.AuditActionDone, opsv1alpha1.AuditNotVerified}, "proposal fix-db, is not verified"},
		"denied since": {[]opsv1alpha1.AuditType{opsv1alpha1.AuditVerified, opsv1alpha1.AuditDenialRecorded}, "proposal fix-db, was denied"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			sum := w.planned()
			for _, kind := range test.happened {
				entry := audit.Entry{Actor: approver, Type: kind, References: opsv1alpha1.AuditReferences{
					Namespace: "shop", Proposal: "fix-db", ProposalUID: "db-uid", Digest: sum, Approval: "first", ApprovalUID: "first", JTI: "first", Approver: approver,
				}}
				if _, err := audit.NewChain(w.store, component, w.clock, nil).Append(t.Context(), entry); err != nil {
					t.Fatal(err)
				}
			}
			approval := w.approve(approver)
			w.newProcess("executor-0").run(approval)
			status := w.get(approval).Status
			if test.says == "" {
				if status.Phase != opsv1alpha1.PhaseSucceeded {
					t.Errorf("it is %s: %s", status.Phase, status.Message)
				}
				return
			}
			if status.Phase != opsv1alpha1.PhaseDenied || !strings.Contains(status.Message, test.says) || w.has(approval, opsv1alpha1.AuditActionIntended) {
				t.Errorf("it is %s: %s, after %v", status.Phase, status.Message, w.audited(approval))
			}
		})
	}
}
