// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// TestEndsWithoutActing has everything that must keep an approval from being
// carried out, and what the approval says then.
func TestEndsWithoutActing(t *testing.T) {
	accepted := func(w *world) *opsv1alpha1.Approval { return w.approve(approver) }
	for name, test := range map[string]struct {
		kind    srenix.ActionKind
		arrange func(*world) *opsv1alpha1.Approval
		phase   opsv1alpha1.ApprovalPhase
		message string
		audit   opsv1alpha1.AuditType
	}{
		"the proposal is gone": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				if err := w.store.Delete(w.t.Context(), w.proposal.DeepCopy()); err != nil {
					w.t.Fatal(err)
				}
				return approval
			},
			phase: opsv1alpha1.PhaseSuperseded, message: "the proposal is gone", audit: opsv1alpha1.AuditSuperseded,
		},
		"the proposal has changed": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				change(w, w.proposal.DeepCopy(), func(p *srenix.Proposal) { p.Spec.Digest = "sha256:" + strings.Repeat("0", 64) })
				return approval
			},
			phase: opsv1alpha1.PhaseSuperseded, message: "the proposal has changed", audit: opsv1alpha1.AuditSuperseded,
		},
		"the token has expired": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				w.pass(time.Hour)
				return approval
			},
			phase: opsv1alpha1.PhaseExpired, message: "kubectl create approval --proposal fix-web -n shop", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the target came under GitOps": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				change(w, newTarget(srenix.ActionDeletePod).(*corev1.Pod), func(p *corev1.Pod) {
					p.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}
				})
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "GitOpsManaged", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the target is another object of the same name": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				target := newTarget(srenix.ActionDeletePod)
				if err := w.store.Delete(w.t.Context(), target); err != nil {
					w.t.Fatal(err)
				}
				target.SetUID("another-uid")
				target.SetResourceVersion("")
				if err := w.store.Create(w.t.Context(), target); err != nil {
					w.t.Fatal(err)
				}
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "TargetScope", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the approver has lost the right": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				w.forbids = true
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "Access", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"somebody denied the proposal since": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				w.append(w.decide("joe@example.com", srenix.DecisionDeny), opsv1alpha1.AuditDenialRecorded, "joe@example.com")
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "joe@example.com denied", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"it went around the webhook, which would have refused it": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				w.forbids = true
				return w.decide(approver, srenix.DecisionApprove)
			},
			phase: opsv1alpha1.PhaseDenied, message: "Access", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the patch was swapped after signing": {
			kind: srenix.ActionPatchDeploymentAnnotation,
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				change(w, approval.DeepCopy(), func(a *opsv1alpha1.Approval) { a.Spec.Snapshot.Patch.SetAnnotation.Name = "example.com/other" })
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "TargetScope", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the token is not one": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				change(w, approval.DeepCopy(), func(a *opsv1alpha1.Approval) { a.Spec.Token = "forged" })
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "the token does not count", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the token is one for dry runs": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := w.decideWith(w.signer.ForDryRun(), approver, srenix.DecisionApprove)
				w.append(approval, opsv1alpha1.AuditApprovalAccepted, approver)
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "for a dry run and not a decision", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the name is no token's": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := w.approve(approver).DeepCopy()
				approval.Name, approval.ResourceVersion = "my-approval", ""
				if err := w.store.Create(w.t.Context(), approval); err != nil {
					w.t.Fatal(err)
				}
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "no token goes with this name", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"the action kind is not one": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := accepted(w)
				change(w, approval.DeepCopy(), func(a *opsv1alpha1.Approval) { a.Spec.Snapshot.ActionKind = "DeleteNamespace" })
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: "not carried out by this version", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"a person said no": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := w.decide(approver, srenix.DecisionDeny)
				w.append(approval, opsv1alpha1.AuditDenialRecorded, approver)
				w.pass(time.Hour)
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: approver + " denied the proposal", audit: opsv1alpha1.AuditDenialRecorded,
		},
		"a person said no around the webhook": {
			arrange: func(w *world) *opsv1alpha1.Approval { return w.decide(approver, srenix.DecisionDeny) },
			phase:   opsv1alpha1.PhaseDenied, message: approver + " denied the proposal", audit: opsv1alpha1.AuditDenialRecorded,
		},
		"a person said no around the webhook, and the token expired before anybody saw it": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := w.decide(approver, srenix.DecisionDeny)
				w.pass(time.Hour)
				return approval
			},
			phase: opsv1alpha1.PhaseDenied, message: approver + " denied the proposal", audit: opsv1alpha1.AuditDenialRecorded,
		},
		"a no was stored after its token had expired": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				approval := w.decide(approver, srenix.DecisionDeny)
				if err := w.store.Delete(w.t.Context(), approval); err != nil {
					w.t.Fatal(err)
				}
				w.pass(time.Hour)
				approval.ResourceVersion, approval.CreationTimestamp = "", metav1.NewTime(w.clock.Now().Truncate(time.Second))
				if err := w.store.Create(w.t.Context(), approval); err != nil {
					w.t.Fatal(err)
				}
				return approval
			},
			phase: opsv1alpha1.PhaseExpired, message: "expired", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"it was deleted, and a finalizer keeps it": {
			arrange: func(w *world) *opsv1alpha1.Approval { return deletedAndKept(w, accepted(w)) },
			phase:   opsv1alpha1.PhaseDenied, message: "it was deleted before anything was done", audit: opsv1alpha1.AuditApprovalDenied,
		},
		"a no was deleted, and a finalizer keeps it": {
			arrange: func(w *world) *opsv1alpha1.Approval {
				return deletedAndKept(w, w.decide(approver, srenix.DecisionDeny))
			},
			phase: opsv1alpha1.PhaseDenied, message: approver + " denied the proposal", audit: opsv1alpha1.AuditDenialRecorded,
		},
		"a runbook has one of two approvals": {
			kind: srenix.ActionRunbook, arrange: accepted,
			phase: opsv1alpha1.PhaseAwaitingSecondApproval, message: "another person", audit: opsv1alpha1.AuditApprovalAccepted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			kind := test.kind
			if kind == "" {
				kind = srenix.ActionDeletePod
			}
			w := newWorld(t, kind)
			approval := test.arrange(w)
			p := w.newProcess("executor-0")
			p.run(approval)
			stored := w.get(approval)
			if stored.Status.Phase != test.phase || !strings.Contains(stored.Status.Message, test.message) {
				t.Errorf("phase %s, message %q; want %s and %q", stored.Status.Phase, stored.Status.Message, test.phase, test.message)
			}
			events := w.audited(approval)
			if !slices.Contains(events, test.audit) || slices.Contains(events, opsv1alpha1.AuditActionIntended) {
				t.Errorf("audit events %v; want %s and no intent", events, test.audit)
			}
			before := len(events)
			p.run(approval)
			if after := len(w.audited(approval)); after != before || len(w.acts) != 0 {
				t.Errorf("looked at again, it has %d audit events instead of %d, and these actions: %v", after, before, w.acts)
			}
		})
	}
}

