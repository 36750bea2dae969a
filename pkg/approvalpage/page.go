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
// The page gives nobody a right. It posts the decision to proposals/approve in the
// name of the token's owner, so that whatever the cluster demands of them there is
// asked: RBAC, a site's own admission policies, the webhook. All of it sees in the
// user's extra that the decision comes from here.
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
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
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

// Decider posts a decision to proposals/approve in the name of its owner.
type Decider interface {
	// Decide decides, or only asks whether it could. Its errors are those of the API.
	Decide(ctx context.Context, owner user.Info, namespace, name string, decision v1alpha1.ProposalApprovalSpec, dryRun bool) (*v1alpha1.ProposalApproval, error)
}

// Extra is set in the extra of a user whose decision comes from the page.
const Extra = "srenix.io/approval-page"

const (
	// askedPerHour is how often a token may be asked about at one replica.
	askedPerHour = 60
	// atOnce is how many requests are worked on at one replica.
	atOnce = 8
)

// Options are what the page needs. All are required.
type Options struct {
	// Proposals are for showing what the policy refuses.
	Proposals Proposals
	Verifier  *token.Verifier
	Decider   Decider
	Clock     clock.PassiveClock
	// Registerer takes the page's metrics.
	Registerer prometheus.Registerer
}

// Review is what a token decides, as the page shows it.
type Review struct {
	Decision v1alpha1.Decision `json:"decision"`
	// Approver is the token's subject, in whose name it decides.
	Approver string `json:"approver"`
	Reason   string `json:"reason,omitempty"`
	// Cluster is the UID of its namespace kube-system.
	Cluster string      `json:"cluster"`
	Expires metav1.Time `json:"expires"`

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
func New(options Options) (http.Handler, error) {
	p := &page{
		Options: options, limit: audit.NewLimiter(askedPerHour, options.Clock), places: make(chan struct{}, atOnce),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_approval_page_answers_total",
			Help: "Answers of the approval page to requests with a token, by what was asked (review, decide) and HTTP status code.",
		}, []string{"asked", "code"}),
	}
	if err := options.Registerer.Register(p.answers); err != nil {
		return nil, fmt.Errorf("registering the metrics of the approval page: %w", err)
	}
	mux := http.NewServeMux()
	for path, file := range map[string]string{Path: "page.html", Path + "/page.js": "page.js", Path + "/page.css": "page.css"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, static, "static/"+file)
		})
	}
	mux.HandleFunc("POST "+Path+"/review", p.serve("review", p.review))
	mux.HandleFunc("POST "+Path+"/decide", p.serve("decide", p.decide))
	// Another site cannot have a browser post here; and what has no browser brings
	// nothing but the token.
	return guarded(http.NewCrossOriginProtection().Handler(mux)), nil
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

type page struct {
	Options
	limit   *audit.Limiter
	places  chan struct{}
	answers *prometheus.CounterVec
}

// serve decodes a request and encodes its answer, or a Status that tells why there
// is none.
func (p *page) serve(asked string, handle func(context.Context, *request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		answer, err := p.answer(ctx, w, r, handle)
		code := http.StatusOK
		if err != nil {
			var status apierrors.APIStatus
			if !errors.As(err, &status) {
				status = apierrors.NewInternalError(err)
			}
			answer, code = status.Status(), int(status.Status().Code)
		}
		p.answers.WithLabelValues(asked, strconv.Itoa(code)).Inc()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			klog.FromContext(ctx).V(2).Info("An answer of the approval page did not arrive", "reason", err.Error())
		}
	}
}

// answer handles a request unless there are too many.
func (p *page) answer(ctx context.Context, w http.ResponseWriter, r *http.Request, handle func(context.Context, *request) (any, error)) (any, error) {
	asked, err := decode(w, r)
	if err != nil {
		return nil, err
	}
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	default:
		return nil, apierrors.NewTooManyRequests("too many people are on this page: try again", 1)
	}
	return handle(ctx, asked)
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

