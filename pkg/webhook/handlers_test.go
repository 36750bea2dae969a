// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/token"
)

const apiserver = "system:serviceaccount:srenix-system:srenix-apiserver"

// expectRefused checks code and words of a refusal, and that no token is in it.
func expectRefused(t *testing.T, response *admissionv1.AdmissionResponse, code int32, words ...string) {
	t.Helper()
	if response.Allowed {
		t.Fatal("it is allowed")
	}
	if response.Result.Code != code || response.Result.Reason == "" {
		t.Errorf("code %d %s, want %d: %s", response.Result.Code, response.Result.Reason, code, response.Result.Message)
	}
	for _, word := range words {
		if !strings.Contains(response.Result.Message, word) {
			t.Errorf("the message lacks %q: %s", word, response.Result.Message)
		}
	}
	if strings.Contains(response.Result.Message, "eyJ") {
		t.Errorf("the message holds a token: %s", response.Result.Message)
	}
}

func expectEvents(t *testing.T, w *world, want ...opsv1alpha1.AuditType) {
	t.Helper()
	if diff := cmp.Diff(want, kindsOf(w.events(t))); diff != "" {
		t.Errorf("audit events (-want +have):\n%s", diff)
	}
}

func TestInteractiveApprovalIsRecordedOnceWhereItIsStored(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	if response := w.review(t, "alice", w.posted(signed)); !response.Allowed {
		t.Fatalf("proposals/approve: %s", response.Result.Message)
	}
	expectEvents(t, w)
	if response := w.review(t, apiserver, w.stored(signed, claims)); !response.Allowed {
		t.Fatalf("approvals: %s", response.Result.Message)
	}
	expectEvents(t, w, opsv1alpha1.AuditApprovalAccepted)
	have := w.events(t)[0]
	want := opsv1alpha1.AuditReferences{
		Namespace: "shop", Proposal: "fix", ProposalUID: "proposal", Digest: w.proposal.Spec.Digest,
		Approval: token.ApprovalName(claims.ID), Approver: "alice", Applier: apiserver, JTI: claims.ID,
		DiagnosticClass: "WorkloadStateDrift", ActionKind: v1alpha1.ActionDeletePod, Target: &w.proposal.Spec.Target,
	}
	if diff := cmp.Diff(want, have.References); diff != "" {
		t.Errorf("references (-want +have):\n%s", diff)
	}
	if have.Actor != "alice" || have.Message != "alice approved DeletePod of Pod shop/web-0: it is stuck" || len(have.Verdicts) != 9 {
		t.Errorf("actor %q, message %q, %d verdicts", have.Actor, have.Message, len(have.Verdicts))
	}
}

func TestOfRequestsThatRaceTheFirstInTheChainCounts(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	w.before = func(audit.Entry) {
		w.before = nil
		if response := w.review(t, "argocd", w.stored(signed, claims)); !response.Allowed {
			t.Error(response.Result.Message)
		}
	}
	expectRefused(t, w.review(t, apiserver, w.stored(signed, claims)), http.StatusForbidden, "SignedToken", "meanwhile", "another token")
}

func TestAStrangerLearnsNothingAndCannotFillTheChain(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	forged := signed[:len(signed)-6] + "AAAAAA"
	w.gone = true
	for i := range refusalsPerHour {
		response := w.review(t, "mallory", w.stored(forged, claims))
		if i == 0 {
			expectRefused(t, response, http.StatusForbidden, "SignedToken")
			for _, secret := range []string{"gone", "TargetScope", "NamespaceProtection", w.proposal.Spec.Digest} {
				if strings.Contains(response.Result.Message, secret) {
					t.Errorf("it tells %q: %s", secret, response.Result.Message)
				}
			}
		}
	}
	recorded := len(w.events(t))
	expectRefused(t, w.review(t, "mallory", w.stored(forged, claims)), http.StatusTooManyRequests, "too many", "again in")
	if have := len(w.events(t)); recorded != refusalsPerHour || have != recorded {
		t.Errorf("%d refusals are recorded, and %d after one too many; want %d", recorded, have, refusalsPerHour)
	}
	// Others are recorded as before, until there are too many of all strangers.
	for i := 0; len(w.events(t)) < strangersPerHour && i < strangersPerHour; i += 50 {
		for j := range 50 {
			w.review(t, fmt.Sprintf("mallory-%d", i+j), w.stored(forged, claims))
		}
	}
	expectRefused(t, w.review(t, "yet another", w.stored(forged, claims)), http.StatusTooManyRequests)
	if have := len(w.events(t)); have != strangersPerHour {
		t.Errorf("%d refusals of strangers are recorded, want %d", have, strangersPerHour)
	}
	w.gone = false
	if response := w.review(t, "argocd", w.stored(signed, claims)); !response.Allowed {
		t.Errorf("the owner of a token is refused for the strangers' sake: %s", response.Result.Message)
	}
}

