// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/fixers"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/silences"
)

// crashing is a cluster in which Deployments web, api and db crash over a ConfigMap that
// was changed since.
type crashing struct {
	clock   *testingclock.FakeClock
	cluster *livetest.Cluster
	engine  *live.Engine
}

func newCrashing(t *testing.T) *crashing {
	t.Helper()
	objects, at := crashingDeployments(t)
	shop := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	w := &crashing{clock: testingclock.NewFakeClock(at), cluster: analyzertest.Cluster(t, append(objects, shop))}
	w.engine = w.start(t)
	if n := len(live.List(w.engine, Findings)); n != 3 {
		t.Fatalf("%d findings", n)
	}
	return w
}

// crashingDeployments are the objects of a crashing cluster, and when it is looked at.
func crashingDeployments(t *testing.T) (objects []live.Object, at time.Time) {
	t.Helper()
	content, err := os.ReadFile("testdata/crashes-and-its-configmap-changed-since.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", "api", "db"} {
		file := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(file, []byte(strings.NewReplacer("web", name, "rs1", "rs-"+name).Replace(string(content))), 0o600); err != nil {
			t.Fatal(err)
		}
		golden := analyzertest.Read(t, file)
		objects, at = append(objects, golden.Objects...), golden.Now
	}
	return objects, at
}

// start returns another replica.
func (w *crashing) start(t *testing.T) *live.Engine {
	t.Helper()
	engine := newEngineOfAll(t, w.clock, nil)
	livetest.Run(t, engine, w.cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	return engine
}

func (w *crashing) finding(t *testing.T, deployment string) *v1alpha1.Finding {
	t.Helper()
	for _, finding := range live.List(w.engine, Findings) {
		if finding.Spec.Subject.Name == deployment {
			return finding
		}
	}
	t.Fatalf("there is no finding about %s", deployment)
	return nil
}

func step(finding *v1alpha1.Finding, fixer string) opsv1alpha1.ChosenStep {
	return opsv1alpha1.ChosenStep{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}, Fixer: fixer}
}

// steps are those that replace the crashing pods of some Deployments.
func (w *crashing) steps(t *testing.T, deployments ...string) (steps []opsv1alpha1.ChosenStep) {
	t.Helper()
	for _, name := range deployments {
		steps = append(steps, step(w.finding(t, name), fixers.ReplaceCrashingPod))
	}
	return steps
}

// investigation is that of web, with a plan.
func (w *crashing) investigation(t *testing.T, steps ...opsv1alpha1.ChosenStep) *opsv1alpha1.Investigation {
	t.Helper()
	finding := w.finding(t, "web")
	return &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)},
		Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
		Status:     opsv1alpha1.InvestigationStatus{RootCause: "It crashes.", Plan: &opsv1alpha1.ChosenPlan{Steps: steps}},
	}
}

func (w *crashing) investigated(t *testing.T, investigation *opsv1alpha1.Investigation) {
	t.Helper()
	w.cluster.Set(Investigations.Ref().Resource(), investigation)
	livetest.Settle(t, w.engine, w.cluster, Investigations)
}

// plansOf are the proposals of an engine that are steps of plans, by target.
func plansOf(engine *live.Engine) map[string]*v1alpha1.Proposal {
	all := map[string]*v1alpha1.Proposal{}
	for _, proposal := range live.List(engine, Proposals) {
		if proposal.Spec.Tier == v1alpha1.TierPlan {
			all[proposal.Spec.Target.Name] = proposal
		}
	}
	return all
}

func (w *crashing) plan(t *testing.T) map[string]*v1alpha1.Proposal {
	t.Helper()
	w.investigated(t, w.investigation(t, w.steps(t, "web", "api", "db")...))
	all := plansOf(w.engine)
	if len(all) != 3 {
		t.Fatalf("%d steps", len(all))
	}
	return all
}

