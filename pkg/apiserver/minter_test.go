// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/registry/proposal"
	"github.com/srenix/srenix/pkg/token"
)

// reviewer answers SubjectAccessReviews as told, and keeps them.
type reviewer struct {
	allow func(authorizationv1.SubjectAccessReviewSpec) bool
	err   error
	asked []authorizationv1.SubjectAccessReviewSpec
}

// Create implements evidence.AccessReviewer.
func (r *reviewer) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	review := object.(*authorizationv1.SubjectAccessReview)
	r.asked = append(r.asked, review.Spec)
	review.Status.Allowed = r.allow == nil || r.allow(review.Spec)
	return r.err
}

// mint is a minter, and what it signs for.
type mint struct {
	minter
	reviews  *reviewer
	clock    *testingclock.FakePassiveClock
	kube     client.Client
	keys     *token.SigningKeys
	proposal *v1alpha1.Proposal
}

func newMint(t *testing.T) *mint {
	t.Helper()
	scheme, err := newClientScheme()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.NewSigningKeys(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	m := &mint{
		reviews: &reviewer{}, clock: testingclock.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
		kube: fake.NewClientBuilder().WithScheme(scheme).Build(), keys: keys,
		proposal: &v1alpha1.Proposal{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fix", UID: "proposal"},
			Spec: v1alpha1.ProposalSpec{
				Tier: v1alpha1.TierFix, ActionKind: v1alpha1.ActionDeletePod, DiagnosticClass: "WorkloadStateDrift",
				Digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000",
				Target: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-0", UID: "pod"},
			},
		},
	}
	m.minter = minter{
		signer: token.NewSigner(keys, "cluster", m.clock), chain: audit.NewChain(m.kube, "apiserver", m.clock, nil), longest: time.Hour,
		access: m.reviews, limit: audit.NewLimiter(tokensPerHour, m.clock),
	}
	return m
}

// minted is how many tokens the chain knows of.
func (m *mint) minted(t *testing.T) int {
	t.Helper()
	events := &opsv1alpha1.AuditEventList{}
	if err := m.kube.List(t.Context(), events, client.MatchingLabels{audit.LabelType: string(opsv1alpha1.AuditTokenMinted)}); err != nil {
		t.Fatal(err)
	}
	return len(events.Items)
}

// A token keeps name and groups of its owner. A login that is worth less than those,
// because an authorizer looks at its extra fields, must not be turned into one.
func TestARestrictedLoginGetsNoTokenForWhatItMayNotDo(t *testing.T) {
	scoped := map[string][]string{"scopes.authorization.example.com": {"user:info"}}
	may := func(verbs ...string) func(authorizationv1.SubjectAccessReviewSpec) bool {
		return func(spec authorizationv1.SubjectAccessReviewSpec) bool {
			return len(spec.Extra["scopes.authorization.example.com"]) == 0 || slices.Contains(verbs, spec.ResourceAttributes.Verb)
		}
	}
	for name, test := range map[string]struct {
		extra    map[string][]string
		decision v1alpha1.Decision
		reviews  reviewer
		code     int32 // of the refusal; zero means a token
		asked    int
	}{
		"an ordinary login":                        {nil, v1alpha1.DecisionApprove, reviewer{allow: may()}, 0, 0},
		"a service account's pod":                  {map[string][]string{"authentication.kubernetes.io/pod-name": {"x"}}, v1alpha1.DecisionApprove, reviewer{allow: may()}, 0, 0},
		"a restricted one that may do nothing":     {scoped, v1alpha1.DecisionApprove, reviewer{allow: may()}, http.StatusForbidden, 1},
		"one that may not post a decision":         {scoped, v1alpha1.DecisionApprove, reviewer{allow: may("approve", "delete")}, http.StatusForbidden, 1},
		"one that may approve and not do it":       {scoped, v1alpha1.DecisionApprove, reviewer{allow: may("create", "approve")}, http.StatusForbidden, 3},
		"one that may do it and not approve":       {scoped, v1alpha1.DecisionApprove, reviewer{allow: may("create", "delete")}, http.StatusForbidden, 2},
		"one that may do all":                      {scoped, v1alpha1.DecisionApprove, reviewer{}, 0, 3},
		"one that may say no":                      {scoped, v1alpha1.DecisionDeny, reviewer{allow: may("create")}, 0, 1},
		"one that may not say no":                  {scoped, v1alpha1.DecisionDeny, reviewer{allow: may("approve", "delete")}, http.StatusForbidden, 1},
		"one of which nobody can tell what it may": {scoped, v1alpha1.DecisionApprove, reviewer{err: errors.New("no answer")}, http.StatusInternalServerError, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMint(t)
			*m.reviews = test.reviews
			caller := &user.DefaultInfo{Name: "alice", UID: "u", Groups: []string{"team"}, Extra: test.extra}
			minted, err := m.Mint(t.Context(), caller, m.proposal, proposal.Wanted{Decision: test.decision, Lifetime: time.Minute})
			var code int32
			var status apierrors.APIStatus
			if errors.As(err, &status) {
				code = status.Status().Code
			}
			if code != test.code || (minted.Token == "") != (test.code != 0) || (err == nil) != (test.code == 0) {
				t.Fatalf("code %d, want %d: %v", code, test.code, err)
			}
			if have, want := m.minted(t) == 1, test.code == 0; have != want {
				t.Errorf("a token is in the chain: %t, want %t", have, want)
			}
			if len(m.reviews.asked) != test.asked {
				t.Errorf("asked were %+v, want %d", m.reviews.asked, test.asked)
			}
			for _, asked := range m.reviews.asked {
				whole := authorizationv1.SubjectAccessReviewSpec{
					User: "alice", UID: "u", Groups: []string{"team"}, ResourceAttributes: asked.ResourceAttributes,
					Extra: map[string]authorizationv1.ExtraValue{"scopes.authorization.example.com": {"user:info"}},
				}
				if diff := cmp.Diff(whole, asked); diff != "" {
					t.Errorf("asked was for another login (-want +have):\n%s", diff)
				}
			}
		})
	}
}