func TestDecisionsBySomebodyElsesHands(t *testing.T) {
	for name, test := range map[string]struct {
		applier     string
		wantApplier string
	}{
		"applied by Argo CD":        {"system:serviceaccount:argocd:controller", "system:serviceaccount:argocd:controller"},
		"applied by the approver":   {"alice", ""},
		"applied by another person": {"bob", "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			signed, claims := w.mint(t, "alice")
			if response := w.review(t, test.applier, w.stored(signed, claims)); !response.Allowed {
				t.Fatal(response.Result.Message)
			}
			if have := w.events(t)[0].References; have.Approver != "alice" || have.Applier != test.wantApplier {
				t.Errorf("approver %q, applier %q", have.Approver, have.Applier)
			}
		})
	}
}

func TestNoIsRecordedAndHolds(t *testing.T) {
	w := newWorld(t)
	w.forbidden = true // whoever may say no need not be able to act
	signed, claims := w.mintFor(t, "bob", v1alpha1.DecisionDeny)
	no := w.stored(signed, claims)
	no.Spec.Decision = v1alpha1.DecisionDeny
	if response := w.review(t, "bob", no); !response.Allowed {
		t.Fatal(response.Result.Message)
	}
	expectEvents(t, w, opsv1alpha1.AuditDenialRecorded)
	w.forbidden = false
	signed, _ = w.mint(t, "alice")
	expectRefused(t, w.review(t, "alice", w.posted(signed)), http.StatusForbidden, "approval of proposal shop/fix refused", "DualApproval: bob denied")
	expectEvents(t, w, opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditApprovalDenied)
}

func TestTokenWorksOnceEvenWhenItsApprovalIsDeleted(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	approval := w.stored(signed, claims)
	if response := w.review(t, "alice", approval); !response.Allowed {
		t.Fatal(response.Result.Message)
	}
	// The approval is gone, or could never be stored: the chain remembers.
	expectRefused(t, w.review(t, "alice", approval), http.StatusForbidden, "SignedToken: the token was used already, by Approval "+approval.Name)
	expectRefused(t, w.review(t, "alice", w.posted(signed)), http.StatusForbidden, "was used already")
	no := w.stored(signed, claims)
	no.Spec.Decision = v1alpha1.DecisionDeny
	expectRefused(t, w.review(t, "alice", no), http.StatusForbidden, "denial of proposal shop/fix refused", "was used already")
}

func TestDryRunRecordsNothing(t *testing.T) {
	dryRun := func(r *admissionv1.AdmissionRequest) { r.DryRun = ptr.To(true) }
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	if response := w.review(t, "alice", w.posted(signed), dryRun); !response.Allowed {
		t.Error(response.Result.Message)
	}
	if response := w.review(t, "alice", w.stored(signed, claims), dryRun); !response.Allowed {
		t.Error(response.Result.Message)
	}
	w.forbidden = true
	expectRefused(t, w.review(t, "alice", w.stored(signed, claims), dryRun), http.StatusForbidden, "Access: alice may not")
	expectEvents(t, w)
}

