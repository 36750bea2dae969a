// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/policy"
)

// plan makes the proposal of a world a step of a plan of three.
func (w *world) plan(t *testing.T, step int32) {
	t.Helper()
	plan := &v1alpha1.PlanStep{Name: "plan", Step: step}
	for _, name := range []string{"one", "two", "three"} {
		plan.Steps = append(plan.Steps, v1alpha1.PlannedAction{
			Proposal: name, UID: types.UID("uid-of-" + name), Finding: v1alpha1.FindingReference{Name: name, UID: types.UID(name)},
			DiagnosticClass: "WorkloadStateDrift", Fixer: "replace-crashing-pod", ActionKind: v1alpha1.ActionDeletePod, Target: w.proposal.Spec.Target,
		})
	}
	var err error
	if plan.Digest, err = digest.Plan("shop", plan.Name, plan.Steps); err != nil {
		t.Fatal(err)
	}
	w.proposal.Name, w.proposal.UID = plan.Steps[step-1].Proposal, plan.Steps[step-1].UID
	w.proposal.Spec = digest.StepSpec(plan, step)
	w.seal(t)
}

// happened records something about a step of the plan.
func (w *world) happened(t *testing.T, component string, kind opsv1alpha1.AuditType, step int32, jti string, change ...func(*opsv1alpha1.AuditReferences)) {
	t.Helper()
	plan := w.proposal.Spec.Plan
	sum, err := digest.Step("shop", plan, step)
	if err != nil {
		t.Fatal(err)
	}
	references := opsv1alpha1.AuditReferences{
		Namespace: "shop", Proposal: plan.Steps[step-1].Proposal, ProposalUID: plan.Steps[step-1].UID, Digest: sum,
		Approval: "approval-" + jti, ApprovalUID: types.UID(jti), Approver: "bob", JTI: jti, DiagnosticClass: "WorkloadStateDrift", Plan: plan.Name,
	}
	for _, change := range change {
		change(&references)
	}
	entry := audit.Entry{Actor: "bob", Type: kind, References: references, Message: "so it is"}
	if _, err := audit.NewChain(w, component, w.clock, nil).Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
}

const executor = audit.ComponentExecutor + "a"

func TestHowFarAStepHasComeIsWhatTheChainSays(t *testing.T) {
	type event struct {
		component string
		kind      opsv1alpha1.AuditType
		jti       string
		change    func(*opsv1alpha1.AuditReferences)
	}
	accepted := event{"apiserver/a", opsv1alpha1.AuditApprovalAccepted, "1", nil}
	intended := event{executor, opsv1alpha1.AuditActionIntended, "1", nil}
	done := event{executor, opsv1alpha1.AuditActionDone, "1", nil}
	by := func(component string, kind opsv1alpha1.AuditType) event { return event{component, kind, "1", nil} }
	again := event{"apiserver/a", opsv1alpha1.AuditApprovalAccepted, "2", nil}
	for name, test := range map[string]struct {
		events []event
		want   policy.StepRecord
	}{
		"nothing":                  {nil, policy.StepRecord{State: policy.StepNotApproved}},
		"a token was minted":       {[]event{by("apiserver/a", opsv1alpha1.AuditTokenMinted)}, policy.StepRecord{State: policy.StepNotApproved}},
		"refused by a layer":       {[]event{by("apiserver/a", opsv1alpha1.AuditApprovalDenied)}, policy.StepRecord{State: policy.StepNotApproved}},
		"accepted":                 {[]event{accepted}, policy.StepRecord{State: policy.StepUnderWay}},
		"intended":                 {[]event{accepted, intended}, policy.StepRecord{State: policy.StepUnderWay}},
		"done":                     {[]event{accepted, intended, done}, policy.StepRecord{State: policy.StepUnderWay}},
		"verified":                 {[]event{accepted, intended, done, by(executor, opsv1alpha1.AuditVerified)}, policy.StepRecord{State: policy.StepVerified}},
		"not verified":             {[]event{accepted, intended, done, by(executor, opsv1alpha1.AuditNotVerified)}, policy.StepRecord{State: policy.StepNotVerified, Message: "so it is"}},
		"unsettled":                {[]event{accepted, intended, by(executor, opsv1alpha1.AuditActionUnsettled)}, policy.StepRecord{State: policy.StepNotVerified, Message: "so it is"}},
		"failed":                   {[]event{accepted, intended, by(executor, opsv1alpha1.AuditActionFailed)}, policy.StepRecord{State: policy.StepNotDone, Message: "so it is"}},
		"superseded":               {[]event{accepted, by(executor, opsv1alpha1.AuditSuperseded)}, policy.StepRecord{State: policy.StepNotDone, Message: "so it is"}},
		"failed, and tried again":  {[]event{accepted, intended, by(executor, opsv1alpha1.AuditActionFailed), again}, policy.StepRecord{State: policy.StepUnderWay}},
		"another that raced ended": {[]event{accepted, again, {executor, opsv1alpha1.AuditSuperseded, "2", nil}}, policy.StepRecord{State: policy.StepUnderWay}},
		"failed, then verified": {[]event{
			accepted, intended, by(executor, opsv1alpha1.AuditActionFailed), again, {executor, opsv1alpha1.AuditVerified, "2", nil},
		}, policy.StepRecord{State: policy.StepVerified}},
		"verified and not verified": {[]event{accepted, by(executor, opsv1alpha1.AuditNotVerified), by(executor, opsv1alpha1.AuditVerified)}, policy.StepRecord{State: policy.StepNotVerified, Message: "so it is"}},
		"denied":                    {[]event{by("apiserver/a", opsv1alpha1.AuditDenialRecorded)}, policy.StepRecord{State: policy.StepDenied, Message: "by bob"}},
		"denied since": {[]event{
			accepted, done, by(executor, opsv1alpha1.AuditVerified), {"apiserver/a", opsv1alpha1.AuditDenialRecorded, "2", nil},
		}, policy.StepRecord{State: policy.StepDenied, Message: "by bob"}},
		"verified, says another program": {[]event{accepted, by("advisor/a", opsv1alpha1.AuditVerified)}, policy.StepRecord{State: policy.StepUnderWay}},
		"verified under another digest": {[]event{{executor, opsv1alpha1.AuditVerified, "1", func(r *opsv1alpha1.AuditReferences) {
			r.Digest = "sha256:" + strings.Repeat("0", 64)
		}}}, policy.StepRecord{State: policy.StepNotApproved}},
		"another proposal was verified": {[]event{{executor, opsv1alpha1.AuditVerified, "1", func(r *opsv1alpha1.AuditReferences) {
			r.ProposalUID = "other"
		}}}, policy.StepRecord{State: policy.StepNotApproved}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.plan(t, 2)
			for _, e := range test.events {
				var change []func(*opsv1alpha1.AuditReferences)
				if e.change != nil {
					change = append(change, e.change)
				}
				w.happened(t, e.component, e.kind, 1, e.jti, change...)
			}
			signed, claims := w.mint(t, "alice")
			request := w.request(policy.StageApproval, signed, claims)
			in := w.gatherer().Gather(t.Context(), request)
			if in.Before == nil {
				t.Fatalf("nobody asked: %v", in.Unknown)
			}
			if diff := cmp.Diff([]policy.StepRecord{test.want}, *in.Before); diff != "" {
				t.Errorf("before is (-want +have):\n%s", diff)
			}
			if decision := policy.Evaluate(in); decision.Allowed != (test.want.State == policy.StepVerified) {
				t.Errorf("allowed is %t: %s", decision.Allowed, decision.Message())
			}
			request.Stage, request.Token = policy.StageStanding, ""
			if standing := w.gatherer().Gather(t.Context(), request); standing.Before == nil || (*standing.Before)[0] != test.want {
				t.Errorf("standing, before is %v", standing.Before)
			}
		})
	}
}

func TestEachStepBeforeIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.plan(t, 3)
	w.happened(t, executor, opsv1alpha1.AuditVerified, 2, "2")
	signed, claims := w.mint(t, "alice")
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	want := []policy.StepRecord{{State: policy.StepNotApproved}, {State: policy.StepVerified}}
	if in.Before == nil || cmp.Diff(want, *in.Before) != "" {
		t.Errorf("before is %v, want %v", in.Before, want)
	}
	w.happened(t, executor, opsv1alpha1.AuditVerified, 1, "1")
	in = w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	if decision := policy.Evaluate(in); !decision.Allowed {
		t.Errorf("refused: %s", decision.Message())
	}
}

func TestAStepThatCannotBeAskedForDenies(t *testing.T) {
	w := newWorld(t)
	w.plan(t, 2)
	w.happened(t, executor, opsv1alpha1.AuditVerified, 1, "1")
	signed, claims := w.mint(t, "alice")
	plan := w.proposal.Spec.Plan
	away := errors.New("the API server is away")
	w.faults["list AuditEvent about "+string(plan.Steps[0].UID)] = failing(away)
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	if !errors.Is(in.Unknown[policy.DualApproval], away) || policy.Evaluate(in).Allowed {
		t.Errorf("unknown is %v", in.Unknown)
	}
	in.Unknown = nil
	expectDenied(t, in, []policy.Layer{policy.DualApproval})
}

// What a snapshot says of its plan may be anything: it is refused, and nothing panics.
func TestAPlanThatContradictsItselfDenies(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.PlanStep){
		"step zero":       func(p *v1alpha1.PlanStep) { p.Step = 0 },
		"a negative step": func(p *v1alpha1.PlanStep) { p.Step = -1 },
		"a step too far":  func(p *v1alpha1.PlanStep) { p.Step = 4 },
		"no steps":        func(p *v1alpha1.PlanStep) { p.Steps = nil },
		"far too many":    func(p *v1alpha1.PlanStep) { p.Steps = append(p.Steps, p.Steps...) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.plan(t, 2)
			w.happened(t, executor, opsv1alpha1.AuditVerified, 1, "1")
			change(w.proposal.Spec.Plan)
			w.seal(t)
			signed, claims := w.mint(t, "alice")
			in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
			expectDenied(t, in, []policy.Layer{policy.DualApproval, policy.SignedToken})
		})
	}
}
