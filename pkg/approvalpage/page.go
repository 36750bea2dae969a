// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package approvalpage is click-to-fix: a page on which the owner of a token, or
// whoever they gave it to, presses the button. `kubectl create approval --link`
// prints its address, with the token in the fragment, which no browser sends and no
// proxy logs.
//
// To open the address changes nothing: GET answers with a page that is the same for
// everybody. Its script takes the token out of the address, asks with POST review
// what the token decides, shows that, and sends POST decide once a person has
// confirmed. So a chat program that looks at every link decides nothing.
//
// The page gives nobody a right. It stores the Approval that the token calls for, in
// the server's own name, as Argo CD and Flux store one from Git, and the webhook
// judges it as any other. The token's subject is asked about on top: they must be
// allowed to create proposals/approve, as if they had posted the decision themselves.
package approvalpage

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

const (
	// Path is that of the page. What its script asks lies below.
	Path = "/approve"
	// maximumBody is room for the longest token and reason, in bytes.
	maximumBody = 32 << 10
	// timeout is longer than the webhook takes, which decides within this.
	timeout = 15 * time.Second
)

// Proposals are the standing proposals of the live view.
type Proposals interface {
	// Get returns a proposal and whether there is one, or an error if the view
	// cannot tell.
	Get(namespace, name string) (*v1alpha1.Proposal, bool, error)
}

// Recorder stores a decision as the Approval that its token calls for.
type Recorder interface {
	// Store creates the approval, whose name is the token's, or only asks whether
	// it could.
	Store(ctx context.Context, approval *opsv1alpha1.Approval, dryRun bool) (*opsv1alpha1.Approval, error)
}

// Options are what the page needs. All are required.
type Options struct {
	Proposals Proposals
	Verifier  *token.Verifier
	// Access asks kube-apiserver what the token's subject may do.
	Access   evidence.AccessReviewer
	Recorder Recorder
	Clock    clock.PassiveClock
}

// Review is what a token decides, as the page shows it.
type Review struct {
	Decision v1alpha1.Decision `json:"decision"`
	// Approver is the token's subject, in whose name it decides.
	Approver string      `json:"approver"`
	Reason   string      `json:"reason,omitempty"`
	Expires  metav1.Time `json:"expires"`

	Namespace  string                   `json:"namespace"`
	Proposal   string                   `json:"proposal"`
	ActionKind v1alpha1.ActionKind      `json:"actionKind"`
	Target     v1alpha1.ObjectReference `json:"target"`
	Rationale  string                   `json:"rationale,omitempty"`
	Patch      *v1alpha1.Patch          `json:"patch,omitempty"`
	Digest     string                   `json:"digest"`

	// Refusal is what the policy says against it now, and empty if nothing.
	Refusal string `json:"refusal,omitempty"`
}

// Decided is the answer to a decision that counts.
type Decided struct {
	Namespace string `json:"namespace"`
	Approval  string `json:"approval"`
}

// request is what the script posts.
type request struct {
	Token  string `json:"token"`
	Reason string `json:"reason"`
}

//go:embed static
var static embed.FS

// New returns the page with all that belongs to it.
func New(options Options) http.Handler {
	p := &page{options}
	mux := http.NewServeMux()
	for path, file := range map[string]string{Path: "page.html", Path + "/page.js": "page.js", Path + "/page.css": "page.css"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, static, "static/"+file)
		})
	}
	mux.HandleFunc("POST "+Path+"/review", p.serve(p.review))
	mux.HandleFunc("POST "+Path+"/decide", p.serve(p.decide))
	// Another site cannot have a browser post here; and what has no browser brings
	// nothing but the token.
	return guarded(http.NewCrossOriginProtection().Handler(mux))
}

// guarded says to browsers that the page loads nothing from elsewhere, is shown in
// no frame, and is kept nowhere.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
			"Referrer-Policy":         "no-referrer",
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Cache-Control":           "no-store",
			"X-Robots-Tag":            "noindex",
		} {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}

type page struct{ Options }

// serve decodes a request and encodes its answer, or a Status that tells why there
// is none.
func (p *page) serve(handle func(context.Context, *request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		code := http.StatusOK
		asked, err := decode(w, r)
		var answer any
		if err == nil {
			answer, err = handle(ctx, asked)
		}
		if err != nil {
			var status apierrors.APIStatus
			if !errors.As(err, &status) {
				status = apierrors.NewInternalError(err)
			}
			answer, code = status.Status(), int(status.Status().Code)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			klog.FromContext(ctx).V(2).Info("An answer of the approval page did not arrive", "reason", err.Error())
		}
	}
}

// decode takes JSON only, which no form of another site can send.
func decode(w http.ResponseWriter, r *http.Request) (*request, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
			Message: "the body must be application/json",
		}}
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maximumBody))
	decoder.DisallowUnknownFields()
	asked := &request{}
	if err := decoder.Decode(asked); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("reading the body: %v", err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, apierrors.NewBadRequest("reading the body: more follows the first object")
	}
	return asked, nil
}