// approval is that of a proposal, as it is stored.
func (w *crashing) approval(proposal *v1alpha1.Proposal, phase opsv1alpha1.ApprovalPhase, verified metav1.ConditionStatus) *opsv1alpha1.Approval {
	approval := &opsv1alpha1.Approval{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "approval-of-" + proposal.Spec.Target.Name, CreationTimestamp: metav1.NewTime(w.clock.Now())},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: v1alpha1.DecisionApprove, Snapshot: proposal.Spec,
			Proposal: opsv1alpha1.ProposalReference{Name: proposal.Name, UID: proposal.UID, Digest: proposal.Spec.Digest},
		},
		Status: opsv1alpha1.ApprovalStatus{Phase: phase, Approver: "alice", Message: "so it is"},
	}
	if verified != "" {
		approval.Status.Conditions = []metav1.Condition{{Type: opsv1alpha1.ConditionVerified, Status: verified, Message: "the finding persists"}}
	}
	return approval
}

func (w *crashing) approved(t *testing.T, approval *opsv1alpha1.Approval) {
	t.Helper()
	w.cluster.Set(Approvals.Ref().Resource(), approval)
	livetest.Settle(t, w.engine, w.cluster, Approvals)
}

// mended takes the pod of a Deployment away, and its finding with it.
func (w *crashing) mended(t *testing.T, deployment string) {
	t.Helper()
	w.cluster.Delete(inputs.Pods.Ref().Resource(), live.Key{Namespace: "shop", Name: deployment + "-1-a"})
	livetest.Settle(t, w.engine, w.cluster, inputs.Pods)
	livetest.Eventually(t, "its finding is gone", func() bool {
		return !slices.ContainsFunc(live.List(w.engine, Findings), func(f *v1alpha1.Finding) bool { return f.Spec.Subject.Name == deployment })
	})
}

func TestStepsOfAPlanAreProposedInOrder(t *testing.T) {
	w := newCrashing(t)
	byRules := proposalsOf(w.engine)
	all := w.plan(t)
	first := all["web-1-a"].Spec.Plan
	for i, target := range []string{"web-1-a", "api-1-a", "db-1-a"} {
		proposal, number := all[target], int32(i+1)
		plan := proposal.Spec.Plan
		if plan.Step != number || plan.DependsOn != number-1 || plan.Name != first.Name || plan.Digest != first.Digest || len(plan.Steps) != 3 {
			t.Errorf("%s is in %+v", target, plan)
		}
		if planned := plan.Steps[i]; planned.Proposal != proposal.Name || planned.UID != proposal.UID || planned.Target != proposal.Spec.Target {
			t.Errorf("the plan has %+v for %s", planned, proposal.Name)
		}
		if sum, err := digest.Step("shop", plan, number); err != nil || sum != proposal.Spec.Digest {
			t.Errorf("the plan gives %s the digest %s, %v; it has %s", target, sum, err, proposal.Spec.Digest)
		}
		if proposal.Spec.Source != v1alpha1.SourceLLM || !strings.HasPrefix(proposal.Spec.Rationale, "A model made this step") {
			t.Errorf("%s says %q, by %s", target, proposal.Spec.Rationale, proposal.Spec.Source)
		}
		finding := w.finding(t, strings.TrimSuffix(target, "-1-a"))
		if !slices.Contains(finding.Status.Proposals, proposal.Name) {
			t.Errorf("finding %s does not name its step: %v", finding.Name, finding.Status.Proposals)
		}
	}
	if sum, err := digest.Plan("shop", first.Name, first.Steps); err != nil || sum != first.Digest {
		t.Errorf("the plan has the digest %s, %v; it names %s", sum, err, first.Digest)
	}
	have := proposalsOf(w.engine)
	for _, proposal := range all {
		delete(have, proposal.Name)
	}
	if diff := cmp.Diff(byRules, have, cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion")); diff != "" {
		t.Errorf("with a plan, rules propose (-without +with):\n%s", diff)
	}
	w.expect(t, map[string]string{"web-1-a": "Open", "api-1-a": "step 1, proposal " + all["web-1-a"].Name + ", is not approved yet", "db-1-a": "step 1, proposal " + all["web-1-a"].Name + ", is not approved yet"})
}

