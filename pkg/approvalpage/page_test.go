// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approvalpage

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/token"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a page over one proposal, and what its fakes answer.
type world struct {
	http.Handler
	clock    *clocktesting.FakePassiveClock
	signer   *token.Signer
	proposal *v1alpha1.Proposal

	gone    bool
	viewErr error
	// refuse is what proposals/approve says.
	refuse error
	// hold keeps a decision from being answered until it is closed.
	hold chan struct{}

	mu      sync.Mutex
	decided []posted
}

// posted is a decision as proposals/approve gets it.
type posted struct {
	owner           user.Info
	namespace, name string
	spec            v1alpha1.ProposalApprovalSpec
	dryRun          bool
}

func (w *world) Get(namespace, name string) (*v1alpha1.Proposal, bool, error) {
	return w.proposal, !w.gone && name == w.proposal.Name && namespace == w.proposal.Namespace, w.viewErr
}

func (w *world) Decide(_ context.Context, owner user.Info, namespace, name string, spec v1alpha1.ProposalApprovalSpec, dryRun bool) (*v1alpha1.ProposalApproval, error) {
	w.mu.Lock()
	w.decided = append(w.decided, posted{owner, namespace, name, spec, dryRun})
	w.mu.Unlock()
	if w.hold != nil {
		<-w.hold
	}
	if w.refuse != nil {
		return nil, w.refuse
	}
	return &v1alpha1.ProposalApproval{Status: v1alpha1.ProposalApprovalStatus{ApprovalName: "approval-1"}}, nil
}

