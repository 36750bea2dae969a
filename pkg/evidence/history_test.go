// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

func TestTokenIsUsedUpByTheChain(t *testing.T) {
	other := func(r *opsv1alpha1.AuditReferences) { r.Approval = "approval-other" }
	type event struct {
		kind   opsv1alpha1.AuditType
		change []func(*opsv1alpha1.AuditReferences)
	}
	for name, test := range map[string]struct {
		stage    policy.Stage
		events   []event
		used     bool
		accepted bool
	}{
		"minted only":                        {policy.StageApproval, []event{{kind: opsv1alpha1.AuditTokenMinted}}, false, false},
		"refused before":                     {policy.StageApproval, []event{{kind: opsv1alpha1.AuditApprovalDenied}}, false, false},
		"accepted before, and deleted since": {policy.StageApproval, []event{{kind: opsv1alpha1.AuditApprovalAccepted}}, true, false},
		"used for a denial":                  {policy.StageApproval, []event{{kind: opsv1alpha1.AuditDenialRecorded}}, true, false},
		"execution of the accepted":          {policy.StageExecution, []event{{kind: opsv1alpha1.AuditApprovalAccepted}}, false, true},
		"execution, accepted twice in a race": {policy.StageExecution, []event{
			{kind: opsv1alpha1.AuditApprovalAccepted}, {kind: opsv1alpha1.AuditApprovalAccepted},
		}, false, true},
		"execution of what was never accepted": {policy.StageExecution, []event{{kind: opsv1alpha1.AuditTokenMinted}}, false, false},
		"execution of what was refused":        {policy.StageExecution, []event{{kind: opsv1alpha1.AuditApprovalDenied}}, false, false},
		"execution under another name": {policy.StageExecution, []event{
			{opsv1alpha1.AuditApprovalAccepted, []func(*opsv1alpha1.AuditReferences){other}},
		}, true, false},
		"execution of one that was deleted and made again": {policy.StageExecution, []event{
			{opsv1alpha1.AuditApprovalAccepted, []func(*opsv1alpha1.AuditReferences){func(r *opsv1alpha1.AuditReferences) { r.ApprovalUID = "before" }}},
		}, true, false},
		"execution of the first of two that raced": {policy.StageExecution, []event{
			{kind: opsv1alpha1.AuditApprovalAccepted},
			{opsv1alpha1.AuditApprovalAccepted, []func(*opsv1alpha1.AuditReferences){func(r *opsv1alpha1.AuditReferences) { r.ApprovalUID = "raced" }}},
		}, false, true},
		"execution of the second of two that raced": {policy.StageExecution, []event{
			{opsv1alpha1.AuditApprovalAccepted, []func(*opsv1alpha1.AuditReferences){func(r *opsv1alpha1.AuditReferences) { r.ApprovalUID = "raced" }}},
			{kind: opsv1alpha1.AuditApprovalAccepted},
		}, true, true},
		"execution in another namespace": {policy.StageExecution, []event{
			{opsv1alpha1.AuditApprovalAccepted, []func(*opsv1alpha1.AuditReferences){func(r *opsv1alpha1.AuditReferences) { r.Namespace = "bank" }}},
		}, true, false},
		"execution of another digest": {policy.StageExecution, []event{
			{opsv1alpha1.AuditApprovalAccepted, []func(*opsv1alpha1.AuditReferences){func(r *opsv1alpha1.AuditReferences) { r.Digest = "sha256:x" }}},
		}, true, false},
		"execution after an intent": {policy.StageExecution, []event{
			{kind: opsv1alpha1.AuditApprovalAccepted}, {kind: opsv1alpha1.AuditActionIntended},
		}, true, true},
		"execution of a recorded denial": {policy.StageExecution, []event{{kind: opsv1alpha1.AuditDenialRecorded}}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			signed, claims := w.mint(t, "alice")
			for _, e := range test.events {
				w.record(t, e.kind, claims, e.change...)
			}
			in := w.gatherer().Gather(t.Context(), w.request(test.stage, signed, claims))
			if in.TokenUsedBy == nil || (*in.TokenUsedBy != "") != test.used || in.AcceptedAt.Earliest.IsZero() == test.accepted {
				t.Errorf("used by %q, accepted at %s", ptr.Deref(in.TokenUsedBy, "nobody knows whom"), in.AcceptedAt.Earliest)
			}
			if want := !test.used && (test.accepted || test.stage == policy.StageApproval); policy.Evaluate(in).Allowed != want {
				t.Errorf("allowed is %t: %s", !want, policy.Evaluate(in).Message())
			}
		})
	}
}

