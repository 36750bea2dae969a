// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
)

// planned makes the good input that of a step of a plan with so many steps, those before
// which are verified.
func planned(t testing.TB, stage Stage, step, steps int32) Input {
	t.Helper()
	in := good(t, stage, v1alpha1.ActionDeletePod)
	asStep(t, &in, step, steps)
	return in
}

// asStep makes what an input proposes a step of a plan.
func asStep(t testing.TB, in *Input, step, steps int32) {
	t.Helper()
	spec := in.Proposal.Spec
	plan := &v1alpha1.PlanStep{Name: "plan-shop", Step: step}
	before := []StepRecord{}
	for i := int32(1); i <= steps; i++ {
		name := "fix-" + strings.Repeat("i", int(i))
		plan.Steps = append(plan.Steps, v1alpha1.PlannedAction{
			Proposal: name, UID: types.UID("uid-of-" + name), Finding: v1alpha1.FindingReference{Name: name, UID: types.UID(name)},
			DiagnosticClass: spec.DiagnosticClass, Fixer: "replace-crashing-pod", ActionKind: spec.ActionKind, Target: spec.Target, Patch: spec.Patch,
		})
		if i < step {
			before = append(before, StepRecord{State: StepVerified})
		}
	}
	in.Before = &before
	resealPlan(t, in, plan)
}

// resealPlan makes a proposal the step of a plan that its digest fits, with a token for it.
func resealPlan(t testing.TB, in *Input, plan *v1alpha1.PlanStep) {
	t.Helper()
	var err error
	if plan.Digest, err = digest.Plan("shop", plan.Name, plan.Steps); err != nil {
		t.Fatal(err)
	}
	p := &in.Proposal
	p.Name, p.UID = plan.Steps[plan.Step-1].Proposal, plan.Steps[plan.Step-1].UID
	p.Spec = digest.StepSpec(plan, plan.Step)
	resign(t, in)
}

// resign gives a proposal its digest, and alice a token for it.
func resign(t testing.TB, in *Input) {
	t.Helper()
	seal(t, &in.Proposal)
	in.CurrentDigest = in.Proposal.Spec.Digest
	if in.Stage != StageStanding {
		now := in.Now
		in.Now = start
		newCredentials(t).approve(t, in, "alice", bind(&in.Proposal))
		in.Now = now
	}
}

func TestAStepIsAllowedOnceTheStepsBeforeAreVerified(t *testing.T) {
	for _, stage := range []Stage{StageStanding, StageApproval, StageExecution} {
		for _, of := range [][2]int32{{1, 2}, {2, 2}, {1, 5}, {3, 5}, {5, 5}} {
			if in := planned(t, stage, of[0], of[1]); !Evaluate(in).Allowed {
				t.Errorf("%s: step %d of %d is refused: %s", stage, of[0], of[1], Evaluate(in).Message())
			}
		}
	}
}

func TestAStepOutOfTurnIsDenied(t *testing.T) {
	const opens = "opens once fix-i is verified"
	for name, test := range map[string]struct {
		record       StepRecord
		says, remedy string
	}{
		"not approved": {StepRecord{State: StepNotApproved}, "step 3 of 3 of plan plan-shop: step 1, proposal fix-i, is not approved yet", opens + "; approve that one first: kubectl create approval --proposal fix-i -n shop"},
		"under way":    {StepRecord{State: StepUnderWay}, "step 1, proposal fix-i, is approved and not verified yet", opens + "; see kubectl get approvals.ops.srenix.io -n shop"},
		"not done":     {StepRecord{State: StepNotDone, Message: "the target is gone"}, "step 1, proposal fix-i, was approved, and nothing was done: the target is gone", opens + "; mend why, and approve it again: kubectl create approval --proposal fix-i -n shop"},
		"not verified": {StepRecord{State: StepNotVerified, Message: "it persists"}, "step 1, proposal fix-i, is not verified: it persists", "the plan ends here"},
		"denied":       {StepRecord{State: StepDenied, Message: "by bob"}, "step 1, proposal fix-i, was denied by bob", "the plan ends here"},
		"unknown":      {StepRecord{State: "Good"}, "unknown state \"Good\"", "report this"},
		"zero":         {StepRecord{}, "unknown state", "report this"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stage := range []Stage{StageStanding, StageApproval, StageExecution} {
				in := planned(t, stage, 3, 3)
				(*in.Before)[0] = test.record
				decision := Evaluate(in)
				expectDenied(t, decision, test.says, DualApproval)
				if verdict := verdictOf(t, decision, DualApproval); !strings.HasPrefix(verdict.Remedy, test.remedy) {
					t.Errorf("the remedy is %q, want %q", verdict.Remedy, test.remedy)
				}
			}
		})
	}
	in := planned(t, StageApproval, 3, 3)
	(*in.Before)[1].State = StepNotApproved
	expectDenied(t, Evaluate(in), "step 2, proposal fix-ii, is not approved yet", DualApproval)
	for state, want := range map[StepState]string{
		StepNotDone:     "step 3 of 3 of plan plan-shop: step 1, proposal fix-i, was approved, and nothing was done",
		StepNotVerified: "step 3 of 3 of plan plan-shop: step 1, proposal fix-i, is not verified",
	} {
		in := planned(t, StageApproval, 3, 3)
		(*in.Before)[0] = StepRecord{State: state} // nobody knows why
		if verdict := verdictOf(t, Evaluate(in), DualApproval); verdict.Message != want {
			t.Errorf("the layer says %q, want %q", verdict.Message, want)
		}
	}
}