// asked is how often proposals/approve was asked.
func (w *world) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.decided)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: clocktesting.NewFakePassiveClock(start)}
	keys, err := token.NewSigningKeys(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	w.signer = token.NewSigner(keys, "cluster", w.clock)
	w.proposal = &v1alpha1.Proposal{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fix", UID: "proposal"},
		Spec: v1alpha1.ProposalSpec{
			Tier: v1alpha1.TierFix, ActionKind: v1alpha1.ActionDeletePod, DiagnosticClass: "WorkloadStateDrift", Source: v1alpha1.SourceRule,
			Target: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-0", UID: "pod"},
		},
	}
	w.seal(t)
	w.Handler, err = New(Options{Proposals: w, Verifier: token.NewVerifier(keys, "cluster", w.clock), Decider: w, Clock: w.clock, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// seal gives the proposal the digest of its content.
func (w *world) seal(t *testing.T) {
	t.Helper()
	sum, err := digest.Proposal(w.proposal.Namespace, w.proposal.Name, w.proposal.UID, &w.proposal.Spec)
	if err != nil {
		t.Fatal(err)
	}
	w.proposal.Spec.Digest = sum
}

func (w *world) mint(t *testing.T, decision v1alpha1.Decision, reason string) string {
	t.Helper()
	spec := &w.proposal.Spec
	signed, _, err := w.signer.Mint("alice", token.Binding{
		Namespace: "shop", Proposal: "fix", ProposalUID: w.proposal.UID, Digest: spec.Digest, Decision: decision, ReasonDigest: token.ReasonDigest(reason),
		Tier: spec.Tier, ActionKind: spec.ActionKind, TargetUID: spec.Target.UID, DiagnosticClass: spec.DiagnosticClass, Groups: []string{"oncall"},
	}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// post sends a request as the page's script does.
func (w *world) post(t *testing.T, path, signed, reason string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	body, err := json.Marshal(request{Token: signed, Reason: reason})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://page.example"+path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, f := range change {
		f(r)
	}
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	return answer
}

func TestLinkIsReviewedAndThenDecided(t *testing.T) {
	for _, decision := range []v1alpha1.Decision{v1alpha1.DecisionApprove, v1alpha1.DecisionDeny} {
		w := newWorld(t)
		signed := w.mint(t, decision, "it is stuck")
		answer := w.post(t, "/approve/review", signed, "it is stuck")
		review := Review{}
		if err := json.Unmarshal(answer.Body.Bytes(), &review); err != nil || answer.Code != http.StatusOK {
			t.Fatalf("%d, %v: %s", answer.Code, err, answer.Body)
		}
		if review.Decision != decision || review.Approver != "alice" || review.Target.Name != "web-0" || review.Refusal != "" || review.Digest != w.proposal.Spec.Digest ||
			review.Cluster != "cluster" || !review.Expires.Time.Equal(start.Add(15*time.Minute)) {
			t.Errorf("the review is %+v", review)
		}
		answer = w.post(t, "/approve/decide", signed, "it is stuck")
		if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "approval-1") {
			t.Fatalf("%d: %s", answer.Code, answer.Body)
		}
		want := posted{
			owner:     &user.DefaultInfo{Name: "alice", Groups: []string{"oncall"}, Extra: map[string][]string{"srenix.io/approval-page": {"true"}}},
			namespace: "shop", name: "fix",
			spec: v1alpha1.ProposalApprovalSpec{Decision: decision, Digest: w.proposal.Spec.Digest, Token: signed, Reason: "it is stuck"},
		}
		for i, dryRun := range []bool{true, false} {
			want.dryRun = dryRun
			if diff := cmp.Diff(want, w.decided[i], cmp.AllowUnexported(posted{})); diff != "" {
				t.Errorf("request %d (-want +have)\n%s", i, diff)
			}
		}
	}
}

func TestLinkThatDecidesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		arrange func(*testing.T, *world)
		// change is made to a request that is otherwise good.
		change func(*http.Request)
		code   int
		want   string
	}{
		"a forged token":   {change: body(`{"token":"a.b.c"}`), code: http.StatusForbidden, want: "ask for another link"},
		"no token":         {change: body(`{}`), code: http.StatusForbidden, want: "ask for another link"},
		"an expired token": {arrange: func(_ *testing.T, w *world) { w.clock.SetTime(start.Add(16 * time.Minute)) }, code: http.StatusForbidden, want: "expired"},
		"a runbook": {arrange: func(t *testing.T, w *world) {
			w.proposal.Spec.Tier, w.proposal.Spec.ActionKind = v1alpha1.TierRunbook, v1alpha1.ActionRunbook
			w.seal(t)
		}, code: http.StatusForbidden, want: "by those who have read it"},
		"another site": {change: header("Sec-Fetch-Site", "cross-site"), code: http.StatusForbidden, want: "cross-origin"},
		"another origin": {change: func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://evil.example")
		}, code: http.StatusForbidden, want: "cross-origin"},
		"a form":                {change: header("Content-Type", "application/x-www-form-urlencoded"), code: http.StatusUnsupportedMediaType, want: "application/json"},
		"text":                  {change: header("Content-Type", "text/plain"), code: http.StatusUnsupportedMediaType, want: "application/json"},
		"no type":               {change: func(r *http.Request) { r.Header.Del("Content-Type") }, code: http.StatusUnsupportedMediaType, want: "application/json"},
		"an unknown field":      {change: body(`{"token":"a","execute":true}`), code: http.StatusBadRequest, want: "unknown field"},
		"two objects":           {change: body(`{}{}`), code: http.StatusBadRequest, want: "more follows"},
		"no JSON":               {change: body(`token=a`), code: http.StatusBadRequest, want: "reading the body"},
		"a body without an end": {change: body(`{"token":"` + strings.Repeat("a", 1<<20)), code: http.StatusBadRequest, want: "too large"},
		"GET":                   {change: func(r *http.Request) { r.Method = http.MethodGet }, code: http.StatusMethodNotAllowed},
		"HEAD":                  {change: func(r *http.Request) { r.Method = http.MethodHead }, code: http.StatusMethodNotAllowed},
		"PUT":                   {change: func(r *http.Request) { r.Method = http.MethodPut }, code: http.StatusMethodNotAllowed},
	} {
		for _, path := range []string{"/approve/review", "/approve/decide"} {
			t.Run(name+" at "+path, func(t *testing.T) {
				w := newWorld(t)
				if name == "a runbook" {
					test.arrange(t, w)
				}
				signed := w.mint(t, v1alpha1.DecisionApprove, "")
				if test.arrange != nil {
					test.arrange(t, w)
				}
				change := test.change
				if change == nil {
					change = func(*http.Request) {}
				}
				answer := w.post(t, path, signed, "", change)
				if answer.Code != test.code || !strings.Contains(answer.Body.String(), test.want) {
					t.Errorf("%d %s; want %d with %q", answer.Code, answer.Body, test.code, test.want)
				}
				if w.asked() != 0 {
					t.Error("a decision was asked for")
				}
			})
		}
	}
}

// TestNothingIsShownOfAnotherProposal reviews a link whose proposal is not what it was.
func TestNothingIsShownOfAnotherProposal(t *testing.T) {
	for name, test := range map[string]struct {
		arrange func(*testing.T, *world)
		code    int
		want    string
	}{
		"gone":           {func(_ *testing.T, w *world) { w.gone = true }, http.StatusNotFound, "not found"},
		"of another UID": {func(_ *testing.T, w *world) { w.proposal.UID = "other" }, http.StatusNotFound, "not found"},
		"changed": {func(t *testing.T, w *world) {
			w.proposal.Spec.Target.Name = "web-1"
			w.seal(t)
		}, http.StatusConflict, "make another link"},
		"not known yet": {func(_ *testing.T, w *world) { w.viewErr = errors.New("the view is not complete yet") }, http.StatusServiceUnavailable, "not complete yet"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			signed := w.mint(t, v1alpha1.DecisionApprove, "")
			test.arrange(t, w)
			answer := w.post(t, "/approve/review", signed, "")
			if answer.Code != test.code || !strings.Contains(answer.Body.String(), test.want) || w.asked() != 0 {
				t.Errorf("%d %s; want %d with %q", answer.Code, answer.Body, test.code, test.want)
			}
		})
	}
}

