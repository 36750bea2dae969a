// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/pkg/tracing"
)

// dryRunAttempts bounds how often a target that changes between its dry run and
// its judgment is looked at again.
const dryRunAttempts = 3

// ruling is what was decided, and on what.
type ruling struct {
	policy.Decision
	// refusal is the API server's answer to the dry run, if it was no.
	refusal error
	// order is what may be done now; only of an action that is allowed.
	order  order
	claims *token.Claims
}

func (r *ruling) allows() bool {
	return r.Allowed && r.refusal == nil && r.order.object != nil
}

// message tells every reason of a refusal.
func (r *ruling) message() string {
	message := r.Message()
	if r.refusal == nil {
		return message
	}
	if message != "" {
		message += "; "
	}
	return message + "the API server refused the dry run: " + r.refusal.Error()
}

// currentDigest is the digest of the proposal as it stands, read from the
// aggregated API; empty if the proposal is gone.
func (r *reconciler) currentDigest(ctx context.Context, approval *opsv1alpha1.Approval) (string, error) {
	name := approval.Spec.Proposal.Name
	proposal := &srenix.Proposal{}
	stands, err := r.served(ctx, approval, name, proposal)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading proposal %s/%s again: %w", approval.Namespace, name, err)
	case !stands:
		return "", r.notYetSeen(ctx, approval)
	}
	return proposal.Spec.Digest, nil
}

// keysArrive is how long after an approval the keys must have been read for an
// unknown one to be none. They may be in memory from before its rotation, a replica
// may just be publishing them again, and clocks may differ.
const keysArrive = 15 * time.Second

// errTokenRefused wraps why a token does not count. Any other error of
// verifyToken means that this cannot be told now.
var errTokenRefused = errors.New("the token does not count")

// asOf is when a token has to be valid: now, and for a no when it was stored, by
// the API server's clock. A no holds, however late somebody sees it.
func (r *reconciler) asOf(approval *opsv1alpha1.Approval) time.Time {
	if approval.Spec.Decision == srenix.DecisionDeny {
		return approval.CreationTimestamp.Time
	}
	return r.clock.Now()
}

func (r *reconciler) verifyToken(approval *opsv1alpha1.Approval) (*token.Claims, error) {
	return r.verifyTokenAt(approval, r.asOf(approval))
}

func (r *reconciler) verifyTokenAt(approval *opsv1alpha1.Approval, at time.Time) (*token.Claims, error) {
	claims, err := r.verifier.VerifyAt(approval.Spec.Token, at)
	switch {
	case errors.Is(err, token.ErrUnknownKey) && r.keys.Err() != nil:
		return nil, fmt.Errorf("reading the keys that tokens are verified with: %w", r.keys.Err())
	case errors.Is(err, token.ErrUnknownKey) && r.keys.ReadAt().Before(approval.CreationTimestamp.Add(keysArrive)):
		return nil, fmt.Errorf("the token's key may be newer than the published keys, which were read at %s: %w", r.keys.ReadAt().UTC().Format(time.RFC3339), err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errTokenRefused, err)
	case claims.ID != jtiOf(approval):
		return nil, fmt.Errorf("%w: the name of the approval is that of another token", errTokenRefused)
	}
	return claims, nil
}

// judge evaluates the whole policy on fresh facts. An error means that a fact
// could not be had: nothing is done then, and nothing is decided either.
func (r *reconciler) judge(ctx context.Context, approval *opsv1alpha1.Approval, stage policy.Stage, digest string, dryRun *unstructured.Unstructured, intended bool) (policy.Input, policy.Decision, error) {
	proposal, err := evidence.ProposalOf(approval)
	if err != nil {
		// The approval contradicts itself; the policy refuses a proposal without a digest of its own.
		proposal = policy.Proposal{Namespace: approval.Namespace, Name: approval.Spec.Proposal.Name}
	}
	input := r.evidence.Gather(ctx, evidence.Request{
		Stage: stage, Now: r.asOf(approval), Decision: approval.Spec.Decision, Proposal: proposal, CurrentDigest: digest,
		Token: approval.Spec.Token, Reason: approval.Spec.Reason, ApprovalName: approval.Name, ApprovalUID: approval.UID, DryRun: dryRun,
	})
	for layer, err := range input.Unknown {
		return input, policy.Decision{}, fmt.Errorf("gathering what %s needs: %w", layer, err)
	}
	if used := input.TokenUsedBy; intended && used != nil && *used == approval.Name {
		// The intent that uses the token up is the one being carried out.
		input.TokenUsedBy = ptr.To("")
	}
	return input, r.evaluate(input), nil
}

