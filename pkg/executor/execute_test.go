// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
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

func TestWorksOnATargetForOneApprovalAtATime(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	one, other, p := w.approve(approver), w.approve("joe@example.com"), w.newProcess("executor-0")
	meanwhile := false
	p.deny = func(verb string, _ client.Object, dryRun bool) error {
		if verb != "delete" || dryRun {
			return nil
		}
		meanwhile = true
		if result, err := p.step(other); err != nil || result.RequeueAfter != busyRetry {
			t.Errorf("while the target is busy: %+v, %v; want to try again after %s", result, err, busyRetry)
		}
		return nil
	}
	p.run(one)
	if phase := w.get(other).Status.Phase; !meanwhile || phase != "" {
		t.Errorf("the other approval is %q (tried meanwhile: %t), want untouched", phase, meanwhile)
	}
	p.run(other)
	if phase := w.get(other).Status.Phase; phase != opsv1alpha1.PhaseSuperseded || len(w.acts) != 1 {
		t.Errorf("the other approval is %s, and these actions were done: %v; want Superseded and one", phase, w.acts)
	}
}

// Whoever has the request and the answer, as kube-apiserver's own audit log does,
// can hold them against the chain.
func TestIntentAndResultHaveTheHashesOfWhatWasSentAndAnswered(t *testing.T) {
	for _, kind := range actingKinds {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t, kind)
			approval, before := w.approve(approver), newWhole(kind)
			if err := w.store.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, before); err != nil {
				t.Fatal(err)
			}
			p := w.newProcess("executor-0")
			if _, err := p.step(approval); err != nil {
				t.Fatal(err)
			}
			var request, after any
			if after = before; p.actions[kind].deletes() {
				version := before.GetResourceVersion()
				request = metav1.DeleteOptions{
					Preconditions: &metav1.Preconditions{UID: ptr.To(targetUID), ResourceVersion: &version}, PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
				}
			} else {
				stored := newWhole(kind)
				if err := w.store.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web"}, stored); err != nil {
					t.Fatal(err)
				}
				after = stored
				if err := json.Unmarshal([]byte(strings.TrimPrefix(w.acts[0], "patch ")), &request); err != nil {
					t.Fatal(err)
				}
			}
			for record, target := range map[opsv1alpha1.AuditType]any{opsv1alpha1.AuditActionIntended: before, opsv1alpha1.AuditActionDone: after} {
				want := map[string]string{hashOfRequest: hash(t, request), hashOfTarget: hash(t, target)}
				if diff := cmp.Diff(want, w.recorded(approval, record).Hashes); diff != "" {
					t.Errorf("%s (-want +have):\n%s", record, diff)
				}
			}
		})
	}
}

func hash(t *testing.T, of any) string {
	t.Helper()
	sum, err := digest.Of(of)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// recorded is the event of a type about an approval.
func (w *world) recorded(approval *opsv1alpha1.Approval, kind opsv1alpha1.AuditType) *opsv1alpha1.AuditEventSpec {
	w.t.Helper()
	events, err := audit.ByJTI(w.t.Context(), w.store, jtiOf(approval))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range events {
		if events[i].Spec.Type == kind {
			return &events[i].Spec
		}
	}
	w.t.Fatalf("the chain has no %s", kind)
	return nil
}
