// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
)

// alsoLabels lets the approved change be, and makes another one with it.
func alsoLabels(content map[string]any) {
	_ = unstructured.SetNestedField(content, "of evil", "metadata", "labels", "example.com/owner")
}

// TestAnAnswerThatIsNotWhatWasApproved has an admission webhook that leaves dry
// runs alone and changes the real request.
func TestAnAnswerThatIsNotWhatWasApproved(t *testing.T) {
	const restart, tls = srenix.ActionPatchDeploymentAnnotation, srenix.ActionPatchIngressTLS
	annotation := []string{"spec", "template", "metadata", "annotations", policy.RestartedAtAnnotation}
	for name, test := range map[string]struct {
		kind   srenix.ActionKind
		change func(content map[string]any)
		path   string
	}{
		"another Secret": {tls, func(content map[string]any) {
			_ = unstructured.SetNestedSlice(content, []any{map[string]any{"hosts": []any{"web.example.com"}, "secretName": "evil-tls"}}, "spec", "tls")
		}, "/spec/tls/0/secretName"},
		"the old Secret again": {tls, func(content map[string]any) {
			_ = unstructured.SetNestedSlice(content, []any{map[string]any{"hosts": []any{"web.example.com"}, "secretName": "old-tls"}}, "spec", "tls")
		}, "/spec/tls/0/secretName"},
		"more with an Ingress": {tls, alsoLabels, "/metadata/labels/example.com~1owner"},
		"another time": {restart, func(content map[string]any) {
			_ = unstructured.SetNestedField(content, "evil", annotation...)
		}, "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"},
		"no time": {restart, func(content map[string]any) {
			unstructured.RemoveNestedField(content, annotation...)
		}, "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"},
		"more with a Deployment, that no type of ours has": {restart, func(content map[string]any) {
			_ = unstructured.SetNestedField(content, "evil", "spec", "template", "spec", "ofTomorrow")
		}, "/spec/template/spec/ofTomorrow"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.kind)
			w.mutates = func(content map[string]any, dryRun bool) {
				if !dryRun {
					test.change(content)
				}
			}
			approval, p := w.approve(approver), w.newProcess("executor-0")
			p.run(approval)
			w.checkStrayed(approval)
			status := w.get(approval).Status
			if !strings.Contains(status.Message, "it differs in "+test.path+". ") || strings.Contains(status.Message, "evil") {
				t.Errorf("it says %q; want it to name %s alone, and no value", status.Message, test.path)
			}
			if hashes := w.recorded(approval, opsv1alpha1.AuditActionUnsettled).Hashes; hashes[hashOfRequest] == "" || hashes[hashOfTarget] == "" {
				t.Errorf("the record has the hashes %v; want those of the request and of the answer", hashes)
			}
			if status.Execution.Evidence["resourceVersion"] == "" {
				t.Errorf("execution %+v does not tell what was answered", status.Execution)
			}
			var told []string
			for _, made := range w.reported {
				if made.severity == warning && made.reason == reasonNotAsApproved {
					told = append(told, made.about)
				}
			}
			if want := []string{"Approval " + string(approval.UID), approval.Spec.Snapshot.Target.Kind + " " + string(targetUID)}; !slices.Equal(told, want) {
				t.Errorf("told by events on %v, want %v", told, want)
			}
			if failures := testutil.ToFloat64(p.metrics.executions.WithLabelValues(string(test.kind), outcomeFailed)); failures != 1 {
				t.Errorf("%v executions count as failed, want 1", failures)
			}
			next := w.approve("joe@example.com")
			p.run(next)
			if have := w.get(next).Status; have.Phase != opsv1alpha1.PhaseDenied || !strings.Contains(have.Message, "as it was approved") || len(w.acts) != 1 {
				t.Errorf("the next approval of the digest is %s (%s), after %v; want Denied and one action", have.Phase, have.Message, w.acts)
			}
		})
	}
}

// checkStrayed checks that an approval says that it was not carried out as approved.
func (w *world) checkStrayed(approval *opsv1alpha1.Approval) {
	w.t.Helper()
	status := w.get(approval).Status
	executed := meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionExecuted)
	if status.Phase != opsv1alpha1.PhaseFailed || executed == nil || executed.Status != "False" || executed.Reason != reasonNotAsApproved {
		w.t.Errorf("it is %s, Executed %+v; want Failed, and False %s", status.Phase, executed, reasonNotAsApproved)
	}
	if meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionVerified) != nil {
		w.t.Error("it has a condition Verified, and was not carried out as approved")
	}
	if !w.has(approval, opsv1alpha1.AuditActionUnsettled) || len(w.acts) != 1 {
		w.t.Errorf("acted %v, audited %v; want one action, and ActionUnsettled", w.acts, w.audited(approval))
	}
}

// strayingWorld is one in which the target shows the action, and more.
func strayingWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, srenix.ActionPatchIngressTLS)
	w.mutates = func(content map[string]any, dryRun bool) {
		if !dryRun {
			alsoLabels(content)
		}
	}
	return w
}

// onRecord calls once, before a process records what was not as approved.
func (p *process) onRecord(call func()) {
	p.deny = func(verb string, object client.Object, _ bool) error {
		if event, is := object.(*opsv1alpha1.AuditEvent); is && verb == "create" && event.Spec.Type == opsv1alpha1.AuditActionUnsettled {
			p.deny = nil
			call()
		}
		return nil
	}
}

func TestTheRecordOfAnAnswerHoldsAcrossACrash(t *testing.T) {
	w := strayingWorld(t)
	approval, first := w.approve(approver), w.newProcess("executor-0")
	first.onRecord(func() {
		first.deny = func(verb string, _ client.Object, _ bool) error {
			if verb == "update" {
				first.dead = true
				return errCrashed
			}
			return nil
		}
	})
	first.run(approval)
	if phase := w.get(approval).Status.Phase; !first.dead || phase != opsv1alpha1.PhaseExecuting {
		t.Fatalf("it is %s, and the first executor dead: %t", phase, first.dead)
	}
	w.newProcess("executor-1").run(approval)
	w.checkStrayed(approval)
	if w.has(approval, opsv1alpha1.AuditActionDone) {
		t.Errorf("audited %v: the answer was not what was approved", w.audited(approval))
	}
}

// TestAnAnswerOutweighsWhatAnotherExecutorSaw: one that only looks sees the action,
// and not what else was changed.
func TestAnAnswerOutweighsWhatAnotherExecutorSaw(t *testing.T) {
	w := strayingWorld(t)
	approval, first, second := w.approve(approver), w.newProcess("executor-0"), w.newProcess("executor-1")
	first.onRecord(func() {
		if _, err := second.step(approval); err != nil {
			t.Error(err)
		}
		if phase := w.get(approval).Status.Phase; phase != opsv1alpha1.PhaseSucceeded {
			t.Errorf("by looking it is %s, want Succeeded", phase)
		}
	})
	first.run(approval)
	second.run(approval)
	w.checkStrayed(approval)
}