// decide judges an approval right before acting: it asks the API server what the
// action would do, and the policy whether that may be done. Intended means that
// the intent was recorded by the caller.
func (r *reconciler) decide(ctx context.Context, approval *opsv1alpha1.Approval, claims *token.Claims, digest string, intended bool) (_ *ruling, err error) {
	ctx, span := r.span(ctx, approval, spanJudge)
	defer func() { tracing.End(span, err) }()
	snapshot := &approval.Spec.Snapshot
	act := r.actions[snapshot.ActionKind]
	for range dryRunAttempts {
		order := order{target: snapshot.Target, patch: snapshot.Patch, value: act.value(claims)}
		asked, refusal, err := r.tryOut(ctx, approval, act, &order)
		if err != nil {
			return nil, err
		}
		input, decision, err := r.judge(ctx, approval, policy.StageExecution, digest, asked, intended)
		if err != nil {
			return nil, err
		}
		judged, exists := input.Target.(client.Object)
		if exists && (order.object == nil || judged.GetResourceVersion() != order.object.GetResourceVersion()) {
			continue
		}
		return &ruling{Decision: decision, refusal: refusal, order: order, claims: claims}, nil
	}
	return nil, fmt.Errorf("judging Approval %s/%s: its target changed %d times meanwhile", approval.Namespace, approval.Name, dryRunAttempts)
}

// tryOut reads the target into the order and runs the action dry. A target that
// is gone, is another object or lies in another namespace is not touched: the
// policy refuses it.
func (r *reconciler) tryOut(ctx context.Context, approval *opsv1alpha1.Approval, act action, order *order) (asked *unstructured.Unstructured, refusal, err error) {
	if order.target.Namespace != approval.Namespace {
		return nil, nil, nil
	}
	object := act.newTarget()
	err = r.client.Get(ctx, client.ObjectKey{Namespace: order.target.Namespace, Name: order.target.Name}, object)
	if gone(err, order.target.Name) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s %s/%s: %w", order.target.Kind, order.target.Namespace, order.target.Name, err)
	}
	order.object = object
	if object.GetUID() != order.target.UID {
		return nil, nil, nil
	}
	result, err := act.do(ctx, r.client, *order, true)
	if err != nil {
		if refusedOutright(err) {
			return nil, err, nil
		}
		return nil, nil, fmt.Errorf("trying the action out: %w", err)
	}
	// A deletion has no answer, and an answer that is not whole is none.
	whole, _ := result.(*unstructured.Unstructured)
	return whole, nil, nil
}

// accept makes sure that the audit chain knows of the acceptance. An approval
// that went around the webhook is judged here as it would have been there.
func (r *reconciler) accept(ctx context.Context, approval *opsv1alpha1.Approval, past *history, digest string) (*policy.Decision, error) {
	if past.accepted(approval) != nil {
		return &policy.Decision{Allowed: true}, nil
	}
	kind := opsv1alpha1.AuditApprovalAccepted
	if approval.Spec.Decision == srenix.DecisionDeny {
		kind = opsv1alpha1.AuditDenialRecorded
	}
	_, decision, err := r.judge(ctx, approval, policy.StageApproval, digest, nil, false)
	if err != nil || !decision.Allowed {
		return &decision, err
	}
	message := "the approval had not passed the webhook; the executor evaluated the policy in its place"
	event, err := r.chain.Append(ctx, r.entry(approval, kind, message, verdictsOf(decision), decision.Claims.Subject))
	if err != nil {
		return nil, err
	}
	past.events = append(past.events, *event)
	return &decision, nil
}

func verdictsOf(decision policy.Decision) []srenix.Verdict {
	verdicts := decision.Verdicts[:len(decision.Verdicts):len(decision.Verdicts)]
	if decision.Access.Layer != "" {
		verdicts = append(verdicts, decision.Access)
	}
	return verdicts
}

// entry is an audit entry about an approval.
func (r *reconciler) entry(approval *opsv1alpha1.Approval, kind opsv1alpha1.AuditType, message string, verdicts []srenix.Verdict, approver string) audit.Entry {
	snapshot := &approval.Spec.Snapshot
	actor := approver
	if actor == "" {
		actor = component
	}
	return audit.Entry{
		Actor: actor, Type: kind, Message: message, Verdicts: verdicts,
		References: opsv1alpha1.AuditReferences{
			Namespace: approval.Namespace, Proposal: approval.Spec.Proposal.Name, ProposalUID: approval.Spec.Proposal.UID,
			Digest: approval.Spec.Proposal.Digest, Approval: approval.Name, ApprovalUID: approval.UID, Approver: approver, JTI: jtiOf(approval),
			DiagnosticClass: snapshot.DiagnosticClass, ActionKind: snapshot.ActionKind, Target: snapshot.Target.DeepCopy(),
			Plan: snapshot.Plan.Of(),
		},
	}
}
