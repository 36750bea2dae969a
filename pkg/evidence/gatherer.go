// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package evidence gathers the facts that package policy decides on: it reads
// the target, its controllers and namespace, the audit chain and stored
// decisions, and asks the cluster what the approver may do. Everything is read
// from kube-apiserver itself, never from a cache.
//
// It decides nothing. A fact that cannot be had is handed on as unknown, for
// each layer that needs it, and never left out.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// AccessReviewer creates SubjectAccessReviews. A client.Client is one.
type AccessReviewer interface {
	Create(ctx context.Context, review client.Object, options ...client.CreateOption) error
}

// Options are what a Gatherer needs. All are required but Concurrent.
type Options struct {
	// Reader asks kube-apiserver, and has the types of core and ops.srenix.io in
	// its scheme.
	Reader       client.Reader
	Access       AccessReviewer
	Chain        *audit.Chain
	Verifier     *token.Verifier
	Config       *config.PolicyConfiguration
	OwnNamespace string
	Clock        clock.PassiveClock
	// Concurrent reads facts that do not depend on each other at the same time: a
	// person waits for admission. The executor, for which nobody waits, reads them
	// one after the other.
	Concurrent bool
}

// Gatherer gathers facts. It is safe for concurrent use.
type Gatherer struct{ options Options }

// New returns a Gatherer.
func New(options Options) *Gatherer { return &Gatherer{options: options} }

// Request is what a decision is about.
type Request struct {
	Stage policy.Stage
	// Now is the time as of which it is judged; the zero value is the clock's.
	Now      time.Time
	Decision v1alpha1.Decision
	// Reason is what the approval gives; it may be empty.
	Reason   string
	Proposal policy.Proposal
	// CurrentDigest of the proposal as it stands; empty if it is gone.
	CurrentDigest string
	Token         string
	// ApprovalName is the name of the Approval. Where none exists yet
	// (proposals/approve) it is empty, and the one that the token calls for is used.
	ApprovalName string
	// ApprovalUID is that of the stored Approval, at execution: the acceptance that
	// counts is the one of this very object.
	ApprovalUID types.UID
	// Caller is the authenticated user, where it is the approver who calls.
	Caller string
	// DryRun is the whole target after a dry run, where the action patches.
	DryRun *unstructured.Unstructured
	// Rehearsed is true for a decision that is to be stored nowhere: a token for dry
	// runs proves it.
	Rehearsed bool
}

// ProposalOf is the proposal that a stored approval decided on. It fails where
// the approval contradicts itself.
func ProposalOf(approval *opsv1alpha1.Approval) (policy.Proposal, error) {
	named := approval.Spec.Proposal
	if named.Digest != approval.Spec.Snapshot.Digest {
		return policy.Proposal{}, fmt.Errorf("the approval contradicts itself: spec.proposal.digest is %s and spec.snapshot.digest is %s", named.Digest, approval.Spec.Snapshot.Digest)
	}
	return policy.Proposal{Namespace: approval.Namespace, Name: named.Name, UID: named.UID, Spec: approval.Spec.Snapshot}, nil
}

func (g *Gatherer) begin(request Request) *gathering {
	if request.Now.IsZero() {
		request.Now = g.options.Clock.Now()
	}
	options := g.options
	if request.Rehearsed {
		options.Verifier = options.Verifier.ForDryRun()
	}
	return &gathering{Options: options, approvalUID: request.ApprovalUID, in: policy.Input{
		Stage: request.Stage, Now: request.Now, Config: g.options.Config, OwnNamespace: g.options.OwnNamespace,
		Decision: request.Decision, Reason: request.Reason, Proposal: request.Proposal, CurrentDigest: request.CurrentDigest,
		Token: request.Token, Verifier: options.Verifier, ApprovalName: request.ApprovalName, Caller: request.Caller,
		DryRun: request.DryRun, Unknown: map[policy.Layer]error{},
	}}
}

// Gather returns the input of policy.Evaluate. It ends when ctx does, and what
// was not read by then is unknown.
func (g *Gatherer) Gather(ctx context.Context, request Request) policy.Input {
	facts := g.begin(request)
	var readings []reading
	// A person's denial is judged by its token and the chain alone, and must not
	// fail because a target cannot be read.
	if request.Stage == policy.StageStanding || request.Decision != v1alpha1.DecisionDeny {
		readings = append(readings,
			reading{facts.readTarget, []policy.Layer{policy.TargetScope, policy.GitOpsManaged}},
			reading{facts.readNamespace, []policy.Layer{policy.NamespaceProtection}})
	}
	readings = append(readings, reading{facts.checkHead, []policy.Layer{policy.HashChainedAudit}})
	if request.Stage == policy.StageStanding {
		readings = append(readings, facts.decisionsBeside(""), facts.stepsBefore())
	} else {
		readings = append(readings, facts.aboutToken()...)
	}
	facts.all(ctx, readings)
	return facts.in
}