// review tells what a token decides, and what the policy says to it, and stores
// nothing.
func (p *page) review(ctx context.Context, asked *request) (any, error) {
	made, err := p.draft(ctx, asked)
	if err != nil {
		return nil, err
	}
	spec := &made.approval.Spec
	review := &Review{
		Decision: spec.Decision, Approver: made.claims.Subject, Reason: spec.Reason, Expires: metav1.NewTime(made.claims.ExpiresAt.Time),
		Namespace: made.approval.Namespace, Proposal: spec.Proposal.Name,
		ActionKind: spec.Snapshot.ActionKind, Target: spec.Snapshot.Target, Rationale: spec.Snapshot.Rationale, Patch: spec.Snapshot.Patch,
		Digest: spec.Snapshot.Digest,
	}
	if _, err := p.Recorder.Store(ctx, made.approval, true); err != nil {
		review.Refusal = err.Error()
	}
	return review, nil
}

// decide stores the decision of a token.
func (p *page) decide(ctx context.Context, asked *request) (any, error) {
	made, err := p.draft(ctx, asked)
	if err != nil {
		return nil, err
	}
	stored, err := p.Recorder.Store(ctx, made.approval, false)
	if err != nil {
		return nil, err
	}
	klog.FromContext(ctx).Info("Decided on the approval page", "approver", made.claims.Subject, "jti", made.claims.ID,
		"approval", klog.KObj(stored), "decision", stored.Spec.Decision)
	return &Decided{Namespace: stored.Namespace, Approval: stored.Name}, nil
}

// drafted is the Approval that a token calls for.
type drafted struct {
	approval *opsv1alpha1.Approval
	claims   *token.Claims
}

// draft writes the Approval that a token calls for. Without a token that is good for
// the proposal as it stands, it says nothing of the cluster.
func (p *page) draft(ctx context.Context, asked *request) (*drafted, error) {
	now := p.Clock.Now()
	claims, err := p.Verifier.VerifyAt(asked.Token, now)
	if err != nil {
		return nil, refused(fmt.Errorf("reading the token: %w: ask for another link", err))
	}
	binding := &claims.Binding
	standing, exists, err := p.Proposals.Get(binding.Namespace, binding.Proposal)
	switch {
	case err != nil:
		return nil, apierrors.NewServiceUnavailable(err.Error())
	case !exists || standing.UID != binding.ProposalUID:
		return nil, apierrors.NewNotFound(v1alpha1.Resource("proposals"), binding.Proposal)
	case standing.Spec.Digest != binding.Digest:
		return nil, apierrors.NewConflict(v1alpha1.Resource("proposals"), binding.Proposal,
			fmt.Errorf("it has changed since the link was made: it says digest %s, and the proposal has %s; look at it again, and make another link", binding.Digest, standing.Spec.Digest))
	}
	proposal := &policy.Proposal{Namespace: standing.Namespace, Name: standing.Name, UID: standing.UID, Spec: standing.Spec}
	if _, err := policy.Proof(p.Verifier, asked.Token, now, binding.Decision, asked.Reason, proposal); err != nil {
		return nil, refused(err)
	}
	if standing.Spec.ActionKind == v1alpha1.ActionRunbook {
		return nil, refused(errors.New("a runbook is decided on by those who have read it, with kubectl create approval"))
	}
	if err := p.mayApprove(ctx, claims); err != nil {
		return nil, err
	}
	return &drafted{claims: claims, approval: &opsv1alpha1.Approval{
		ObjectMeta: metav1.ObjectMeta{Namespace: standing.Namespace, Name: token.ApprovalName(claims.ID)},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: binding.Decision,
			Proposal: opsv1alpha1.ProposalReference{Name: standing.Name, UID: standing.UID, Digest: standing.Spec.Digest},
			Snapshot: standing.Spec,
			Token:    asked.Token,
			Reason:   asked.Reason,
		},
	}}, nil
}

// mayApprove asks kube-apiserver what it asks itself when a person posts a decision.
func (p *page) mayApprove(ctx context.Context, claims *token.Claims) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: claims.Subject, Groups: claims.Binding.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "create", Group: v1alpha1.SchemeGroupVersion.Group, Version: v1alpha1.SchemeGroupVersion.Version,
			Resource: "proposals", Subresource: "approve", Namespace: claims.Binding.Namespace, Name: claims.Binding.Proposal,
		},
	}}
	if err := p.Access.Create(ctx, review); err != nil {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("what %s may do cannot be told: %v", claims.Subject, err))
	}
	if !review.Status.Allowed || review.Status.Denied {
		return refused(fmt.Errorf("%s may not create proposals/approve in namespace %s any more", claims.Subject, claims.Binding.Namespace))
	}
	return nil
}

func refused(why error) error {
	return apierrors.NewForbidden(v1alpha1.Resource("proposals/approve"), "", why)
}
