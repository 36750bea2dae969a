// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
)

func TestCarriesOutAndVerifies(t *testing.T) {
	for _, kind := range actingKinds {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t, kind)
			approval := w.approve(approver)
			w.newProcess("executor-0").run(approval)

			stored := w.get(approval)
			want := []opsv1alpha1.AuditType{
				opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditActionDone, opsv1alpha1.AuditVerified,
			}
			if diff := cmp.Diff(want, w.audited(approval)); diff != "" {
				t.Errorf("audit events (-want +got):\n%s", diff)
			}
			if len(stored.Status.AuditEvents) != len(want) {
				t.Errorf("the status names the audit events %v, want all %d", stored.Status.AuditEvents, len(want))
			}
			conditions := map[string]string{}
			for _, condition := range stored.Status.Conditions {
				conditions[condition.Type] = string(condition.Status) + " " + condition.Reason
			}
			if diff := cmp.Diff(map[string]string{
				"Accepted": "True PolicyAllows", "Executed": "True Acted", "Verified": "True FindingCleared",
			}, conditions); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if stored.Status.Phase != opsv1alpha1.PhaseSucceeded || stored.Status.Approver != approver || stored.Status.CompletedAt == nil {
				t.Errorf("status %+v", stored.Status)
			}
			record := stored.Status.Execution
			if record.Executor != "executor-0" || record.Intent == "" || record.ActedAt == nil || record.Evidence["uid"] != string(targetUID) || record.Evidence["resourceVersion"] == "" {
				t.Errorf("execution %+v", record)
			}
			if strings.Contains(record.Summary, approval.Spec.Token) {
				t.Error("the summary holds the token")
			}
		})
	}
}

