// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/breaker"
)

// finished stores an approval that ended before: F failed, N not verified,
// V verified, D denied, A failed and acknowledged, B failed and carried what looks
// like an acknowledgment from the start.
func (w *world) finished(index int, kind srenix.ActionKind, how rune) *opsv1alpha1.Approval {
	w.t.Helper()
	return w.finishedIn("shop", index, kind, how)
}

func (w *world) finishedIn(namespace string, index int, kind srenix.ActionKind, how rune) *opsv1alpha1.Approval {
	w.t.Helper()
	ended := metav1.NewTime(start.Add(time.Duration(index-100) * time.Hour).Truncate(time.Second))
	approval := &opsv1alpha1.Approval{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("old-%d", index)}}
	approval.Spec.Snapshot.ActionKind = kind
	approval.Status = opsv1alpha1.ApprovalStatus{
		Phase: opsv1alpha1.PhaseSucceeded, CompletedAt: &ended, AuditEvents: []string{"intent", fmt.Sprintf("record-%d", index)},
	}
	verified := metav1.Condition{Type: opsv1alpha1.ConditionVerified, Status: metav1.ConditionTrue, Reason: "Test", LastTransitionTime: ended}
	switch how {
	case 'A':
		approval.Annotations = map[string]string{breaker.Acknowledged: fmt.Sprintf("record-%d", index)}
		approval.Status.Phase = opsv1alpha1.PhaseFailed
	case 'B':
		approval.Annotations = map[string]string{breaker.Acknowledged: "true"}
		approval.Status.Phase = opsv1alpha1.PhaseFailed
	case 'F':
		approval.Status.Phase = opsv1alpha1.PhaseFailed
	case 'D':
		approval.Status.Phase = opsv1alpha1.PhaseDenied
	case 'N':
		verified.Status = metav1.ConditionFalse
		fallthrough
	case 'V':
		meta.SetStatusCondition(&approval.Status.Conditions, verified)
	}
	status := approval.Status
	if err := w.store.Create(w.t.Context(), approval); err != nil {
		w.t.Fatal(err)
	}
	approval.Status = status
	if err := w.store.Status().Update(w.t.Context(), approval); err != nil {
		w.t.Fatal(err)
	}
	return approval
}

var namespaces = map[byte]string{'s': "shop", 'b': "bank", 'c': "club"}

func TestBreaker(t *testing.T) {
	for name, test := range map[string]struct {
		history string
		// in has the namespace of each: s shop, where it is approved, b bank, c club. All are in shop if it is empty.
		in    string
		other bool
		open  bool
	}{
		"nothing yet":                    {history: ""},
		"two in a row":                   {history: "FF"},
		"three in a row":                 {history: "FNF", open: true},
		"a success ends a row":           {history: "FFVF"},
		"a row after a success":          {history: "FVFFN", open: true},
		"a denial is neither":            {history: "FFDF", open: true},
		"acknowledged":                   {history: "FFA"},
		"two after an acknowledged one":  {history: "FFAFF"},
		"three after acknowledged ones":  {history: "FFAFFF", open: true},
		"acknowledged beforehand":        {history: "BBB", open: true},
		"rows of another kind count not": {history: "FFFF", other: true},

		"a success that was under way closes nothing": {history: "FFFV", open: true},
		"nor do more failures after it":               {history: "FFFVF", open: true},
		"nor the acknowledgment of an earlier one":    {history: "AFFFV", open: true},
		"the acknowledgment behind it does":           {history: "FFAVF"},

		"a row of another namespace":                           {history: "FFFF", in: "bbbb"},
		"a row of two namespaces":                              {history: "FFF", in: "bsb", open: true},
		"two failures of two namespaces":                       {history: "FF", in: "bs"},
		"a success anywhere ends the row of several":           {history: "FFVF", in: "bsbs"},
		"a success elsewhere does not end a namespace's own":   {history: "FFVF", in: "ssbs", open: true},
		"acknowledged where the last one was":                  {history: "FFA", in: "bsb"},
		"an acknowledgment elsewhere leaves a namespace's own": {history: "FFFA", in: "sssb", open: true},
		"an acknowledgment leaves a row of other namespaces":   {history: "FFFA", in: "sbsc", open: true},
		"and takes what is its own out of a row":               {history: "FFFA", in: "sbsb"},
		"an older acknowledgment leaves newer ones elsewhere":  {history: "FAFF", in: "bcsb", open: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			kind := srenix.ActionDeletePod
			if test.other {
				kind = srenix.ActionDeleteJob
			}
			for index, how := range test.history {
				namespace := "shop"
				if test.in != "" {
					namespace = namespaces[test.in[index]]
				}
				w.finishedIn(namespace, index, kind, how)
			}
			approval, p := w.approve(approver), w.newProcess("executor-0")
			p.run(approval)
			if held := w.get(approval).Status.Phase == opsv1alpha1.PhasePending; held != test.open || (len(w.acts) == 0) != test.open {
				t.Errorf("held back: %t, acted %v; want open=%t", held, w.acts, test.open)
			}
		})
	}
}