func TestWhatChangedMeanwhileHasItsOwnCode(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, w *world) (words []string)
		code   int32
	}{
		"the proposal is gone": {func(_ *testing.T, w *world) []string { w.gone = true; return []string{"the proposal is gone"} }, http.StatusNotFound},
		"another proposal has its name": {func(_ *testing.T, w *world) []string {
			w.proposal.UID = "another"
			return []string{"the proposal is gone"}
		}, http.StatusNotFound},
		"the proposal is gone, and its token has expired": {func(t *testing.T, w *world) []string {
			w.gone = true
			w.clock.SetTime(start.Add(time.Hour))
			return []string{"the proposal is gone", "expired"}
		}, http.StatusNotFound},
		"the proposal has changed": {func(t *testing.T, w *world) []string {
			before := w.proposal.Spec.Digest
			w.proposal.Spec.Target.UID = "new"
			seal(t, w.proposal)
			return []string{"has changed", before, w.proposal.Spec.Digest}
		}, http.StatusConflict},
		"the proposal has changed and the token has expired": {func(t *testing.T, w *world) []string {
			before := w.proposal.Spec.Digest
			w.proposal.Spec.DiagnosticClass = "new"
			seal(t, w.proposal)
			w.clock.SetTime(start.Add(time.Hour))
			return []string{"has changed", before, w.proposal.Spec.Digest, "expired"}
		}, http.StatusConflict},
		"the view cannot tell": {func(_ *testing.T, w *world) []string {
			w.viewErr = errors.New("the view is not complete")
			return []string{"SignedToken: it cannot be told", "the view is not complete"}
		}, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			signed, claims := w.mint(t, "alice")
			posted, stored := w.posted(signed), w.stored(signed, claims)
			words := test.change(t, w)
			expectRefused(t, w.review(t, "alice", posted), test.code, words...)
			expectRefused(t, w.review(t, "argocd", stored), test.code, words...)
			expectEvents(t, w, opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditApprovalDenied)
		})
	}
}

func TestRefusalsAreRecordedWithTheirReasons(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(w *world, approval *opsv1alpha1.Approval)
		words string
		actor string
	}{
		"no rights":             {func(w *world, _ *opsv1alpha1.Approval) { w.forbidden = true }, "Access: alice may not approve", "alice"},
		"an expired token":      {func(w *world, _ *opsv1alpha1.Approval) { w.clock.SetTime(start.Add(time.Hour)) }, "SignedToken: the token has expired", "argocd"},
		"a token of junk":       {func(_ *world, a *opsv1alpha1.Approval) { a.Spec.Token = "eyJ.eyJ.x" }, "SignedToken: the token is malformed", "argocd"},
		"another name":          {func(_ *world, a *opsv1alpha1.Approval) { a.Name = "approve-me" }, `named "approve-me"`, "alice"},
		"a forged UID":          {func(w *world, a *opsv1alpha1.Approval) { w.proposal.UID, a.Spec.Proposal.UID = "../../x", "../../x" }, "SignedToken", "alice"},
		"a forged snapshot":     {func(_ *world, a *opsv1alpha1.Approval) { a.Spec.Snapshot.Target.Name = "db-0" }, "does not have the digest", "alice"},
		"an odd decision":       {func(_ *world, a *opsv1alpha1.Approval) { a.Spec.Decision = "Maybe" }, `unknown decision "Maybe"`, "alice"},
		"a protected namespace": {func(w *world, _ *opsv1alpha1.Approval) { w.config.ProtectedNamespaces = []string{"shop"} }, "NamespaceProtection", "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			signed, claims := w.mint(t, "alice")
			approval := w.stored(signed, claims)
			test.spoil(w, approval)
			response := w.review(t, "argocd", approval)
			expectRefused(t, response, http.StatusForbidden, "of proposal shop/fix refused: ", test.words)
			expectEvents(t, w, opsv1alpha1.AuditApprovalDenied)
			event := w.events(t)[0]
			if event.Message != response.Result.Message || event.Actor != test.actor || event.References.Proposal != "fix" {
				t.Errorf("recorded was %+v", event)
			}
		})
	}
}