// review tells what a token decides, and what stands against it, and stores nothing.
func (p *page) review(ctx context.Context, asked *request) (any, error) {
	claims, err := p.claims(asked)
	if err != nil {
		return nil, err
	}
	binding := &claims.Binding
	proposal, err := p.standing(binding)
	if err != nil {
		return nil, err
	}
	review := &Review{
		Decision: binding.Decision, Approver: claims.Subject, Reason: asked.Reason, Cluster: claims.Audience[0], Expires: metav1.NewTime(claims.ExpiresAt.Time),
		Namespace: proposal.Namespace, Proposal: proposal.Name,
		ActionKind: proposal.Spec.ActionKind, Target: proposal.Spec.Target, Rationale: proposal.Spec.Rationale, Patch: proposal.Spec.Patch,
		Digest: proposal.Spec.Digest,
	}
	_, err = p.post(ctx, claims, asked, true)
	switch status := apierrors.APIStatus(nil); {
	case err == nil:
	case errors.As(err, &status) && status.Status().Code/100 == 4:
		review.Refusal = err.Error()
	default:
		return nil, unavailable(ctx, err)
	}
	return review, nil
}

// decide has the decision of a token posted.
func (p *page) decide(ctx context.Context, asked *request) (any, error) {
	claims, err := p.claims(asked)
	if err != nil {
		return nil, err
	}
	logger := klog.FromContext(ctx).WithValues("approver", claims.Subject, "jti", claims.ID, "decision", claims.Binding.Decision,
		"namespace", claims.Binding.Namespace, "proposal", claims.Binding.Proposal)
	decided, err := p.post(ctx, claims, asked, false)
	if err == nil {
		logger.Info("Decided on the approval page", "approval", decided.Status.ApprovalName)
		return &Decided{Namespace: claims.Binding.Namespace, Approval: decided.Status.ApprovalName}, nil
	}
	logger.Info("Refused on the approval page", "reason", err.Error())
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && status.Status().Code/100 == 4 {
		return nil, err
	}
	return nil, unavailable(ctx, err)
}

// claims are those of a token that may be asked about now. Without a token that
// verifies, nothing is told of the cluster, and nothing asked of it.
func (p *page) claims(asked *request) (*token.Claims, error) {
	claims, err := p.Verifier.VerifyAt(asked.Token, p.Clock.Now())
	if err != nil {
		return nil, refused(fmt.Errorf("reading the token: %w: ask for another link", err))
	}
	if wait := p.limit.Take(claims.ID); wait > 0 {
		return nil, apierrors.NewTooManyRequests(fmt.Sprintf("this link was used %d times within an hour: try again in %s", askedPerHour, wait.Round(time.Second)), int(wait.Seconds())+1)
	}
	if claims.Binding.ActionKind == v1alpha1.ActionRunbook {
		return nil, refused(errors.New("a runbook is decided on by those who have read it, with kubectl create approval"))
	}
	return claims, nil
}

// standing is the proposal that a token was minted for, as it is now.
func (p *page) standing(binding *token.Binding) (*v1alpha1.Proposal, error) {
	proposal, exists, err := p.Proposals.Get(binding.Namespace, binding.Proposal)
	switch {
	case err != nil:
		return nil, apierrors.NewServiceUnavailable(err.Error())
	case !exists || proposal.UID != binding.ProposalUID:
		return nil, apierrors.NewNotFound(v1alpha1.Resource("proposals"), binding.Proposal)
	case proposal.Spec.Digest != binding.Digest:
		return nil, apierrors.NewConflict(v1alpha1.Resource("proposals"), binding.Proposal,
			fmt.Errorf("it has changed since the link was made: it says digest %s, and the proposal has %s; look at it again, and make another link", binding.Digest, proposal.Spec.Digest))
	}
	return proposal, nil
}

// post posts what a token decides in the name of its owner.
func (p *page) post(ctx context.Context, claims *token.Claims, asked *request, dryRun bool) (*v1alpha1.ProposalApproval, error) {
	binding := &claims.Binding
	owner := &user.DefaultInfo{Name: claims.Subject, Groups: binding.Groups, Extra: map[string][]string{Extra: {"true"}}}
	return p.Decider.Decide(ctx, owner, binding.Namespace, binding.Proposal, v1alpha1.ProposalApprovalSpec{
		Decision: binding.Decision, Digest: binding.Digest, Token: asked.Token, Reason: asked.Reason,
	}, dryRun)
}

func refused(why error) error {
	return apierrors.NewForbidden(v1alpha1.Resource("proposals/approve"), "", why)
}

// unavailable tells whoever has a link, and perhaps nothing else, no more than that
// something fails: an error may name what only API servers are to know.
func unavailable(ctx context.Context, err error) error {
	klog.FromContext(ctx).Error(err, "The approval page could not ask for a decision")
	return apierrors.NewServiceUnavailable("whether this can be decided cannot be told just now, and it may have been decided: look with kubectl get approvals, and try again")
}