func body(text string) func(*http.Request) {
	return func(r *http.Request) {
		*r = *httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), strings.NewReader(text))
		r.Header.Set("Content-Type", "application/json")
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestWhatIsRefusedIsShown(t *testing.T) {
	w := newWorld(t)
	w.refuse = apierrors.NewForbidden(v1alpha1.Resource("proposals/approve"), "fix", errors.New("RateBudget: spent (wait until 13:00)"))
	signed := w.mint(t, v1alpha1.DecisionApprove, "")
	review := Review{}
	answer := w.post(t, "/approve/review", signed, "")
	if err := json.Unmarshal(answer.Body.Bytes(), &review); err != nil || !strings.Contains(review.Refusal, "RateBudget: spent") {
		t.Errorf("%v: %s", err, answer.Body)
	}
	if answer := w.post(t, "/approve/decide", signed, ""); answer.Code != http.StatusForbidden || !strings.Contains(answer.Body.String(), "RateBudget: spent") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

// TestFailuresAreNotQuoted keeps what only API servers are to know from who has a link.
func TestFailuresAreNotQuoted(t *testing.T) {
	for _, failure := range []error{
		errors.New("dial tcp: https://srenix-apiserver:9443/secret"),
		apierrors.NewInternalError(errors.New("failed calling webhook: Post https://srenix-apiserver:9443/secret")),
	} {
		w := newWorld(t)
		w.refuse = failure
		signed := w.mint(t, v1alpha1.DecisionApprove, "")
		for _, path := range []string{"/approve/review", "/approve/decide"} {
			if answer := w.post(t, path, signed, ""); answer.Code != http.StatusServiceUnavailable || strings.Contains(answer.Body.String(), "secret") {
				t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
			}
		}
	}
}

func TestALinkCannotBeAskedAboutWithoutEnd(t *testing.T) {
	w := newWorld(t)
	signed, other := w.mint(t, v1alpha1.DecisionApprove, ""), w.mint(t, v1alpha1.DecisionApprove, "")
	for range askedPerHour {
		if answer := w.post(t, "/approve/review", signed, ""); answer.Code != http.StatusOK {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
	}
	for _, path := range []string{"/approve/review", "/approve/decide"} {
		if answer := w.post(t, path, signed, ""); answer.Code != http.StatusTooManyRequests {
			t.Errorf("%d %s", answer.Code, answer.Body)
		}
	}
	if n := w.asked(); n != askedPerHour {
		t.Errorf("%d decisions were asked for", n)
	}
	if answer := w.post(t, "/approve/decide", other, ""); answer.Code != http.StatusOK {
		t.Errorf("another link: %d %s", answer.Code, answer.Body)
	}
}

func TestFewAreWorkedOnAtOnce(t *testing.T) {
	w := newWorld(t)
	w.hold = make(chan struct{})
	signed := w.mint(t, v1alpha1.DecisionApprove, "")
	codes := make(chan int)
	for range atOnce + 1 {
		go func() { codes <- w.post(t, "/approve/review", signed, "").Code }()
	}
	// All but one wait for their answer.
	if code := <-codes; code != http.StatusTooManyRequests {
		t.Errorf("%d, want 429", code)
	}
	close(w.hold)
	for range atOnce {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("%d, want 200", code)
		}
	}
}

// TestOpeningALinkChangesNothing opens it in every way that is no POST.
func TestOpeningALinkChangesNothing(t *testing.T) {
	w := newWorld(t)
	first := ""
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodDelete} {
		for _, query := range []string{"", "?token=" + w.mint(t, v1alpha1.DecisionApprove, "")} {
			r := httptest.NewRequestWithContext(t.Context(), method, "https://page.example/approve"+query, nil)
			answer := httptest.NewRecorder()
			w.ServeHTTP(answer, r)
			want := http.StatusMethodNotAllowed
			if method == http.MethodGet || method == http.MethodHead {
				want = http.StatusOK
			}
			if answer.Code != want {
				t.Errorf("%s %s: %d, want %d", method, query, answer.Code, want)
			}
			if method == http.MethodGet {
				if first == "" {
					first = answer.Body.String()
				}
				if answer.Body.String() != first {
					t.Error("the page depends on the address")
				}
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; script-src 'self'", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
			} {
				if have := answer.Header().Get(name); !strings.HasPrefix(have, want) {
					t.Errorf("%s: %s is %q, want %q", method, name, have, want)
				}
			}
		}
	}
	if n := w.asked(); n != 0 {
		t.Errorf("%d decisions were asked for", n)
	}
}

// TestPageHoldsToItsOwnRules looks for what the Content-Security-Policy forbids, or
// what would make markup of text.
func TestPageHoldsToItsOwnRules(t *testing.T) {
	err := fs.WalkDir(static, "static", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := static.ReadFile(path)
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick", "javascript:", "http:", "//cdn", "localStorage", "sessionStorage"} {
			if strings.Contains(string(content), never) {
				t.Errorf("%s has %s", path, never)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