// expect checks how the steps stand: "Open" or why layer 6 refuses, on this replica and
// on one that has just started.
func (w *crashing) expect(t *testing.T, want map[string]string) {
	t.Helper()
	all := plansOf(w.engine)
	for target, words := range want {
		proposal := all[target]
		if proposal == nil {
			t.Errorf("%s is not proposed", target)
			continue
		}
		if words == "Open" {
			if proposal.Status.Phase != v1alpha1.ProposalOpen {
				t.Errorf("%s is %s: %s", target, proposal.Status.Phase, proposal.Status.Conditions[0].Message)
			}
			continue
		}
		dual := slices.IndexFunc(proposal.Status.Verdicts, func(v v1alpha1.Verdict) bool { return v.Layer == string(policy.DualApproval) })
		verdict := proposal.Status.Verdicts[dual]
		if proposal.Status.Phase != v1alpha1.ProposalBlocked || verdict.Result != v1alpha1.VerdictDenied || !strings.Contains(verdict.Message, words) {
			t.Errorf("%s is %s: %+v, want %q", target, proposal.Status.Phase, verdict, words)
		}
	}
	if len(all) != len(want) {
		t.Errorf("%d steps are proposed, want %d", len(all), len(want))
	}
	if diff := cmp.Diff(proposalsOf(w.start(t)), proposalsOf(w.engine), cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion")); diff != "" {
		t.Errorf("another replica proposes (-other +this):\n%s", diff)
	}
}

func TestWhatIsNoPlanProposesNothing(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *crashing, *opsv1alpha1.Investigation){
		"one step": func(t *testing.T, w *crashing, i *opsv1alpha1.Investigation) { i.Status.Plan.Steps = w.steps(t, "web") },
		"no step":  func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) { i.Status.Plan.Steps = nil },
		"six steps": func(t *testing.T, w *crashing, i *opsv1alpha1.Investigation) {
			i.Status.Plan.Steps = w.steps(t, "web", "api", "db", "web", "api", "db")
		},
		"a step twice": func(t *testing.T, w *crashing, i *opsv1alpha1.Investigation) {
			i.Status.Plan.Steps = w.steps(t, "web", "api", "web")
		},
		"an unknown finding": func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) {
			i.Status.Plan.Steps[1].Finding.Name = "other"
		},
		"a finding of before": func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) {
			i.Status.Plan.Steps[1].Finding.UID = "other"
		},
		"an unknown fixer": func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) {
			i.Status.Plan.Steps[1].Fixer = "reboot-all-nodes"
		},
		"a fixer that does not fit": func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) {
			i.Status.Plan.Steps[2].Fixer = fixers.RestartDeployment
		},
		"in quarantine":              func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) { i.Status.Plan.Quarantined = true },
		"an Investigation of others": func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) { i.Name = "mine" },
		"in another namespace":       func(_ *testing.T, _ *crashing, i *opsv1alpha1.Investigation) { i.Namespace = "bank" },
		"a step that is silenced": func(t *testing.T, w *crashing, _ *opsv1alpha1.Investigation) {
			w.cluster.Set(silences.Silences.Ref().Resource(), &opsv1alpha1.Silence{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db", CreationTimestamp: metav1.NewTime(w.clock.Now())},
				Spec: opsv1alpha1.SilenceSpec{Owner: "team", Reason: "known", Expires: metav1.NewTime(w.clock.Now().Add(time.Hour)), Match: opsv1alpha1.SilenceMatch{
					Subjects: []opsv1alpha1.SilencedSubject{{Kind: "Deployment", Name: "db"}},
				}},
			})
			livetest.Settle(t, w.engine, w.cluster, silences.Silences)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCrashing(t)
			investigation := w.investigation(t, w.steps(t, "web", "api", "db")...)
			change(t, w, investigation)
			without := proposalsOf(w.engine)
			w.investigated(t, investigation)
			if diff := cmp.Diff(without, proposalsOf(w.engine), cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion")); diff != "" {
				t.Errorf("it proposes (-without +with):\n%s", diff)
			}
		})
	}
}