func TestWritesTheTimeOfTheToken(t *testing.T) {
	for name, annotations := range map[string]map[string]string{
		"without annotations": nil,
		"beside others":       {"example.com/kept": "yes"},
		"restarted before":    {policy.RestartedAtAnnotation: "2026-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
			deployment := newTarget(srenix.ActionPatchDeploymentAnnotation).(*appsv1.Deployment)
			change(w, deployment, func(d *appsv1.Deployment) { d.Spec.Template.Annotations = annotations })
			want := map[string]string{policy.RestartedAtAnnotation: w.clock.Now().UTC().Format(time.RFC3339)}
			if _, kept := annotations["example.com/kept"]; kept {
				want["example.com/kept"] = "yes"
			}
			approval := w.approve(approver)
			w.pass(3 * time.Minute)
			w.newProcess("executor-0").run(approval)
			if err := w.store.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, deployment.Spec.Template.Annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
}

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

// TestTriesAgainWhatItCannotKnow keeps a fact from the executor for some time,
// and sees that nothing is decided then, and that all goes well after.
func TestTriesAgainWhatItCannotKnow(t *testing.T) {
	unavailable := apierrors.NewServiceUnavailable("the API is down")
	noSuchAPI := apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{Group: "srenix.io", Resource: "proposals"}, "fix-web", "404 page not found", 0, true)
	for name, deny := range map[string]func(verb string, object client.Object, dryRun bool) error{
		"the aggregated API is down": func(_ string, object client.Object, _ bool) error {
			if _, ok := object.(*srenix.Proposal); ok {
				return unavailable
			}
			return nil
		},
		"the aggregated API is not there": func(_ string, object client.Object, _ bool) error {
			if _, ok := object.(*srenix.Proposal); ok {
				return noSuchAPI
			}
			return nil
		},
		"the namespace cannot be read": func(_ string, object client.Object, _ bool) error {
			if _, ok := object.(*corev1.Namespace); ok {
				return unavailable
			}
			return nil
		},
		"the audit chain cannot be appended to": func(verb string, object client.Object, _ bool) error {
			if _, ok := object.(*opsv1alpha1.AuditEvent); ok && verb == "create" {
				return unavailable
			}
			return nil
		},
		"the dry run is not answered": func(verb string, _ client.Object, dryRun bool) error {
			if verb == "delete" && dryRun {
				return unavailable
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			approval := w.approve(approver)
			p := w.newProcess("executor-0")
			p.deny = deny
			for range 3 {
				if _, err := p.step(approval); err == nil {
					t.Error("no error, so that it would not be tried again soon")
				}
			}
			if phase := w.get(approval).Status.Phase; phase != opsv1alpha1.PhaseExecuting || len(w.acts) != 0 {
				t.Fatalf("the approval is %s, and these actions were done: %v; want Executing and none", phase, w.acts)
			}
			p.deny = nil
			p.run(approval)
			w.checkOnce(approval)
			if len(w.acts) != 1 {
				t.Errorf("acted %v, want once", w.acts)
			}
		})
	}
}

func TestRefusedActions(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web", errors.New("the second leash"))
	t.Run("a refused dry run denies", func(t *testing.T) {
		w := newWorld(t, srenix.ActionDeletePod)
		approval, p := w.approve(approver), w.newProcess("executor-0")
		p.deny = func(verb string, _ client.Object, _ bool) error {
			if verb == "delete" {
				return forbidden
			}
			return nil
		}
		p.run(approval)
		if status := w.get(approval).Status; status.Phase != opsv1alpha1.PhaseDenied || !strings.Contains(status.Message, "the second leash") || w.has(approval, opsv1alpha1.AuditActionIntended) {
			t.Errorf("%s %q, audited %v", status.Phase, status.Message, w.audited(approval))
		}
	})
	t.Run("a refused action fails", func(t *testing.T) {
		w := newWorld(t, srenix.ActionDeletePod)
		approval, p := w.approve(approver), w.newProcess("executor-0")
		p.deny = func(verb string, _ client.Object, dryRun bool) error {
			if verb == "delete" && !dryRun {
				return forbidden
			}
			return nil
		}
		p.run(approval)
		w.checkOnce(approval)
		if status := w.get(approval).Status; status.Phase != opsv1alpha1.PhaseFailed || !strings.Contains(status.Message, "the second leash") {
			t.Errorf("%s %q", status.Phase, status.Message)
		}
	})
	for _, kind := range actingKinds {
		t.Run("a target that moves is judged anew/"+string(kind), func(t *testing.T) {
			w := newWorld(t, kind)
			approval, p := w.approve(approver), w.newProcess("executor-0")
			moved := false
			p.deny = func(verb string, object client.Object, dryRun bool) error {
				if (verb == "delete" || verb == "patch") && !dryRun && !moved {
					moved = true
					change(w, newTarget(kind), func(target client.Object) { target.SetLabels(map[string]string{"moved": "yes"}) })
				}
				return nil
			}
			p.run(approval)
			w.checkOnce(approval)
			if !moved || len(w.acts) != 1 {
				t.Errorf("moved=%t, acted %v: want one action after the target moved", moved, w.acts)
			}
		})
	}
	t.Run("a target that moves under GitOps is left alone", func(t *testing.T) {
		w := newWorld(t, srenix.ActionDeletePod)
		approval, p := w.approve(approver), w.newProcess("executor-0")
		p.deny = func(verb string, object client.Object, dryRun bool) error {
			if verb == "delete" && !dryRun {
				change(w, newTarget(srenix.ActionDeletePod), func(target client.Object) {
					target.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"})
				})
			}
			return nil
		}
		p.run(approval)
		w.checkOnce(approval)
		if message := w.get(approval).Status.Message; len(w.acts) != 0 || !strings.Contains(message, "GitOpsManaged") {
			t.Errorf("acted %v, message %q", w.acts, message)
		}
	})
}

func TestAConflictWithSomethingElseIsFollowed(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval, p := w.approve(approver), w.newProcess("executor-0")
	labelled := 0
	p.deny = func(verb string, object client.Object, _ bool) error {
		if stored, ok := object.(*opsv1alpha1.Approval); ok && verb == "update" && stored.Status.Execution.Intent != "" && labelled == 0 {
			labelled++
			change(w, approval.DeepCopy(), func(a *opsv1alpha1.Approval) { a.Labels = map[string]string{"app.kubernetes.io/part-of": "fixes"} })
		}
		return nil
	}
	p.run(approval)
	w.checkOnce(approval)
	if len(w.acts) != 1 || labelled != 1 {
		t.Errorf("acted %v after %d conflicts, want once after one", w.acts, labelled)
	}
}

func TestFailsWhereItStoppedBetweenIntentAndAction(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval, first := w.approve(approver), w.newProcess("executor-0")
	first.deny = func(verb string, _ client.Object, dryRun bool) error {
		if verb == "delete" && !dryRun {
			first.dead = true
			return errCrashed
		}
		return nil
	}
	first.run(approval)
	second := w.newProcess("executor-1")
	if result, err := second.step(approval); err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > SettleAfter {
		t.Fatalf("right after the intent: %+v, %v; want to wait, because the first one might still be acting", result, err)
	}
	second.run(approval)
	w.checkOnce(approval)
	status := w.get(approval).Status
	for _, want := range []string{"audit event " + status.Execution.Intent, "Pod shop/web is still there", "kubectl create approval --proposal fix-web -n shop"} {
		if !strings.Contains(status.Message, want) {
			t.Errorf("message %q lacks %q", status.Message, want)
		}
	}
	if !meta.IsStatusConditionFalse(status.Conditions, opsv1alpha1.ConditionExecuted) {
		t.Errorf("conditions %+v, want Executed=False", status.Conditions)
	}
	again := w.approve("joe@example.com")
	second.run(again)
	if len(w.acts) != 1 {
		t.Errorf("acted %v, want once for the new approval: the first one came to nothing", w.acts)
	}
}

func TestLeavesAnotherExecutorsFreshClaimAlone(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval := w.approve(approver)
	stored := w.get(approval)
	stored.Status.Phase = opsv1alpha1.PhaseExecuting
	stored.Status.Execution = &opsv1alpha1.ExecutionRecord{Executor: "executor-9", ClaimedAt: metav1.NewMicroTime(w.clock.Now())}
	if err := w.store.Status().Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	p := w.newProcess("executor-0")
	if result, err := p.step(approval); err != nil || result.RequeueAfter != TakeoverAfter || w.get(approval).Status.Execution.Executor != "executor-9" {
		t.Errorf("%+v, %v; want to wait %s", result, err, TakeoverAfter)
	}
}

func TestDoesNotActUnderAClaimThatItHasLost(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval, p := w.approve(approver), w.newProcess("executor-0")
	p.deny = func(verb string, object client.Object, _ bool) error {
		if held, ok := object.(*opsv1alpha1.Approval); ok && verb == "update" && held.Status.Execution.Intent != "" {
			p.deny = nil
			stored := w.get(approval)
			stored.Status.Execution = &opsv1alpha1.ExecutionRecord{Executor: "executor-9", ClaimedAt: metav1.NewMicroTime(w.clock.Now())}
			return w.store.Status().Update(t.Context(), stored)
		}
		return nil
	}
	if _, err := p.step(approval); err != nil {
		t.Fatal(err)
	}
	if len(w.acts) != 0 {
		t.Errorf("acted %v under another one's claim", w.acts)
	}
	p.run(approval)
	w.checkOnce(approval)
}

func TestDoesNotActOnAnIntentThatHasGrownOld(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval, p := w.approve(approver), w.newProcess("executor-0")
	p.updated = func(object client.Object) {
		if object.(*opsv1alpha1.Approval).Status.Execution.Intent != "" {
			p.updated = nil
			w.pass(actWithin + time.Second)
		}
	}
	p.run(approval)
	w.checkOnce(approval)
	if len(w.acts) != 0 {
		t.Errorf("acted %v, when others may settle by looking soon", w.acts)
	}
}
