// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	promtest "github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
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

func TestAYesToWhatIsApprovedAlreadyIsWarnedAbout(t *testing.T) {
	said := func(name string, decision v1alpha1.Decision, phase opsv1alpha1.ApprovalPhase, approver string) v1alpha1.ApprovalSummary {
		return v1alpha1.ApprovalSummary{Name: name, Decision: string(decision), Phase: string(phase), Approver: approver}
	}
	const yes = v1alpha1.DecisionApprove
	failed := said("failed", yes, opsv1alpha1.PhaseFailed, "bob")
	for name, test := range map[string]struct {
		status v1alpha1.ProposalStatus
		want   []string
	}{
		"open":                            {status: v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalOpen}},
		"the first one failed":            {status: v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalOpen, Approvals: []v1alpha1.ApprovalSummary{failed}}},
		"the first one awaits this one":   {status: v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalAwaitingApproval, Approvals: []v1alpha1.ApprovalSummary{said("first", yes, opsv1alpha1.PhaseAwaitingSecondApproval, "bob")}}},
		"the first one is not picked up":  {v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalApproved, Approvals: []v1alpha1.ApprovalSummary{said("first", yes, "", "")}}, []string{"it is approved already, by Approval first of somebody whose name is not told yet (not yet picked up): at most one of the two is carried out"}},
		"another one after a failed one":  {v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalApproved, Approvals: []v1alpha1.ApprovalSummary{failed, said("first", yes, opsv1alpha1.PhaseExecuting, "bob")}}, []string{"it is approved already, by Approval first of bob (Executing): at most one of the two is carried out"}},
		"it is carried out":               {v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalExecuted, Approvals: []v1alpha1.ApprovalSummary{failed, said("first", yes, opsv1alpha1.PhaseSucceeded, "bob")}}, []string{"it was carried out already, by Approval first of bob (Succeeded), and nothing is done twice: this approval will end as Superseded"}},
		"its runbook is released already": {v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalReleased}, []string{"its runbook is released already: this approval changes nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.proposal.Status = test.status
			signed, claims := w.mint(t, "alice")
			// In this order, for the second uses the token up.
			for _, asked := range []struct {
				user   string
				object any
			}{{"alice", w.posted(signed)}, {apiserver, w.stored(signed, claims)}} {
				response := w.review(t, asked.user, asked.object)
				if !response.Allowed {
					t.Fatalf("%s is refused: %s", asked.user, response.Result.Message)
				}
				if diff := cmp.Diff(test.want, response.Warnings); diff != "" {
					t.Errorf("warnings to %s (-want +have):\n%s", asked.user, diff)
				}
			}
		})
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

// noProof are requests that prove nothing, made of a good approval.
func noProof() map[string]func(w *world, signed string, approval *opsv1alpha1.Approval) {
	return map[string]func(w *world, signed string, approval *opsv1alpha1.Approval){
		"no token":        func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Spec.Token = "" },
		"a token of junk": func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Spec.Token = "eyJ.eyJ.x" },
		"a forged token": func(_ *world, signed string, a *opsv1alpha1.Approval) {
			a.Spec.Token = signed[:len(signed)-6] + "AAAAAA"
		},
		"an expired token":              func(w *world, _ string, _ *opsv1alpha1.Approval) { w.clock.SetTime(start.Add(time.Hour)) },
		"a token for another namespace": func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Namespace = "bank" },
		"a token for another proposal":  func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Spec.Proposal.Name = "other" },
		"a token for another UID": func(w *world, _ string, a *opsv1alpha1.Approval) {
			w.proposal.UID, a.Spec.Proposal.UID = "../../x", "../../x"
		},
		"a token for another digest": func(_ *world, _ string, a *opsv1alpha1.Approval) {
			a.Spec.Proposal.Digest, a.Spec.Snapshot.Digest = "sha256:0", "sha256:0"
		},
		"a token for the other decision": func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Spec.Decision = v1alpha1.DecisionDeny },
		"a token for no such decision":   func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Spec.Decision = "Maybe" },
		"a token for another tier":       func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Spec.Snapshot.Tier = v1alpha1.TierRunbook },
		"a snapshot with another target": func(_ *world, _ string, a *opsv1alpha1.Approval) { a.Spec.Snapshot.Target.Name = "db-0" },
	}
}