// Before anybody has approved a step, a plan is there as a whole or not at all.
func TestAPlanThatDoesNotFitAnyMoreIsGoneAsAWhole(t *testing.T) {
	w := newCrashing(t)
	w.plan(t)
	w.mended(t, "db")
	w.expect(t, nil)
}

func TestAStepOpensOnceTheOneBeforeIsVerified(t *testing.T) {
	w := newCrashing(t)
	all := w.plan(t)
	web, api := all["web-1-a"], all["api-1-a"]
	w.approved(t, w.approval(web, opsv1alpha1.PhaseExecuting, ""))
	w.mended(t, "web")
	first := "step 1, proposal " + web.Name + ", "
	w.expect(t, map[string]string{"api-1-a": first + "is approved and not verified yet", "db-1-a": first + "is approved and not verified yet"})

	w.approved(t, w.approval(web, opsv1alpha1.PhaseSucceeded, metav1.ConditionUnknown))
	w.expect(t, map[string]string{"api-1-a": first + "is approved and not verified yet", "db-1-a": first + "is approved and not verified yet"})

	w.approved(t, w.approval(web, opsv1alpha1.PhaseSucceeded, metav1.ConditionTrue))
	second := "step 2, proposal " + api.Name + ", "
	w.expect(t, map[string]string{"api-1-a": "Open", "db-1-a": second + "is not approved yet"})
	for target, proposal := range plansOf(w.engine) {
		if before := all[target].Spec; proposal.Spec.Digest != before.Digest || proposal.UID != all[target].UID {
			t.Errorf("%s is another proposal since the step before was carried out", target)
		}
	}

	// What a model says now, or that nobody knows any more what it said, changes nothing.
	finding := w.finding(t, "api")
	w.cluster.Delete(Investigations.Ref().Resource(), live.Key{Namespace: "shop", Name: opsv1alpha1.InvestigationName(web.Spec.Finding.Name, web.Spec.Finding.UID)})
	livetest.Settle(t, w.engine, w.cluster, Investigations)
	w.expect(t, map[string]string{"api-1-a": "Open", "db-1-a": second + "is not approved yet"})
	if !slices.Contains(finding.Status.Proposals, api.Name) {
		t.Errorf("the finding does not name its step: %v", finding.Status.Proposals)
	}

	w.approved(t, w.approval(api, opsv1alpha1.PhaseSucceeded, metav1.ConditionTrue))
	w.mended(t, "api")
	w.expect(t, map[string]string{"db-1-a": "Open"})
}