func deletedAndKept(w *world, approval *opsv1alpha1.Approval) *opsv1alpha1.Approval {
	w.t.Helper()
	change(w, approval, func(a *opsv1alpha1.Approval) { a.Finalizers = []string{"example.com/keep"} })
	if err := w.store.Delete(w.t.Context(), approval); err != nil {
		w.t.Fatal(err)
	}
	return approval
}

func TestAcceptsWhatWentAroundTheWebhookAndPasses(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval := w.decide(approver, srenix.DecisionApprove)
	w.newProcess("executor-0").run(approval)
	w.checkOnce(approval)
	if events := w.audited(approval); len(w.acts) != 1 || events[0] != opsv1alpha1.AuditApprovalAccepted || events[1] != opsv1alpha1.AuditActionIntended {
		t.Errorf("acted %v, audited %v; want one action, its acceptance audited before the intent", w.acts, events)
	}
}

func TestReleasesARunbookWithTheSecondApproval(t *testing.T) {
	w := newWorld(t, srenix.ActionRunbook)
	p := w.newProcess("executor-0")
	first := w.approve(approver)
	p.run(first)
	w.pass(31 * time.Minute)
	second := w.approve("joe@example.com")
	p.run(second)
	p.run(first)
	for _, approval := range []*opsv1alpha1.Approval{first, second} {
		if phase := w.get(approval).Status.Phase; phase != opsv1alpha1.PhaseReleased {
			t.Errorf("Approval by %s is %s, want Released", w.get(approval).Status.Approver, phase)
		}
	}
	if len(w.acts) != 0 {
		t.Errorf("a runbook was executed: %v", w.acts)
	}
}

// An executor recorded an end and stopped before the status said so. Meanwhile
// everything is again as it was when the approval was accepted.
func TestTheEndThatTheChainHasHolds(t *testing.T) {
	for name, test := range map[string]struct {
		recorded opsv1alpha1.AuditType
		by       string
		after    time.Duration
		want     opsv1alpha1.ApprovalPhase
		acts     int
	}{
		"superseded":            {recorded: opsv1alpha1.AuditSuperseded, by: component + "/before", want: opsv1alpha1.PhaseSuperseded},
		"denied":                {recorded: opsv1alpha1.AuditApprovalDenied, by: component + "/before", want: opsv1alpha1.PhaseDenied},
		"expired":               {recorded: opsv1alpha1.AuditApprovalDenied, by: component + "/before", after: time.Hour, want: opsv1alpha1.PhaseExpired},
		"denied by the webhook": {recorded: opsv1alpha1.AuditApprovalDenied, by: "apiserver/a", want: opsv1alpha1.PhaseSucceeded, acts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
			approval := w.approve(approver)
			w.pass(test.after)
			entry := (&reconciler{}).entry(approval, test.recorded, "said before", nil, approver)
			if _, err := audit.NewChain(w.store, test.by, w.clock, nil).Append(t.Context(), entry); err != nil {
				t.Fatal(err)
			}
			w.newProcess("executor-1").run(approval)
			if have := w.get(approval).Status; have.Phase != test.want || len(w.acts) != test.acts || test.acts == 0 && have.Message != "said before" {
				t.Errorf("acted %d times, and the approval is %s: %s", len(w.acts), have.Phase, have.Message)
			}
		})
	}
}