// Who has no proof learns nothing of the cluster, and makes nobody read anything of
// it or write anything to it, whatever they call themselves and however often.
func TestWithoutProofNothingIsReadToldOrRecorded(t *testing.T) {
	for name, spoil := range noProof() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			signed, claims := w.mint(t, "alice")
			approval := w.stored(signed, claims)
			spoil(w, signed, approval)
			w.gone, w.calls = true, 0
			for i := range 2 * judgmentsPerHour {
				response := w.review(t, fmt.Sprintf("mallory-%d", i), approval, func(r *admissionv1.AdmissionRequest) { r.Namespace = approval.Namespace })
				expectRefused(t, response, http.StatusForbidden, "SignedToken: ", "kubectl create approval")
				for _, secret := range []string{"gone", "changed", "TargetScope", "NamespaceProtection", "it is now"} {
					if strings.Contains(response.Result.Message, secret) {
						t.Fatalf("it tells %q: %s", secret, response.Result.Message)
					}
				}
			}
			if w.calls != 0 {
				t.Errorf("the cluster was asked %d times", w.calls)
			}
			expectEvents(t, w)
			// The owner of the token is not in their debt.
			w.clock.SetTime(start)
			w.gone, w.proposal.UID = false, "proposal"
			if response := w.review(t, "argocd", w.stored(signed, claims)); !response.Allowed {
				t.Errorf("the token's owner is refused for somebody else's sake: %s", response.Result.Message)
			}
		})
	}
}

func TestAnExpiredTokenIsToldToItsOwner(t *testing.T) {
	w := newWorld(t)
	signed, _ := w.mint(t, "alice")
	posted := w.posted(signed)
	w.clock.SetTime(start.Add(time.Hour))
	expectRefused(t, w.review(t, "alice", posted), http.StatusForbidden,
		"approval of proposal shop/fix refused: SignedToken: the token has expired: at 2026-03-01T12:15:00Z", "mint another token: kubectl create approval")
}

func TestRequestsWithoutProofAreCounted(t *testing.T) {
	for name, want := range map[string]string{
		"a token of junk": "Invalid", "an expired token": "Expired", "a token for another proposal": "OtherDecision", "a snapshot with another target": "Invalid",
	} {
		w := newWorld(t)
		signed, claims := w.mint(t, "alice")
		approval := w.stored(signed, claims)
		noProof()[name](w, signed, approval)
		w.review(t, "mallory", approval)
		if have := promtest.ToFloat64(w.handlers.metrics.unproven.WithLabelValues(want)); have != 1 {
			t.Errorf("%s: %v are counted as %s", name, have, want)
		}
	}
}

// A used token proves what was decided, as long as it lives. Whoever gets hold of
// one must neither fill the chain nor use up what its owner may ask for.
func TestAUsedTokenUsesUpNothingOfItsOwners(t *testing.T) {
	w := newWorld(t)
	used, claims := w.mint(t, "alice")
	if response := w.review(t, "argocd", w.stored(used, claims)); !response.Allowed {
		t.Fatal(response.Result.Message)
	}
	for i := range 2 * judgmentsPerHour {
		w.review(t, fmt.Sprintf("mallory-%d", i), w.stored(used, claims))
	}
	expectRefused(t, w.review(t, "mallory", w.stored(used, claims)), http.StatusTooManyRequests, "too many", "again in")
	if have := len(w.events(t)); have != 1+tokenRefusalsPerHour {
		t.Errorf("%d events are in the chain, want %d", have, 1+tokenRefusalsPerHour)
	}
	w.calls = 0
	w.review(t, "mallory", w.stored(used, claims))
	if w.calls != 0 {
		t.Errorf("the cluster was asked %d times by one too many", w.calls)
	}
	signed, claims := w.mint(t, "alice")
	if response := w.review(t, "alice", w.posted(signed)); !response.Allowed {
		t.Errorf("alice cannot approve with another token: %s", response.Result.Message)
	}
	if response := w.review(t, apiserver, w.stored(signed, claims)); !response.Allowed {
		t.Errorf("alice's next approval is not stored: %s", response.Result.Message)
	}
}