func TestNoStepOpensAfterOneThatHasNotHelped(t *testing.T) {
	for name, test := range map[string]struct {
		phase    opsv1alpha1.ApprovalPhase
		verified metav1.ConditionStatus
		denied   bool
		says     string
	}{
		"failed":        {phase: opsv1alpha1.PhaseFailed, says: "was approved, and nothing was done: so it is"},
		"not verified":  {phase: opsv1alpha1.PhaseSucceeded, verified: metav1.ConditionFalse, says: "is not verified: the finding persists"},
		"denied":        {denied: true, says: "was denied by bob"},
		"denied since":  {phase: opsv1alpha1.PhaseSucceeded, verified: metav1.ConditionTrue, denied: true, says: "was denied by bob"},
		"refused":       {phase: opsv1alpha1.PhaseDenied, says: "was approved, and nothing was done: so it is"},
		"ran out":       {phase: opsv1alpha1.PhaseExpired, says: "was approved, and nothing was done: so it is"},
		"waits for two": {phase: opsv1alpha1.PhaseAwaitingSecondApproval, says: "is approved and not verified yet"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCrashing(t)
			all := w.plan(t)
			web := all["web-1-a"]
			if test.phase != "" {
				w.approved(t, w.approval(web, test.phase, test.verified))
			}
			if test.denied {
				w.cluster.Set(Recorded.Ref().Resource(), record("apiserver/a", opsv1alpha1.AuditDenialRecorded, web.UID, web.Spec.Digest, w.clock.Now()))
				livetest.Settle(t, w.engine, w.cluster, Recorded)
			}
			for _, target := range []string{"api-1-a", "db-1-a"} {
				proposal := plansOf(w.engine)[target]
				if proposal == nil || proposal.Status.Phase != v1alpha1.ProposalBlocked || !strings.Contains(proposal.Status.Conditions[0].Message, "step 1, proposal "+web.Name+", "+test.says) {
					t.Errorf("%s: %+v", target, proposal)
				}
			}
		})
	}
}

// What is left of a plan depends on what is before it, and not on what comes after.
func TestOfAPlanThatWasBegunWhatStillFitsIsLeft(t *testing.T) {
	w := newCrashing(t)
	all := w.plan(t)
	w.approved(t, w.approval(all["web-1-a"], opsv1alpha1.PhaseSucceeded, metav1.ConditionTrue))
	w.mended(t, "web")
	w.mended(t, "db")
	w.expect(t, map[string]string{"api-1-a": "Open"})

	w = newCrashing(t)
	all = w.plan(t)
	w.approved(t, w.approval(all["web-1-a"], opsv1alpha1.PhaseSucceeded, metav1.ConditionTrue))
	w.mended(t, "web")
	w.mended(t, "api")
	w.expect(t, nil)
}

// An Approval that went around the webhook brings no other steps about.
func TestAStoredPlanThatContradictsItselfProposesNothing(t *testing.T) {
	for name, forge := range map[string]func(*v1alpha1.PlanStep){
		"another target": func(p *v1alpha1.PlanStep) { p.Steps[1].Target.Name = "web-1-b" },
		"another digest": func(p *v1alpha1.PlanStep) { p.Digest = "sha256:" + strings.Repeat("0", 64) },
		"another order":  func(p *v1alpha1.PlanStep) { p.Steps[1], p.Steps[2] = p.Steps[2], p.Steps[1] },
		"no steps":       func(p *v1alpha1.PlanStep) { p.Steps = p.Steps[:1] },
	} {
		t.Run(name, func(t *testing.T) {
			w := newCrashing(t)
			all := w.plan(t)
			approval := w.approval(all["web-1-a"].DeepCopy(), opsv1alpha1.PhaseSucceeded, metav1.ConditionTrue)
			approval.Spec.Snapshot = *approval.Spec.Snapshot.DeepCopy()
			forge(approval.Spec.Snapshot.Plan)
			w.approved(t, approval)
			w.mended(t, "web")
			w.expect(t, nil)
		})
	}
}

// A no to a step holds for as long as its finding stands, and the events of it stay.
func TestAStepMayBeOfferedAgain(t *testing.T) {
	w := newCrashing(t)
	api := w.plan(t)["api-1-a"]
	about := &opsv1alpha1.AuditReferences{
		Namespace: "shop", ProposalUID: api.UID, ActionKind: api.Spec.ActionKind, Target: &api.Spec.Target, Plan: api.Spec.Plan.Of(),
	}
	finding := w.finding(t, "api")
	if !MayOfferAgain(finding, about) {
		t.Error("what was decided about it is forgotten while its finding stands")
	}
	if MayOfferAgain(w.finding(t, "db"), about) {
		t.Error("it is kept for another finding")
	}
	about.Plan = "plan-other"
	if MayOfferAgain(finding, about) {
		t.Error("it is taken for a step of another plan")
	}
}