// Decisions returns the decisions that the token with this ID was used for, as
// the chain has them now, oldest first.
func (g *Gatherer) Decisions(ctx context.Context, jti string) ([]opsv1alpha1.AuditEvent, error) {
	return audit.AcceptedByJTI(ctx, g.options.Reader, jti)
}

// Denial returns the first no to the proposal's digest that the chain has, or nil.
func (g *Gatherer) Denial(ctx context.Context, proposal *policy.Proposal) (*opsv1alpha1.AuditEvent, error) {
	events, err := audit.AboutDigest(ctx, g.options.Reader, proposal.UID, proposal.Spec.Digest)
	if err != nil {
		return nil, err
	}
	for i := range events {
		if events[i].Spec.Type == opsv1alpha1.AuditDenialRecorded {
			return &events[i], nil
		}
	}
	return nil, nil
}

// gathering is one input on its way. Each reading writes fields of its own, and
// what is unknown by way of unknown.
type gathering struct {
	Options
	in          policy.Input
	approvalUID types.UID
	mu          sync.Mutex // guards in.Unknown
}

// reading gathers some facts, for these layers.
type reading struct {
	read   func(ctx context.Context)
	layers []policy.Layer
}

// all does all readings. One that panics leaves its layers without a fact.
func (g *gathering) all(ctx context.Context, readings []reading) {
	guarded := func(r reading) {
		defer func() {
			if p := recover(); p != nil {
				g.unknown(fmt.Errorf("gathering facts panicked: %v", p), r.layers...)
			}
		}()
		r.read(ctx)
	}
	var reading sync.WaitGroup
	for _, r := range readings {
		if g.Concurrent {
			reading.Go(func() { guarded(r) })
		} else {
			guarded(r)
		}
	}
	reading.Wait()
}

func (g *gathering) checkHead(ctx context.Context) {
	if err := g.Chain.CheckHead(ctx); err != nil {
		g.unknown(err, policy.HashChainedAudit)
		return
	}
	g.in.ChainVerified = true
}

// unknown records that a fact could not be had, for each layer that needs it.
func (g *gathering) unknown(err error, layers ...policy.Layer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, layer := range layers {
		g.in.Unknown[layer] = errors.Join(g.in.Unknown[layer], err)
	}
}

// aboutToken are the readings that depend on who approves.
func (g *gathering) aboutToken() []reading {
	claims, err := g.verify()
	if err != nil {
		// The verifier is asked again by the policy, and may have learnt of a key
		// by then; what was not read because of this must stay unknown.
		g.unknown(fmt.Errorf("who approves is not known: %w", err), policy.DualApproval, policy.RateBudget, policy.Access)
		return nil
	}
	if g.in.ApprovalName == "" {
		g.in.ApprovalName = token.ApprovalName(claims.ID)
	}
	access := reading{func(ctx context.Context) { g.reviewAccess(ctx, claims) }, []policy.Layer{policy.Access}}
	if g.in.Decision == v1alpha1.DecisionDeny {
		use := reading{func(ctx context.Context) { g.readUse(ctx, claims) }, []policy.Layer{policy.SignedToken, policy.HashChainedAudit}}
		if g.in.Stage == policy.StageExecution {
			return []reading{use}
		}
		return []reading{use, access}
	}
	return []reading{
		{
			// The budget at execution is that of the acceptance.
			func(ctx context.Context) { g.readBudget(ctx, claims, g.readUse(ctx, claims)) },
			[]policy.Layer{policy.SignedToken, policy.HashChainedAudit, policy.RateBudget},
		},
		g.decisionsBeside(claims.ID),
		g.stepsBefore(),
		access,
	}
}

// decisionsBeside reads the decisions of other tokens than the one with this ID.
func (g *gathering) decisionsBeside(own string) reading {
	return reading{func(ctx context.Context) { g.readDecisions(ctx, own) }, []policy.Layer{policy.DualApproval}}
}

// stepsBefore reads how far the steps of the plan have come that are before the proposal.
func (g *gathering) stepsBefore() reading {
	return reading{g.readSteps, []policy.Layer{policy.DualApproval}}
}

func (g *gathering) verify() (*token.Claims, error) {
	if g.in.Token == "" {
		return nil, errors.New("there is no token")
	}
	return g.Verifier.VerifyAt(g.in.Token, g.in.Now)
}
