// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// forge writes a status as somebody can who may write approvals/status.
func (w *world) forge(approval *opsv1alpha1.Approval, phase opsv1alpha1.ApprovalPhase, completed bool) {
	w.t.Helper()
	stored := w.get(approval)
	stored.Status.Phase, stored.Status.Approver, stored.Status.Message = phase, "root", "trust me"
	if completed {
		stored.Status.CompletedAt = wholeSecond(w.clock.Now())
	}
	stored.Status.Conditions = []metav1.Condition{{
		Type: opsv1alpha1.ConditionVerified, Status: metav1.ConditionTrue, Reason: "Forged", LastTransitionTime: metav1.NewTime(start),
	}}
	if err := w.store.Status().Update(w.t.Context(), stored); err != nil {
		w.t.Fatal(err)
	}
}

// TestAStatusThatTheChainDoesNotKnowIsNotBelieved: each end that was written by
// somebody else is as if there were none, and the approval is carried out.
func TestAStatusThatTheChainDoesNotKnowIsNotBelieved(t *testing.T) {
	for _, phase := range []opsv1alpha1.ApprovalPhase{
		opsv1alpha1.PhaseSucceeded, opsv1alpha1.PhaseFailed, opsv1alpha1.PhaseDenied, opsv1alpha1.PhaseExpired,
		opsv1alpha1.PhaseSuperseded, opsv1alpha1.PhaseReleased,
	} {
		for _, completed := range []bool{true, false} {
			t.Run(string(phase)+map[bool]string{true: ", completed"}[completed], func(t *testing.T) {
				w := newWorld(t, srenix.ActionDeletePod)
				approval := w.approve(approver)
				w.forge(approval, phase, completed)
				w.newProcess("executor-0").run(approval)
				w.checkOnce(approval)
				if status := w.get(approval).Status; len(w.acts) != 1 || status.Phase != opsv1alpha1.PhaseSucceeded || status.Approver != approver {
					t.Errorf("acted %v, status %+v; want one action for %s", w.acts, status, approver)
				}
			})
		}
	}
}

// TestNothingIsVerifiedThatWasNotDone: the finding clears by itself, and the
// status says that the approval was carried out.
func TestNothingIsVerifiedThatWasNotDone(t *testing.T) {
	for name, passed := range map[string]time.Duration{"while its token counts": 0, "long after": 25 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			approval := w.approve(approver)
			w.forge(approval, opsv1alpha1.PhaseSucceeded, false)
			w.clear()
			if err := w.store.Delete(t.Context(), w.proposal.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			w.pass(passed)
			w.newProcess("executor-0").run(approval)
			if w.has(approval, opsv1alpha1.AuditVerified) || len(w.acts) != 0 {
				t.Errorf("acted %v, audited %v: nothing was done that could be verified", w.acts, w.audited(approval))
			}
			if phase := w.get(approval).Status.Phase; passed == 0 && phase != opsv1alpha1.PhaseSuperseded {
				t.Errorf("phase %s, want Superseded: the proposal is gone", phase)
			}
		})
	}
}

// TestOneApproverReleasesNothing: of two that a runbook needs there is one, and
// its status says that it is released.
func TestOneApproverReleasesNothing(t *testing.T) {
	w := newWorld(t, srenix.ActionRunbook)
	p := w.newProcess("executor-0")
	first := w.approve(approver)
	p.run(first)
	w.forge(first, opsv1alpha1.PhaseReleased, true)
	second := w.approve(approver)
	p.run(second)
	p.run(first)
	for _, approval := range []*opsv1alpha1.Approval{first, second} {
		if phase := w.get(approval).Status.Phase; phase == opsv1alpha1.PhaseReleased || w.has(approval, opsv1alpha1.AuditRunbookReleased) {
			t.Errorf("phase %s, audited %v; want nothing released", phase, w.audited(approval))
		}
	}
}

// TestWhatTheChainKnowsIsLeftAlone: every end that the executor came to itself is
// one that it believes.
func TestWhatTheChainKnowsIsLeftAlone(t *testing.T) {
	for name, arrange := range map[string]func(*world) *opsv1alpha1.Approval{
		"carried out": func(w *world) *opsv1alpha1.Approval { return w.approve(approver) },
		"a no": func(w *world) *opsv1alpha1.Approval {
			approval := w.decide(approver, srenix.DecisionDeny)
			w.append(approval, opsv1alpha1.AuditDenialRecorded, approver)
			return approval
		},
		"expired": func(w *world) *opsv1alpha1.Approval {
			approval := w.approve(approver)
			w.pass(time.Hour)
			return approval
		},
		"superseded": func(w *world) *opsv1alpha1.Approval {
			approval := w.approve(approver)
			if err := w.store.Delete(w.t.Context(), w.proposal.DeepCopy()); err != nil {
				w.t.Fatal(err)
			}
			return approval
		},
		"refused": func(w *world) *opsv1alpha1.Approval {
			w.forbids = true
			return w.approve(approver)
		},
	} {
		for meanwhile, happens := range map[string]func(*world, *opsv1alpha1.Approval){
			"nothing happens": func(*world, *opsv1alpha1.Approval) {},
			// What kept it from being carried out is gone by then.
			"its token is used again, and refused by the webhook": func(w *world, approval *opsv1alpha1.Approval) {
				w.append(approval, opsv1alpha1.AuditApprovalDenied, approver)
				w.forbids = false
			},
		} {
			t.Run(name+", "+meanwhile, func(t *testing.T) {
				w := newWorld(t, srenix.ActionDeletePod)
				approval := arrange(w)
				w.newProcess("executor-0").run(approval)
				happens(w, approval)
				before, audited, acts := w.get(approval), w.audited(approval), len(w.acts)
				w.newProcess("executor-1").run(approval)
				if after := w.get(approval); after.ResourceVersion != before.ResourceVersion || !slices.Equal(audited, w.audited(approval)) || len(w.acts) != acts {
					t.Errorf("status %+v became %+v, audited %v, acted %v", before.Status, after.Status, w.audited(approval), w.acts)
				}
			})
		}
	}
}