func TestOtherDecisionsThatCount(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(t *testing.T, w *world)
		want    []string
	}{
		"an accepted one": {func(t *testing.T, w *world) { w.accept(t, "bob") }, []string{"bob Approve"}},
		"an accepted one whose token has expired": {func(t *testing.T, w *world) {
			w.accept(t, "bob")
			w.clock.SetTime(start.Add(2 * time.Hour))
		}, []string{"bob Approve"}},
		"two": {func(t *testing.T, w *world) { w.accept(t, "bob"); w.accept(t, "carol") }, []string{"bob Approve", "carol Approve"}},
		"one of an Approval that was deleted and made again": {func(t *testing.T, w *world) {
			signed, claims := w.mint(t, "bob")
			w.record(t, opsv1alpha1.AuditApprovalAccepted, claims, func(r *opsv1alpha1.AuditReferences) { r.ApprovalUID = "before" })
			w.store(t, signed, claims)
		}, nil},
		"one that the executor refused since": {func(t *testing.T, w *world) {
			_, claims := w.accept(t, "bob")
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditApprovalDenied, claims)
		}, nil},
		"one that the executor superseded since": {func(t *testing.T, w *world) {
			_, claims := w.accept(t, "bob")
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditSuperseded, claims)
		}, nil},
		"one whose action failed since": {func(t *testing.T, w *world) {
			_, claims := w.accept(t, "bob")
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditActionIntended, claims)
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditActionFailed, claims)
		}, nil},
		"one of which nobody can tell whether it was carried out": {func(t *testing.T, w *world) {
			_, claims := w.accept(t, "bob")
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditActionIntended, claims)
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditActionUnsettled, claims)
		}, nil},
		"one that somebody else than an executor says to be superseded": {func(t *testing.T, w *world) {
			_, claims := w.accept(t, "bob")
			w.record(t, opsv1alpha1.AuditSuperseded, claims)
		}, []string{"bob Approve"}},
		"one whose like of another UID was superseded": {func(t *testing.T, w *world) {
			_, claims := w.accept(t, "bob")
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditSuperseded, claims, func(r *opsv1alpha1.AuditReferences) { r.ApprovalUID = "before" })
		}, []string{"bob Approve"}},
		"one beside another person's that was superseded": {func(t *testing.T, w *world) {
			w.accept(t, "bob")
			_, claims := w.accept(t, "carol")
			w.recordBy(t, "executor/pod", opsv1alpha1.AuditSuperseded, claims)
		}, []string{"bob Approve"}},
		"one whose token somebody tried again since": {func(t *testing.T, w *world) {
			_, claims := w.accept(t, "bob")
			w.record(t, opsv1alpha1.AuditApprovalDenied, claims)
		}, []string{"bob Approve"}},
		"one of somebody who lost the right since": {func(t *testing.T, w *world) {
			w.accept(t, "bob")
			w.barred = []string{"bob"}
		}, nil},
		"one that is not stored": {func(t *testing.T, w *world) {
			_, claims := w.mint(t, "bob")
			w.record(t, opsv1alpha1.AuditApprovalAccepted, claims)
		}, nil},
		"one that was never accepted": {func(t *testing.T, w *world) {
			signed, claims := w.mint(t, "bob")
			w.store(t, signed, claims)
		}, nil},
		"one with another person's token": {func(t *testing.T, w *world) {
			signed, _ := w.mint(t, "mallory")
			_, claims := w.mint(t, "bob")
			w.record(t, opsv1alpha1.AuditApprovalAccepted, claims)
			w.store(t, signed, claims)
		}, nil},
		"one with a token that does not verify": {func(t *testing.T, w *world) {
			_, claims := w.mint(t, "bob")
			w.record(t, opsv1alpha1.AuditApprovalAccepted, claims)
			w.store(t, "x.y.z", claims)
		}, nil},
		"one of another digest": {func(t *testing.T, w *world) {
			_, claims := w.mint(t, "bob")
			w.record(t, opsv1alpha1.AuditApprovalAccepted, claims, func(r *opsv1alpha1.AuditReferences) { r.Digest = "sha256:before" })
		}, nil},
		"a denial, stored or not": {func(t *testing.T, w *world) {
			_, claims := w.mint(t, "bob")
			w.record(t, opsv1alpha1.AuditDenialRecorded, claims)
		}, []string{"bob Deny"}},
		"a refused attempt": {func(t *testing.T, w *world) {
			_, claims := w.mint(t, "bob")
			w.record(t, opsv1alpha1.AuditApprovalDenied, claims)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Approvers = map[v1alpha1.ActionKind]int32{v1alpha1.ActionDeletePod: 2}
			test.prepare(t, w)
			signed, claims := w.mint(t, "alice")
			in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
			if diff := cmp.Diff(test.want, approvers(*in.Approvals)); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

// A runbook was approved by one person and superseded, because its proposal went.
// It comes back with the same digest, and one other yes does not release it.
func TestAnEndedApprovalOfARunbookDoesNotCount(t *testing.T) {
	for name, test := range map[string]struct {
		ends     bool
		awaiting bool
	}{
		"it still waits":    {false, false},
		"it was superseded": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spec := &w.proposal.Spec
			spec.Tier, spec.ActionKind = v1alpha1.TierRunbook, v1alpha1.ActionRunbook
			spec.Runbook = &v1alpha1.RunbookReference{Title: "unseal", Investigation: "vault", Digest: "sha256:text"}
			w.seal(t)
			_, first := w.accept(t, "bob")
			if test.ends {
				w.recordBy(t, "executor/pod", opsv1alpha1.AuditSuperseded, first)
			}
			w.clock.SetTime(start.Add(31 * time.Minute))
			signed, claims := w.accept(t, "alice")
			decision := policy.Evaluate(w.gatherer().Gather(t.Context(), w.request(policy.StageExecution, signed, claims)))
			if !decision.Allowed || decision.Awaiting != test.awaiting {
				t.Errorf("allowed %t, awaiting another %t: %s", decision.Allowed, decision.Awaiting, decision.Message())
			}
		})
	}
}