// All tokens of one person together fill the chain no faster than that.
func TestRefusalsOfOnePersonAreBounded(t *testing.T) {
	w := newWorld(t)
	w.forbidden = true
	recorded := 0
	w.options.Chain = appender(func(context.Context, audit.Entry) (*opsv1alpha1.AuditEvent, error) {
		recorded++
		return &opsv1alpha1.AuditEvent{}, nil
	})
	w.serve(w.options)
	for recorded < refusalsPerHour {
		signed, claims := w.mint(t, "alice")
		for range tokenRefusalsPerHour {
			expectRefused(t, w.review(t, "argocd", w.stored(signed, claims)), http.StatusForbidden, "Access")
		}
	}
	signed, claims := w.mint(t, "alice")
	expectRefused(t, w.review(t, "argocd", w.stored(signed, claims)), http.StatusTooManyRequests, "too many")
	if recorded != refusalsPerHour {
		t.Errorf("%d refusals are recorded, want %d", recorded, refusalsPerHour)
	}
	signed, claims = w.mint(t, "bob")
	expectRefused(t, w.review(t, "argocd", w.stored(signed, claims)), http.StatusForbidden, "Access")
}

func TestWhoDoesNotKnowThePathIsNotServed(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	body := encode(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "review", Operation: admissionv1.Create, Namespace: "shop", Name: token.ApprovalName(claims.ID),
			Object: runtime.RawExtension{Raw: encode(t, w.stored(signed, claims))},
		},
	})
	w.options.PathSecret = "3f2a"
	w.serve(w.options)
	for path, want := range map[string]int{
		ApprovalsPath: http.StatusNotFound, "/": http.StatusNotFound, "/3f2a": http.StatusNotFound, "/3f2a/": http.StatusNotFound,
		"/3f2b" + ApprovalsPath: http.StatusNotFound, "/3f2a/x" + ApprovalsPath: http.StatusNotFound,
		SecretPath("3f2a", ApprovalsPath): http.StatusOK, SecretPath("3f2a", ProposalsApprovePath): http.StatusOK,
	} {
		post := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
		post.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, post)
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", path, answer.Code, want)
		}
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
	w.undecided = true
	expectRefused(t, w.review(t, "bob", no), http.StatusForbidden, "Access: bob may not create proposals/approve")
	w.undecided = false
	w.reviewErr = errors.New("kube-apiserver is away")
	expectRefused(t, w.review(t, "bob", no), http.StatusServiceUnavailable, "Access: asking whether bob may create proposals/approve", "is away (try again)")
	w.reviewErr = nil
	if response := w.review(t, "bob", no); !response.Allowed {
		t.Fatal(response.Result.Message)
	}
	expectEvents(t, w, opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditDenialRecorded)
	w.forbidden = false
	signed, _ = w.mint(t, "alice")
	expectRefused(t, w.review(t, "alice", w.posted(signed)), http.StatusForbidden, "approval of proposal shop/fix refused", "DualApproval: bob denied")
	expectEvents(t, w, opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditApprovalDenied)
}

// A no costs no budget, so that there must not be more of them than are of use.
func TestASecondNoIsNeitherRecordedNorStored(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mintFor(t, "bob", v1alpha1.DecisionDeny)
	first := w.stored(signed, claims)
	first.Spec.Decision = v1alpha1.DecisionDeny
	if response := w.review(t, "argocd", first); !response.Allowed {
		t.Fatal(response.Result.Message)
	}
	told := "denial of proposal shop/fix refused: it was denied already, by bob at 2026-03-01T12:00:00Z (Approval " + first.Name + ")"
	expectRefused(t, w.review(t, "argocd", first), http.StatusForbidden, told)
	for _, who := range []string{"bob", "alice"} {
		signed, claims := w.mintFor(t, who, v1alpha1.DecisionDeny)
		again, posted := w.stored(signed, claims), w.posted(signed)
		again.Spec.Decision, posted.Spec.Decision = v1alpha1.DecisionDeny, v1alpha1.DecisionDeny
		expectRefused(t, w.review(t, who, posted), http.StatusForbidden, told)
		expectRefused(t, w.review(t, "argocd", again), http.StatusForbidden, told)
	}
	// A controller that applies what is stored updates it, also under another field manager.
	if response := w.review(t, "flux", first, func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update }); !response.Allowed {
		t.Errorf("the first no cannot be applied again: %s", response.Result.Message)
	}
	expectEvents(t, w, opsv1alpha1.AuditDenialRecorded)

	// With another digest it is another proposal.
	w.proposal.Spec.Target.Name = "web-1"
	seal(t, w.proposal)
	signed, claims = w.mintFor(t, "bob", v1alpha1.DecisionDeny)
	another := w.stored(signed, claims)
	another.Spec.Decision = v1alpha1.DecisionDeny
	if response := w.review(t, "argocd", another); !response.Allowed {
		t.Errorf("a no to another digest: %s", response.Result.Message)
	}
}