func TestTheBreakerTellsHowToCloseIt(t *testing.T) {
	for name, test := range map[string]struct {
		// history and in are as in TestBreaker.
		history, in string
		because     string
		close       string
	}{
		"of the namespace": {"FFF", "sss", "it failed 3 times in a row in namespace shop",
			"kubectl annotate approvals.ops.srenix.io old-2 -n shop --overwrite ops.srenix.io/breaker-acknowledged=record-2"},
		"of the cluster": {"FFF", "ssb", "it failed 3 times in a row, in 2 namespaces",
			"kubectl annotate approvals.ops.srenix.io old-2 -n bank --overwrite ops.srenix.io/breaker-acknowledged=record-2"},
		"before a success": {"FFFVV", "sssss", "it failed 3 times in a row in namespace shop",
			"kubectl annotate approvals.ops.srenix.io old-2 -n shop --overwrite ops.srenix.io/breaker-acknowledged=record-2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			var last *opsv1alpha1.Approval
			for index, how := range test.history {
				ended := w.finishedIn(namespaces[test.in[index]], index, srenix.ActionDeletePod, how)
				if how == 'F' {
					last = ended
				}
			}
			approval, p := w.approve(approver), w.newProcess("executor-0")
			p.run(approval)
			held := w.get(approval).Status
			if held.Approver != approver {
				t.Errorf("the approver of what waits is %q, want %q", held.Approver, approver)
			}
			condition := meta.FindStatusCondition(held.Conditions, opsv1alpha1.ConditionAccepted)
			if condition == nil || condition.Status != metav1.ConditionFalse || condition.Reason != "BreakerOpen" ||
				!strings.Contains(condition.Message, test.because) || !strings.HasSuffix(condition.Message, test.close) {
				t.Fatalf("condition %+v; want BreakerOpen because %q, with %q", condition, test.because, test.close)
			}
			if right := "patch approvals.ops.srenix.io in namespace " + last.Namespace; !strings.Contains(condition.Message, right) || strings.Contains(condition.Message, "closes nothing") {
				t.Errorf("message %q; want %q in it, and nothing of an acknowledgment", condition.Message, right)
			}
			// What does not name the record is told, and closes nothing.
			w.reported = nil
			change(w, last, func(a *opsv1alpha1.Approval) { a.Annotations = map[string]string{breaker.Acknowledged: "true"} })
			p.run(approval)
			mistaken := "annotation ops.srenix.io/breaker-acknowledged of Approval " + last.Namespace + "/old-2 does not name the record of its failure, record-2, and closes nothing"
			if held := w.get(approval).Status; held.Phase != opsv1alpha1.PhasePending || !strings.Contains(held.Message, mistaken) || len(w.reported) != 1 || !strings.HasSuffix(held.Message, test.close) {
				t.Errorf("with a wrong acknowledgment it is %s (%s), reported %v; want Pending, %q and one event", held.Phase, held.Message, w.reported, mistaken)
			}
			change(w, last, func(a *opsv1alpha1.Approval) { a.Annotations = map[string]string{breaker.Acknowledged: "record-2"} })
			p.run(approval)
			w.checkOnce(approval)
			if len(w.acts) != 1 {
				t.Errorf("acted %v once the breaker was closed, want once", w.acts)
			}
		})
	}
}

// TestTheBreakerHoldsWhatWasClaimedBefore claims while nothing has failed yet, and
// cannot go on then: the aggregated API is down, for one. What is claimed waits
// like all others once its kind has failed too often.
func TestTheBreakerHoldsWhatWasClaimedBefore(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval, p := w.approve(approver), w.newProcess("executor-0")
	p.deny = func(verb string, object client.Object, _ bool) error {
		if _, ok := object.(*srenix.Proposal); ok && verb == "get" {
			return apierrors.NewServiceUnavailable("down")
		}
		return nil
	}
	if _, err := p.step(approval); err == nil {
		t.Fatal("it went on without the aggregated API")
	}
	if claimed := w.get(approval).Status; claimed.Phase != opsv1alpha1.PhaseExecuting || claimed.Execution == nil {
		t.Fatalf("it was not claimed: %+v", claimed)
	}
	var newest *opsv1alpha1.Approval
	for index := range 3 {
		newest = w.finished(index, srenix.ActionDeletePod, 'F')
	}
	p.deny = nil
	p.run(approval)
	held := w.get(approval).Status
	if condition := meta.FindStatusCondition(held.Conditions, opsv1alpha1.ConditionAccepted); held.Phase != opsv1alpha1.PhasePending || held.Execution != nil || condition == nil || condition.Reason != "BreakerOpen" {
		t.Errorf("status %+v; want Pending with nobody's claim, for BreakerOpen", held)
	}
	if w.has(approval, opsv1alpha1.AuditActionIntended) || len(w.acts) != 0 {
		t.Errorf("acted %v, audited %v; want neither an action nor an intent", w.acts, w.audited(approval))
	}
	change(w, newest, func(a *opsv1alpha1.Approval) { a.Annotations = map[string]string{breaker.Acknowledged: "record-2"} })
	p.run(approval)
	w.checkOnce(approval)
	if len(w.acts) != 1 {
		t.Errorf("acted %v once the breaker was closed, want once", w.acts)
	}
}

func TestAHeldBackApprovalExpires(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	for index := range 3 {
		w.finished(index, srenix.ActionDeletePod, 'F')
	}
	approval, p := w.approve(approver), w.newProcess("executor-0")
	p.run(approval)
	w.pass(time.Hour)
	p.run(approval)
	if phase := w.get(approval).Status.Phase; phase != opsv1alpha1.PhaseExpired {
		t.Errorf("phase %s, want Expired", phase)
	}
}