func TestSomebodyElsesTokenIsRefusedAtProposalsApprove(t *testing.T) {
	w := newWorld(t)
	signed, _ := w.mint(t, "alice")
	expectRefused(t, w.review(t, "mallory", w.posted(signed)), http.StatusForbidden, `minted for "alice", and the caller is "mallory"`)
}

func TestChainThatCannotBeAppendedToRefuses(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	w.createErr = errors.New("etcd is full")
	expectRefused(t, w.review(t, "alice", w.stored(signed, claims)), http.StatusForbidden, "HashChainedAudit: the decision could not be recorded", "etcd is full")
	w.forbidden = true
	expectRefused(t, w.review(t, "alice", w.posted(signed)), http.StatusForbidden, "Access: alice may not", "HashChainedAudit: the refusal could not be recorded")
}

func TestChainWithADamagedHeadRefuses(t *testing.T) {
	w := newWorld(t)
	first, claims := w.mint(t, "alice")
	if response := w.review(t, "alice", w.stored(first, claims)); !response.Allowed {
		t.Fatal(response.Result.Message)
	}
	event := &opsv1alpha1.AuditEvent{}
	if err := w.Get(t.Context(), client.ObjectKey{Name: "00000000000000000001"}, event); err != nil {
		t.Fatal(err)
	}
	event.Spec.Actor = "nobody"
	if err := w.Update(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	signed, claims := w.mint(t, "alice")
	expectRefused(t, w.review(t, "alice", w.stored(signed, claims)), http.StatusForbidden, "HashChainedAudit: it cannot be told", "audit event 1")
}

func TestPanicIsARefusal(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	w.panics = true
	expectRefused(t, w.review(t, "alice", w.posted(signed)), http.StatusInternalServerError, "judging the request failed")
	expectRefused(t, w.review(t, "alice", w.stored(signed, claims)), http.StatusInternalServerError, "judging the request failed")
}

func TestAwaitingASecondApproverIsSaid(t *testing.T) {
	w := newWorld(t)
	w.config.Approvers = map[v1alpha1.ActionKind]int32{v1alpha1.ActionDeletePod: 2}
	signed, claims := w.mint(t, "alice")
	response := w.review(t, "alice", w.stored(signed, claims))
	if !response.Allowed || len(response.Warnings) != 1 || !strings.Contains(response.Warnings[0], "1 of 2 distinct approvers so far") {
		t.Errorf("allowed %t, warnings %q", response.Allowed, response.Warnings)
	}
}

func TestBodiesThatAreNotExactlyRightAreRefused(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	posted, stored := w.posted(signed), w.stored(signed, claims)
	raw := func(change func(string) string) func(*admissionv1.AdmissionRequest) {
		return func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(change(string(r.Object.Raw))) }
	}
	replace := func(old, new string) func(*admissionv1.AdmissionRequest) {
		return raw(func(body string) string {
			if !strings.Contains(body, old) {
				t.Fatalf("the body has no %s: %s", old, body)
			}
			return strings.Replace(body, old, new, 1)
		})
	}
	for name, test := range map[string]struct {
		object any
		change func(*admissionv1.AdmissionRequest)
		code   int32
		words  string
	}{
		"posted: an unknown field":     {posted, replace(`"spec":{`, `"spec":{"force":true,`), http.StatusBadRequest, "spec.force"},
		"stored: an unknown field":     {stored, replace(`"snapshot":{`, `"snapshot":{"image":"x",`), http.StatusBadRequest, "spec.snapshot.image"},
		"stored: a repeated field":     {stored, replace(`"decision":"Approve"`, `"decision":"Deny","decision":"Approve"`), http.StatusBadRequest, "decision"},
		"posted: another kind":         {posted, replace(`"kind":"ProposalApproval"`, `"kind":"ProposalTokenRequest"`), http.StatusBadRequest, "decoding"},
		"stored: another kind":         {stored, replace(`"kind":"Approval"`, `"kind":"AuditEvent"`), http.StatusBadRequest, "decoding"},
		"stored: another group":        {stored, replace("ops.srenix.io/v1alpha1", "srenix.io/v1alpha1"), http.StatusBadRequest, "Approval"},
		"posted: nothing":              {posted, raw(func(string) string { return "{}" }), http.StatusBadRequest, "decoding"},
		"posted: no kind":              {posted, replace(`"kind":"ProposalApproval",`, ``), http.StatusBadRequest, "decoding"},
		"stored: no object":            {stored, func(r *admissionv1.AdmissionRequest) { r.Object.Raw = nil }, http.StatusBadRequest, "decoding"},
		"stored: a list of its kind":   {&opsv1alpha1.ApprovalList{TypeMeta: metav1.TypeMeta{APIVersion: "ops.srenix.io/v1alpha1", Kind: "ApprovalList"}}, nil, http.StatusBadRequest, "have a *v1alpha1.ApprovalList"},
		"stored: no object at all":     {stored, raw(func(string) string { return `"eyJ"` }), http.StatusBadRequest, "decoding"},
		"posted: no snapshot":          {func() any { p := posted.DeepCopy(); p.Spec.Snapshot = nil; return p }(), nil, http.StatusForbidden, "no snapshot"},
		"posted: no UID":               {func() any { p := posted.DeepCopy(); p.Spec.ProposalUID = ""; return p }(), nil, http.StatusForbidden, "no snapshot"},
		"posted: another digest":       {func() any { p := posted.DeepCopy(); p.Spec.Digest = "sha256:old"; return p }(), nil, http.StatusConflict, "sha256:old"},
		"posted: another name":         {posted, func(r *admissionv1.AdmissionRequest) { r.Name = "other" }, http.StatusBadRequest, "other"},
		"posted: no user":              {posted, func(r *admissionv1.AdmissionRequest) { r.UserInfo.Username = "" }, http.StatusForbidden, "no user"},
		"posted: an update":            {posted, func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update }, http.StatusForbidden, "UPDATE"},
		"stored: a connect":            {stored, func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Connect }, http.StatusForbidden, "CONNECT"},
		"stored: no name":              {func() any { a := stored.DeepCopy(); a.Name = ""; return a }(), nil, http.StatusBadRequest, "metadata.name"},
		"stored: two digests":          {func() any { a := stored.DeepCopy(); a.Spec.Proposal.Digest = "sha256:x"; return a }(), nil, http.StatusUnprocessableEntity, "contradicts itself"},
		"stored: in another namespace": {stored, func(r *admissionv1.AdmissionRequest) { r.Namespace = "bank" }, http.StatusNotFound, "bank"},
	} {
		t.Run(name, func(t *testing.T) {
			change := test.change
			if change == nil {
				change = func(*admissionv1.AdmissionRequest) {}
			}
			expectRefused(t, w.review(t, "alice", test.object, change), test.code, test.words)
		})
	}
	for _, event := range w.events(t) {
		if event.Type != opsv1alpha1.AuditApprovalDenied {
			t.Errorf("recorded was %s", event.Type)
		}
	}
}

// What was decided cannot be changed, so applying an Approval again, writing its
// status or deleting it is none of the policy's business.
func TestUpdatesAndDeletionsOfApprovalsPass(t *testing.T) {
	w := newWorld(t)
	w.gone = true
	signed, claims := w.mint(t, "alice")
	for _, operation := range []admissionv1.Operation{admissionv1.Update, admissionv1.Delete} {
		if response := w.review(t, "argocd", w.stored(signed, claims), func(r *admissionv1.AdmissionRequest) { r.Operation = operation }); !response.Allowed {
			t.Errorf("%s: %s", operation, response.Result.Message)
		}
	}
	expectEvents(t, w)
}

func TestGitOpsTargetIsRefusedWithItsMarker(t *testing.T) {
	w := newWorld(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0"}}
	if err := w.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	pod.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}
	if err := w.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	signed, _ := w.mint(t, "alice")
	expectRefused(t, w.review(t, "alice", w.posted(signed)), http.StatusForbidden, "GitOpsManaged: Pod web-0 is managed", "kustomize.toolkit.fluxcd.io/name=apps", "make the change in its source")
}