// A release cannot be taken back, so a no that comes after it is told so, whether or
// not another one got into the chain while the view was late.
func TestANoToAReleasedRunbookIsTooLate(t *testing.T) {
	w := newWorld(t)
	w.proposal.Spec.ActionKind, w.proposal.Spec.Tier, w.proposal.Spec.Source = v1alpha1.ActionRunbook, v1alpha1.TierRunbook, v1alpha1.SourceInvestigation
	w.proposal.Spec.Runbook = &v1alpha1.RunbookReference{Title: "Unseal", Investigation: "db", Digest: "sha256:" + strings.Repeat("0", 64)}
	seal(t, w.proposal)
	no := func() *opsv1alpha1.Approval {
		signed, claims := w.mintFor(t, "bob", v1alpha1.DecisionDeny)
		approval := w.stored(signed, claims)
		approval.Spec.Decision = v1alpha1.DecisionDeny
		return approval
	}
	w.proposal.Status.Phase = v1alpha1.ProposalReleased
	expectRefused(t, w.review(t, "argocd", no()), http.StatusForbidden, "denial of proposal shop/fix refused: its runbook is released already")
	expectEvents(t, w)
	w.proposal.Status.Phase = v1alpha1.ProposalAwaitingApproval
	if response := w.review(t, "argocd", no()); !response.Allowed {
		t.Errorf("a no before the release: %s", response.Result.Message)
	}
	w.proposal.Status.Phase = v1alpha1.ProposalReleased
	expectRefused(t, w.review(t, "argocd", no()), http.StatusForbidden, "its runbook is released already")
	expectEvents(t, w, opsv1alpha1.AuditDenialRecorded)
}

// What leaves no record leaves a line, and not more of those than are bounded.
func TestLinesOfRequestsWithoutARecordAreBounded(t *testing.T) {
	var log bytes.Buffer
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log)))
	w := newWorld(t)
	d := &decision{claims: &token.Claims{}, user: "mallory"}
	for range 2 * linesPerHour {
		response := w.handlers.tooMany(klog.NewContext(t.Context(), logger), d, time.Minute)
		expectRefused(t, &response.AdmissionResponse, http.StatusTooManyRequests, "try again in 1m0s")
	}
	if lines := strings.Count(log.String(), "Refused without a record"); lines != linesPerHour {
		t.Errorf("%d lines are logged, want %d", lines, linesPerHour)
	}
}

func TestTokenWorksOnceEvenWhenItsApprovalIsDeleted(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	approval := w.stored(signed, claims)
	if response := w.review(t, "alice", approval); !response.Allowed {
		t.Fatal(response.Result.Message)
	}
	// The approval is gone, or could never be stored: the chain remembers.
	expectRefused(t, w.review(t, "alice", approval), http.StatusForbidden, "SignedToken: the token was used already, by Approval "+approval.Name,
		"if there is no such Approval, it was deleted, or accepted and then not stored", "mint another token")
	expectRefused(t, w.review(t, "alice", w.posted(signed)), http.StatusForbidden, "was used already")
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

func TestATokenForDryRunsDecidesNothing(t *testing.T) {
	dryRun := func(r *admissionv1.AdmissionRequest) { r.DryRun = ptr.To(true) }
	w := newWorld(t)
	w.signer = w.signer.ForDryRun()
	signed, claims := w.mint(t, "alice")
	for what, object := range map[string]any{"posted": w.posted(signed), "stored": w.stored(signed, claims)} {
		if response := w.review(t, "alice", object, dryRun); !response.Allowed {
			t.Errorf("%s in a dry run: %s", what, response.Result.Message)
		}
		expectRefused(t, w.review(t, "alice", object), http.StatusForbidden, "the token is for another cluster")
	}
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
		"the proposal has changed": {func(t *testing.T, w *world) []string {
			before := w.proposal.Spec.Digest
			w.proposal.Spec.Target.UID = "new"
			seal(t, w.proposal)
			return []string{"has changed", before, w.proposal.Spec.Digest}
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
		"no right to decide":    {func(w *world, _ *opsv1alpha1.Approval) { w.undecided = true }, "Access: alice may not create proposals/approve.srenix.io fix", "alice"},
		"another name":          {func(_ *world, a *opsv1alpha1.Approval) { a.Name = "approve-me" }, `named "approve-me"`, "alice"},
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
		"stored: in another namespace": {stored, func(r *admissionv1.AdmissionRequest) { r.Namespace = "bank" }, http.StatusForbidden, "for another namespace"},
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
