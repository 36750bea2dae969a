// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/silences"
)

// planned are the steps of plans that would mend a finding.
//
// A plan that a model chose is there while all of its steps fit. Once a step is
// approved, the plan is what its Approval says: what was carried out fits no more, and
// must not change the digest of what is left. Of that a step is there while it would do
// what the plan says, and so does each one before it that is not approved.
func (p *proposer) planned(view *live.View, finding *v1alpha1.Finding) ([]fix, error) {
	plans := map[string]*v1alpha1.PlanStep{}
	var fixes []fix
	add := func(plan *v1alpha1.PlanStep) error {
		if plans[plan.Name] != nil {
			return nil
		}
		plans[plan.Name] = plan
		step, stands, err := p.left(view, finding, plan)
		if stands {
			fixes = append(fixes, step)
		}
		return err
	}
	for _, approval := range Approvals.ByIndex(view, byPlanned, string(finding.UID)) {
		if approval.Namespace != finding.Namespace || !begins(approval) {
			continue
		}
		stored := approval.Spec.Snapshot.Plan
		plan, err := sealed(approval.Namespace, stored.Steps)
		if err != nil {
			return nil, err
		}
		if plan == nil || plan.Digest != stored.Digest {
			continue // nothing that was ever proposed
		}
		if err := add(plan); err != nil {
			return nil, err
		}
	}
	for _, investigation := range Investigations.ByIndex(view, byPlanned, string(finding.UID)) {
		named := investigation.Spec.Finding
		if investigation.Namespace != finding.Namespace || investigation.DeletionTimestamp != nil ||
			investigation.Name != opsv1alpha1.InvestigationName(named.Name, named.UID) || investigation.Status.Plan.Quarantined {
			continue
		}
		plan, err := p.chosenPlan(view, investigation)
		if err != nil {
			return nil, err
		}
		if plan == nil {
			continue
		}
		if err := add(plan); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(fixes, func(a, b fix) int { return strings.Compare(a.plan.Name, b.plan.Name) })
	return fixes, nil
}

// chosenPlan is the plan that a model chose; nil if not all of its steps fit.
func (p *proposer) chosenPlan(view *live.View, investigation *opsv1alpha1.Investigation) (*v1alpha1.PlanStep, error) {
	var actions []v1alpha1.PlannedAction
	for _, step := range investigation.Status.Plan.Steps {
		action, _, fits := p.stepNow(view, investigation.Namespace, step.Finding.Name, step.Finding.UID, step.Fixer)
		if !fits || silenced(view, investigation.Namespace, step.Finding.Name) {
			return nil, nil
		}
		actions = append(actions, action)
	}
	return sealed(investigation.Namespace, actions)
}

// stepNow is what a fixer would do for a finding now.
func (p *proposer) stepNow(view *live.View, namespace, name string, uid types.UID, fixer string) (action v1alpha1.PlannedAction, of fix, fits bool) {
	finding, exists := analyzers.DetectedFindings.Get(view, live.Key{Namespace: namespace, Name: name})
	match, known := p.byFixer[fixer]
	if !exists || finding.UID != uid || !known {
		return v1alpha1.PlannedAction{}, fix{}, false
	}
	if of, fits = match(view, finding); !fits {
		return v1alpha1.PlannedAction{}, fix{}, false
	}
	return v1alpha1.PlannedAction{
		Finding:         v1alpha1.FindingReference{Name: finding.Name, UID: finding.UID, Since: finding.Spec.Since},
		DiagnosticClass: finding.Spec.Analyzer, Fixer: fixer,
		ActionKind: of.action, Target: of.target, Patch: of.patch,
	}, of, true
}

func silenced(view *live.View, namespace, name string) bool {
	finding, exists := analyzers.DetectedFindings.Get(view, live.Key{Namespace: namespace, Name: name})
	return exists && silences.By(view, finding) != ""
}

// sealed is the plan of some actions, with the names of its proposals and its digest;
// nil if they are no plan. Its name is made of what would be done, so that all replicas
// name it the same, and another plan is never taken for it.
func sealed(namespace string, actions []v1alpha1.PlannedAction) (*v1alpha1.PlanStep, error) {
	if len(actions) < v1alpha1.MinimumPlanSteps || len(actions) > v1alpha1.MaximumPlanSteps {
		return nil, nil
	}
	steps := slices.Clone(actions)
	for i := range steps {
		steps[i].Proposal, steps[i].UID = "", ""
		for _, other := range steps[:i] {
			// What mends a finding, or is done to an object, is done once.
			if other.Finding.UID == steps[i].Finding.UID || other.Target == steps[i].Target {
				return nil, nil
			}
		}
	}
	content, err := digest.Plan(namespace, "", steps)
	if err != nil {
		return nil, fmt.Errorf("naming a plan in namespace %s: %w", namespace, err)
	}
	plan := &v1alpha1.PlanStep{Name: analyzers.Name([]string{"plan"}, namespace, content), Steps: steps}
	for i := range steps {
		step := &steps[i]
		identity := append(identityOf(namespace, step.Finding.Name, step.ActionKind, step.Target), plan.Name)
		step.Proposal, step.UID = nameOf(identity, step.ActionKind, step.Target), uidOf(identity, step.Finding.UID, step.Target)
	}
	if plan.Digest, err = digest.Plan(namespace, plan.Name, steps); err != nil {
		return nil, fmt.Errorf("taking the digest of plan %s in namespace %s: %w", plan.Name, namespace, err)
	}
	return plan, nil
}

// left is the step of a plan that would mend a finding, if it can still come to that.
func (p *proposer) left(view *live.View, finding *v1alpha1.Finding, plan *v1alpha1.PlanStep) (fix, bool, error) {
	for i := range plan.Steps {
		step, number := &plan.Steps[i], int32(i+1) //nolint:gosec // At most five.
		of, stands, err := p.unchanged(view, finding.Namespace, step)
		if err != nil {
			return fix{}, false, err
		}
		if step.Finding.UID == finding.UID {
			of.source, of.plan = v1alpha1.SourceLLM, digest.StepSpec(plan, number).Plan
			of.tier = v1alpha1.TierPlan
			of.rationale = fmt.Sprintf("A model made this step %d of %d of a plan, out of the fixes that srenix knows. %s", number, len(plan.Steps), of.rationale)
			return of, stands, nil
		}
		if stands && !silenced(view, finding.Namespace, step.Finding.Name) {
			continue
		}
		sum, err := digest.Step(finding.Namespace, plan, number)
		if err != nil {
			return fix{}, false, err
		}
		if !slices.ContainsFunc(decisionsOn(view, finding.Namespace, step.UID, sum), begins) {
			return fix{}, false, nil
		}
	}
	return fix{}, false, nil
}

// unchanged tells whether the fixer of a step would do now what the plan says.
func (p *proposer) unchanged(view *live.View, namespace string, step *v1alpha1.PlannedAction) (fix, bool, error) {
	now, of, fits := p.stepNow(view, namespace, step.Finding.Name, step.Finding.UID, step.Fixer)
	if !fits {
		return fix{}, false, nil
	}
	now.Proposal, now.UID = step.Proposal, step.UID
	have, err := digest.Of(now)
	if err != nil {
		return fix{}, false, err
	}
	want, err := digest.Of(step)
	return of, have == want, err
}

// begins tells whether something was done for an approval of a step, or may be.
func begins(approval *opsv1alpha1.Approval) bool {
	switch approval.Status.Phase {
	case opsv1alpha1.PhaseDenied, opsv1alpha1.PhaseExpired, opsv1alpha1.PhaseSuperseded:
		return false
	}
	return approval.Spec.Decision == v1alpha1.DecisionApprove
}

// stepsBefore tells how far the steps of a plan have come that are before a proposal,
// by what is stored. What is approved is judged again by the audit chain.
func stepsBefore(view *live.View, proposal *v1alpha1.Proposal) (*[]policy.StepRecord, error) {
	plan := proposal.Spec.Plan
	if plan == nil {
		return nil, nil
	}
	before := make([]policy.StepRecord, 0, plan.Step)
	for number := int32(1); number < plan.Step; number++ {
		sum, err := digest.Step(proposal.Namespace, plan, number)
		if err != nil {
			return nil, fmt.Errorf("taking the digest of step %d of plan %s: %w", number, plan.Name, err)
		}
		uid := plan.Steps[number-1].UID
		record := standingOf(decisionsOn(view, proposal.Namespace, uid, sum))
		for _, denial := range recordedOn(view, uid, sum) {
			if denial.Spec.Type == opsv1alpha1.AuditDenialRecorded {
				record = policy.StepRecord{State: policy.StepDenied, Message: "by " + denial.Spec.References.Approver}
			}
		}
		before = append(before, record)
	}
	return &before, nil
}

// standingOf is how far a step has come, by the approvals of it, of which the oldest
// is first.
func standingOf(decided []*opsv1alpha1.Approval) policy.StepRecord {
	record := policy.StepRecord{State: policy.StepNotApproved}
	for _, approval := range decided {
		if approval.Spec.Decision != v1alpha1.DecisionApprove {
			continue
		}
		status := &approval.Status
		switch verified := meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionVerified); {
		case status.Phase == opsv1alpha1.PhaseSucceeded && verified != nil && verified.Status == metav1.ConditionTrue:
			return policy.StepRecord{State: policy.StepVerified}
		case status.Phase == opsv1alpha1.PhaseSucceeded && verified != nil && verified.Status == metav1.ConditionFalse:
			return policy.StepRecord{State: policy.StepNotVerified, Message: shorten(verified.Message)}
		case !status.Phase.Finished() || status.Phase == opsv1alpha1.PhaseSucceeded:
			record = policy.StepRecord{State: policy.StepUnderWay}
		case record.State != policy.StepUnderWay:
			record = policy.StepRecord{State: policy.StepNotDone, Message: shorten(cmp.Or(status.Message, string(status.Phase)))}
		}
	}
	return record
}
