// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

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
	t.Run("a change that comes with it, in a field that no type of ours has, denies", func(t *testing.T) {
		w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
		w.mutates = func(content map[string]any, _ bool) {
			if err := unstructured.SetNestedField(content, "x", "spec", "template", "spec", "ofTomorrow"); err != nil {
				t.Error(err)
			}
		}
		approval := w.approve(approver)
		w.newProcess("executor-0").run(approval)
		status := w.get(approval).Status
		if status.Phase != opsv1alpha1.PhaseDenied || !strings.Contains(status.Message, "it would also change /spec/template/spec/ofTomorrow") || len(w.acts) > 0 {
			t.Errorf("%s %q, acted %v", status.Phase, status.Message, w.acts)
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
	labeled := 0
	p.deny = func(verb string, object client.Object, _ bool) error {
		if stored, ok := object.(*opsv1alpha1.Approval); ok && verb == "update" && stored.Status.Execution.Intent != "" && labeled == 0 {
			labeled++
			change(w, approval.DeepCopy(), func(a *opsv1alpha1.Approval) { a.Labels = map[string]string{"app.kubernetes.io/part-of": "fixes"} })
		}
		return nil
	}
	p.run(approval)
	w.checkOnce(approval)
	if len(w.acts) != 1 || labeled != 1 {
		t.Errorf("acted %v after %d conflicts, want once after one", w.acts, labeled)
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