func TestOtherApprovalsAreNotReadWhereOneIsEnough(t *testing.T) {
	w := newWorld(t)
	w.accept(t, "bob")
	w.faults["get Approval"] = failing(errors.New("it must not be asked for"))
	signed, claims := w.mint(t, "alice")
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	if len(in.Unknown) > 0 || len(*in.Approvals) > 0 {
		t.Errorf("unknown %v, approvals %v", in.Unknown, *in.Approvals)
	}
}

func TestTimeOfADecisionIsThatOfTheChain(t *testing.T) {
	w := newWorld(t)
	w.config.Approvers = map[v1alpha1.ActionKind]int32{v1alpha1.ActionDeletePod: 2}
	w.clock.SetTime(start.Add(-40 * time.Minute))
	w.accept(t, "bob")
	w.clock.SetTime(start)
	signed, claims := w.mint(t, "alice")
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	if len(*in.Approvals) != 1 || !(*in.Approvals)[0].Time.Latest.Equal(start.Add(-40*time.Minute)) {
		t.Errorf("approvals are %+v", *in.Approvals)
	}
}

// A replica whose clock is wrong shortens the half hour between two people for nobody,
// nor does it give anybody a budget back.
func TestAClockThatIsWrongShortensNothing(t *testing.T) {
	for name, of := range map[string]struct{ first, second time.Duration }{
		"the first is recorded by one that lags":   {-29 * time.Minute, 0},
		"the second is recorded by one that leads": {0, 29 * time.Minute},
		"the first by one that leads":              {29 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.api = clocktesting.NewFakePassiveClock(start)
			w.config.Approvers = map[v1alpha1.ActionKind]int32{v1alpha1.ActionDeletePod: 2}
			w.clock.SetTime(start.Add(of.first))
			w.accept(t, "bob")
			accepted := start.Add(70 * time.Second)
			w.api.SetTime(accepted)
			w.clock.SetTime(accepted.Add(of.second))
			signed, claims := w.accept(t, "alice")
			in := w.gatherer().Gather(t.Context(), w.request(policy.StageExecution, signed, claims))
			if decision := policy.Evaluate(in); decision.Verdict(policy.DualApproval).Result == v1alpha1.VerdictAllowed {
				t.Errorf("70 s apart: %+v", decision.Verdict(policy.DualApproval))
			}
			if in.AcceptedAt.Earliest.After(accepted) {
				t.Errorf("accepted at %s at the earliest, and kube-apiserver says %s", in.AcceptedAt.Earliest, accepted)
			}
		})
	}
	t.Run("budgets", func(t *testing.T) {
		w := newWorld(t)
		w.api = clocktesting.NewFakePassiveClock(start)
		w.clock.SetTime(start.Add(-2 * time.Hour))
		w.accept(t, "alice")
		w.clock.SetTime(start.Add(2 * time.Hour)) // of the replica that asks
		w.api.SetTime(start.Add(time.Minute))
		signed, claims := w.accept(t, "alice")
		in := w.gatherer().Gather(t.Context(), w.request(policy.StageExecution, signed, claims))
		if len(*in.Spent) != 1 {
			t.Errorf("spent are %v", *in.Spent)
		}
		w.config.ApprovalsPerHour = new(int32(1))
		in = w.gatherer().Gather(t.Context(), w.request(policy.StageExecution, signed, claims))
		if decision := policy.Evaluate(in); decision.Allowed || !strings.Contains(decision.Message(), "RateBudget") {
			t.Errorf("the second of one an hour: %t %s", decision.Allowed, decision.Message())
		}
	})
}