func TestAStepOfWhichNobodyAskedWhatIsBeforeIsDenied(t *testing.T) {
	for name, before := range map[string]*[]StepRecord{
		"nobody asked": nil,
		"of none":      {},
		"of too few":   {{State: StepVerified}},
		"of too many":  {{State: StepVerified}, {State: StepVerified}, {State: StepVerified}},
	} {
		t.Run(name, func(t *testing.T) {
			in := planned(t, StageApproval, 3, 3)
			in.Before = before
			expectDenied(t, Evaluate(in), "whether the steps before this one are verified", DualApproval)
			expectDenied(t, Evaluate(in), "nobody asked", DualApproval)
		})
	}
	// The first step depends on none, and that has to be known as well.
	in := planned(t, StageApproval, 1, 2)
	in.Before = nil
	expectDenied(t, Evaluate(in), "nobody asked", DualApproval)
}

// A no to a step is always possible, also out of turn.
func TestAStepOutOfTurnCanBeDenied(t *testing.T) {
	in := planned(t, StageApproval, 2, 2)
	in.Before = nil
	deny(t, &in)
	if decision := Evaluate(in); !decision.Allowed {
		t.Errorf("a no is refused: %s", decision.Message())
	}
}

// Whoever could sign anything can still not sign what is no step of its plan.
func TestAStepThatIsNotThatOfItsPlanIsDenied(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Proposal)
		words  string
	}{
		"another target than planned":  {func(p *Proposal) { p.Spec.Target.Name = "db" }, "as step 2 of its plan"},
		"another name than planned":    {func(p *Proposal) { p.Name = "other" }, "as step 2 of its plan"},
		"another UID than planned":     {func(p *Proposal) { p.UID = "other" }, "as step 2 of its plan"},
		"another finding than planned": {func(p *Proposal) { p.Spec.Finding.UID = "other" }, "as step 2 of its plan"},
		"another class than planned":   {func(p *Proposal) { p.Spec.DiagnosticClass = "other" }, "as step 2 of its plan"},
		"another dependency":           {func(p *Proposal) { p.Spec.Plan.DependsOn = 0 }, "as step 2 of its plan"},
		"another plan's name":          {func(p *Proposal) { p.Spec.Plan.Name = "other" }, "its plan names sha256:"},
		"another plan's digest":        {func(p *Proposal) { p.Spec.Plan.Digest = "sha256:" + strings.Repeat("0", 64) }, "its plan names sha256:"},
		"a later step changed":         {func(p *Proposal) { p.Spec.Plan.Steps[2].Target.Name = "db" }, "its plan names sha256:"},
		"steps in another order": {func(p *Proposal) {
			steps := p.Spec.Plan.Steps
			steps[1], steps[2] = steps[2], steps[1]
		}, "its plan names sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			in := planned(t, StageApproval, 2, 3)
			test.change(&in.Proposal)
			resign(t, &in)
			if verdict := verdictOf(t, Evaluate(in), SignedToken); verdict.Result != v1alpha1.VerdictDenied || !strings.Contains(verdict.Message, test.words) {
				t.Errorf("the layer says %+v", verdict)
			}
			if _, err := Proof(in.Verifier, in.Token, in.Now, in.Decision, in.Reason, &in.Proposal); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("it is proven: %v", err)
			}
		})
	}
}

func TestAPlanHasTwoToFiveSteps(t *testing.T) {
	for _, of := range [][2]int32{{1, 1}, {1, 6}, {6, 6}} {
		in := planned(t, StageApproval, of[0], of[1])
		expectDenied(t, Evaluate(in), "of a plan of", SignedToken)
	}
	for _, step := range []int32{0, -1, 4} {
		in := planned(t, StageApproval, 2, 3)
		in.Proposal.Spec.Plan.Step = step
		resign(t, &in)
		expectDenied(t, Evaluate(in), "of a plan of", SignedToken, DualApproval)
	}
	// Nor is there one after the last, whatever was verified.
	in := planned(t, StageApproval, 3, 3)
	in.Proposal.Spec.Plan.Step = 4
	*in.Before = append(*in.Before, StepRecord{State: StepVerified})
	resign(t, &in)
	expectDenied(t, Evaluate(in), "of a plan of", SignedToken, DualApproval)
}
