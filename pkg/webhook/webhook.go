// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package webhook is the admission handler over package policy. It judges a
// decision twice: at proposals/approve, where the caller is known, and as the
// Approval that is about to be stored, whoever applies it. What it lets through
// to be stored is in the audit chain before it answers.
//
// It does not know the layers, and reads nothing itself but the standing
// proposal. Whatever goes wrong in it is a denial.
package webhook

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/utils/clock"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/pkg/tracing"
)

const (
	// ProposalsApprovePath serves decisions made at proposals/approve.
	ProposalsApprovePath = "/validate-proposals-approve"
	// ApprovalsPath serves Approvals that are about to be stored.
	ApprovalsPath = "/validate-approvals"

	// decisionTimeout is shorter than timeoutSeconds of the webhook
	// configuration (10), so that a refusal can still tell why.
	decisionTimeout = 8 * time.Second
)

// Proposals are the standing proposals of the live view.
type Proposals interface {
	// Get returns a proposal and whether there is one, or an error if the view
	// cannot tell.
	Get(namespace, name string) (*v1alpha1.Proposal, bool, error)
}

// Gatherer gathers the facts for one decision.
type Gatherer interface {
	Gather(ctx context.Context, request evidence.Request) policy.Input
	// Decisions returns those that a token was used for, oldest first.
	Decisions(ctx context.Context, jti string) ([]opsv1alpha1.AuditEvent, error)
	// Denial returns the first no to the proposal's digest, or nil.
	Denial(ctx context.Context, proposal *policy.Proposal) (*opsv1alpha1.AuditEvent, error)
}

// Appender appends to the audit chain.
type Appender interface {
	Append(ctx context.Context, entry audit.Entry) (*opsv1alpha1.AuditEvent, error)
}

// Options are what the handlers need. All are required but PathSecret and Tracer.
type Options struct {
	Gatherer  Gatherer
	Chain     Appender
	Proposals Proposals
	// Verifier tells whether a token counts at all, before anything is read for it.
	Verifier *token.Verifier
	// Clock tells whether a token is in time, and bounds how often things are done.
	Clock clock.PassiveClock
	// Scheme has srenix.io/v1alpha1 and ops.srenix.io/v1alpha1.
	Scheme *runtime.Scheme
	// PathSecret is the first element of every path that is served, known to who is
	// told where the webhooks are: the API servers. Without it the paths are bare.
	PathSecret string
	// Server is the user in whose name this server stores Approvals. What it says of
	// where a decision came from is believed, and nobody else.
	Server string
	// Tracer traces the admission of Approvals; nil traces none.
	Tracer *tracing.Tracer
}

// PageManager is the field manager of Approvals that were decided on by a link.
const PageManager = "srenix-approval-page"

// Handlers are the two admission handlers.
type Handlers struct {
	gatherer  Gatherer
	chain     Appender
	proposals Proposals
	verifier  *token.Verifier
	clock     clock.PassiveClock
	limits    limits
	metrics   metrics
	strict    runtime.Decoder
	secret    string
	server    string
	tracer    *tracing.Tracer
}

// New returns the handlers.
func New(options Options) *Handlers {
	return &Handlers{
		gatherer: options.Gatherer, chain: options.Chain, proposals: options.Proposals,
		verifier: options.Verifier, clock: options.Clock, limits: newLimits(options.Clock), metrics: newMetrics(), secret: options.PathSecret, server: options.Server, tracer: options.Tracer,
		strict: serializer.NewCodecFactory(options.Scheme, serializer.EnableStrict).UniversalDeserializer(),
	}
}

// Register serves both handlers.
func (h *Handlers) Register(server ctrlwebhook.Server) {
	hooks := map[string]http.Handler{
		ProposalsApprovePath: h.hook(h.proposalApproval),
		ApprovalsPath:        h.hook(h.approval),
	}
	if h.secret != "" {
		// One handler for all paths, because the server logs those that it is given.
		server.Register("/", behind(h.secret, hooks))
		return
	}
	for path, hook := range hooks {
		server.Register(path, hook)
	}
}

// Paths are the bare paths of the handlers by the names that their webhooks have
// in artifacts/.
func Paths() map[string]string {
	return map[string]string{"proposals-approve.srenix.io": ProposalsApprovePath, "approvals.ops.srenix.io": ApprovalsPath}
}

// SecretPath is where a handler is found behind a secret.
func SecretPath(secret, path string) string { return "/" + secret + path }

// behind serves the hooks to who knows the secret. Everybody else gets a 404 whose
// time says nothing, and whose body is not read.
func behind(secret string, hooks map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for path, hook := range hooks {
			if subtle.ConstantTimeCompare([]byte(r.URL.Path), []byte(SecretPath(secret, path))) == 1 {
				hook.ServeHTTP(w, r)
				return
			}
		}
		http.NotFound(w, r)
	})
}

func (h *Handlers) hook(handle admission.HandlerFunc) *admission.Webhook {
	return (&admission.Webhook{Handler: guard(handle)}).WithRecoverPanic(true)
}

// guard bounds the time of a handler and turns its panic into a denial.
func guard(handle admission.HandlerFunc) admission.HandlerFunc {
	return func(ctx context.Context, request admission.Request) (response admission.Response) {
		defer func() {
			if cause := recover(); cause != nil {
				logf.FromContext(ctx).Error(fmt.Errorf("%v", cause), "Refused, because judging the request panicked")
				response = refused(http.StatusInternalServerError, "judging the request failed: report this to whoever runs srenix")
			}
		}()
		ctx, cancel := context.WithTimeout(ctx, decisionTimeout)
		defer cancel()
		return handle(ctx, request)
	}
}

// decode reads the object of a request. An unknown or repeated field, and any
// other kind or none, is an error.
func decode[T runtime.Object](strict runtime.Decoder, request admission.Request) (T, error) {
	var none T
	// Nothing to decode into is given, so that the object has to say what it is.
	object, _, err := strict.Decode(request.Object.Raw, nil, nil)
	if runtime.IsStrictDecodingError(err) {
		return none, fmt.Errorf("decoding the object: %w", err)
	}
	if err != nil {
		// Not wrapped: such an error may quote the body, which holds a token.
		return none, fmt.Errorf("decoding the object: it is not a readable %T", none)
	}
	typed, ok := object.(T)
	if !ok {
		return none, fmt.Errorf("decoding the object: want a %T, have a %T", none, object)
	}
	return typed, nil
}