func TestDeletingADenialDoesNotTakeItBack(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "bob")
	w.record(t, opsv1alpha1.AuditDenialRecorded, claims)
	w.store(t, signed, claims)
	if err := w.Delete(t.Context(), &opsv1alpha1.Approval{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: token.ApprovalName(claims.ID)}}); err != nil {
		t.Fatal(err)
	}
	signed, claims = w.mint(t, "alice")
	decision := policy.Evaluate(w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims)))
	if decision.Allowed {
		t.Error("the denial is forgotten")
	}
}

func TestBudgetCountsThePersonAndTheClassWithinAnHour(t *testing.T) {
	w := newWorld(t)
	spend := func(at time.Duration, who, class string) {
		w.clock.SetTime(start.Add(at))
		_, claims := w.mint(t, who)
		w.record(t, opsv1alpha1.AuditApprovalAccepted, claims, func(r *opsv1alpha1.AuditReferences) { r.DiagnosticClass, r.ProposalUID = class, "another" })
	}
	class := w.proposal.Spec.DiagnosticClass
	spend(-time.Hour, "alice", class)
	spend(-59*time.Minute, "alice", class)
	spend(-30*time.Minute, "bob", class)
	spend(-20*time.Minute, "alice", "RBACDrift")
	spend(-10*time.Minute, "alice", class)
	w.clock.SetTime(start)
	signed, claims := w.mint(t, "alice")
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	want := []time.Time{start.Add(-59 * time.Minute), start.Add(-10 * time.Minute)}
	if diff := cmp.Diff(&want, in.Spent); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

// Eleven approvals are accepted at the same moment, before any of them sees the
// others. The executor lets through the ten that the chain has first.
func TestBudgetIsExactAtExecutionInTheOrderOfTheChain(t *testing.T) {
	w := newWorld(t)
	type approval struct {
		signed string
		claims *token.Claims
	}
	var all []approval
	for range 11 {
		signed, claims := w.accept(t, "alice")
		all = append(all, approval{signed, claims})
	}
	for i, a := range all {
		in := w.gatherer().Gather(t.Context(), w.request(policy.StageExecution, a.signed, a.claims))
		if len(*in.Spent) != i {
			t.Errorf("approval %d has %d before it", i, len(*in.Spent))
		}
		if decision := policy.Evaluate(in); decision.Allowed != (i < 10) {
			t.Errorf("approval %d is allowed: %t %s", i, decision.Allowed, decision.Message())
		}
	}
}

func TestDenialsCostNoBudget(t *testing.T) {
	w := newWorld(t)
	for range 12 {
		_, claims := w.mint(t, "alice")
		w.record(t, opsv1alpha1.AuditDenialRecorded, claims, func(r *opsv1alpha1.AuditReferences) { r.ProposalUID = "another" })
	}
	signed, claims := w.mint(t, "alice")
	request := w.request(policy.StageApproval, signed, claims)
	if in := w.gatherer().Gather(t.Context(), request); len(*in.Spent) != 0 || !policy.Evaluate(in).Allowed {
		t.Errorf("spent are %v", *in.Spent)
	}
	signed, claims = w.mintFor(t, "alice", v1alpha1.DecisionDeny)
	request = w.request(policy.StageApproval, signed, claims)
	request.Decision = v1alpha1.DecisionDeny
	if in := w.gatherer().Gather(t.Context(), request); !policy.Evaluate(in).Allowed {
		t.Error("a denial is refused")
	}
}