func TestATokenForDryRunsIsRecordedNowhere(t *testing.T) {
	m := newMint(t)
	wanted := proposal.Wanted{Decision: v1alpha1.DecisionApprove, Lifetime: time.Minute, DryRun: true}
	minted, err := m.Mint(t.Context(), &user.DefaultInfo{Name: "alice"}, m.proposal, wanted)
	if err != nil {
		t.Fatal(err)
	}
	if have := m.minted(t); have != 0 {
		t.Errorf("%d tokens are in the chain", have)
	}
	verifier := token.NewVerifier(m.keys, "cluster", m.clock)
	if _, err := verifier.Verify(minted.Token); !errors.Is(err, token.ErrAudience) {
		t.Errorf("it is good for a decision: %v", err)
	}
	claims, err := verifier.ForDryRun().Verify(minted.Token)
	if err != nil || token.ApprovalName(claims.ID) != minted.ApprovalName {
		t.Errorf("in a dry run: %v, and the Approval would be %s", err, minted.ApprovalName)
	}
	*m.reviews = reviewer{err: errors.New("no answer")}
	restricted := &user.DefaultInfo{Name: "alice", Extra: map[string][]string{"scopes": {"user:info"}}}
	if minted, err := m.Mint(t.Context(), restricted, m.proposal, wanted); err == nil || minted.Token != "" {
		t.Errorf("a restricted login is given one: %v", err)
	}
}

// The webhook judges tokens too, and its configuration can be deleted.
func TestATokenIsTakenForWhatItWasMintedForOnly(t *testing.T) {
	m := newMint(t)
	alice := &user.DefaultInfo{Name: "alice"}
	ctx := genericapirequest.WithUser(t.Context(), alice)
	r := recorder{client: m.kube, verifier: token.NewVerifier(m.keys, "cluster", m.clock)}
	for _, minted := range []bool{false, true} {
		for _, used := range []bool{false, true} {
			signed, err := m.Mint(ctx, alice, m.proposal, proposal.Wanted{Decision: v1alpha1.DecisionApprove, Lifetime: time.Minute, DryRun: minted})
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Record(ctx, &opsv1alpha1.Approval{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: opsv1alpha1.ApprovalSpec{Token: signed.Token}}, used)
			// What is good for a decision can be rehearsed with before.
			if good := used || !minted; good && err != nil || !good && !apierrors.IsForbidden(err) {
				t.Errorf("minted for a dry run: %t, used in one: %t: %v", minted, used, err)
			}
		}
	}
	stored := &opsv1alpha1.ApprovalList{}
	if err := m.kube.List(ctx, stored); err != nil || len(stored.Items) != 1 {
		t.Errorf("%d Approvals are stored (%v), want the one of a decision", len(stored.Items), err)
	}
}

func TestTokensAreBoundedForEachPerson(t *testing.T) {
	m := newMint(t)
	mint := func(who string) error {
		_, err := m.Mint(t.Context(), &user.DefaultInfo{Name: who}, m.proposal, proposal.Wanted{Decision: v1alpha1.DecisionApprove, Lifetime: time.Minute})
		return err
	}
	for range tokensPerHour {
		if err := mint("alice"); err != nil {
			t.Fatal(err)
		}
	}
	if err := mint("alice"); !apierrors.IsTooManyRequests(err) {
		t.Errorf("one more: %v", err)
	}
	if err := mint("bob"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	if have := m.minted(t); have != tokensPerHour+1 {
		t.Errorf("%d tokens are in the chain, want %d", have, tokensPerHour+1)
	}
	for i := range tokensPerHour {
		if err := mint(fmt.Sprintf("system:serviceaccount:shop:made-up-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := mint("system:serviceaccount:shop:another"); !apierrors.IsTooManyRequests(err) {
		t.Errorf("one more under another name: %v", err)
	}
	m.clock.SetTime(m.clock.Now().Add(time.Hour/tokensPerHour + time.Second))
	if err := mint("alice"); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestNoTokenIsValidForLongerThanConfigured(t *testing.T) {
	m := newMint(t)
	if _, err := m.Mint(t.Context(), &user.DefaultInfo{Name: "alice"}, m.proposal, proposal.Wanted{Decision: v1alpha1.DecisionApprove, Lifetime: time.Hour + time.Second}); !apierrors.IsBadRequest(err) {
		t.Errorf("have %v", err)
	}
}
