// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/approvalpage"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/pkg/registry/proposal"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/pkg/webhook"
)

// minter signs tokens, and records each in the audit chain before it is given out but
// those for dry runs, with which nobody can decide.
type minter struct {
	signer  *token.Signer
	chain   *audit.Chain
	longest time.Duration
	access  evidence.AccessReviewer
	limit   *audit.Limiter
}

// tokensPerHour is how many tokens one person gets from one replica within an
// hour: far more than they may approve, and few enough for the audit chain.
const tokensPerHour = 100

var _ proposal.Minter = minter{}

// Mint implements proposal.Minter.
func (m minter) Mint(ctx context.Context, caller user.Info, p *v1alpha1.Proposal, wanted proposal.Wanted) (proposal.Minted, error) {
	if wanted.Lifetime > m.longest {
		return proposal.Minted{}, apierrors.NewBadRequest(fmt.Sprintf("a token of %s was asked for, and the configuration allows %s: ask for less with spec.expirationSeconds", wanted.Lifetime, m.longest))
	}
	if err := m.restricted(ctx, caller, p, wanted.Decision); err != nil {
		return proposal.Minted{}, err
	}
	if wait := m.limit.Take(audit.Source(caller.GetName())); wait > 0 {
		return proposal.Minted{}, apierrors.NewTooManyRequests(
			fmt.Sprintf("%s was given %d tokens within an hour, and that is the most: try again in %s", audit.Source(caller.GetName()), tokensPerHour, wait.Round(time.Second)),
			int(wait.Seconds())+1)
	}
	binding := token.Binding{
		Namespace: p.Namespace, Proposal: p.Name, ProposalUID: p.UID, Digest: p.Spec.Digest, Decision: wanted.Decision, ReasonDigest: token.ReasonDigest(wanted.Reason),
		Tier: p.Spec.Tier, ActionKind: p.Spec.ActionKind, TargetUID: p.Spec.Target.UID,
		DiagnosticClass: p.Spec.DiagnosticClass, Groups: caller.GetGroups(),
	}
	if p.Spec.Plan != nil {
		binding.PlanDigest = p.Spec.Plan.Digest
	}
	signer := m.signer
	if wanted.DryRun {
		signer = signer.ForDryRun()
	}
	signed, claims, err := signer.Mint(caller.GetName(), binding, wanted.Lifetime)
	if err != nil {
		return proposal.Minted{}, apierrors.NewForbidden(srenix.Resource("proposals/token"), p.Name, fmt.Errorf("minting a token: %w", err))
	}
	minted := proposal.Minted{Token: signed, Expires: claims.ExpiresAt.Time, ApprovalName: token.ApprovalName(claims.ID)}
	if wanted.DryRun {
		return minted, nil
	}
	target := p.Spec.Target
	if _, err := m.chain.Append(ctx, audit.Entry{
		Actor: caller.GetName(), Type: opsv1alpha1.AuditTokenMinted,
		References: opsv1alpha1.AuditReferences{
			Namespace: p.Namespace, Proposal: p.Name, ProposalUID: p.UID, Digest: p.Spec.Digest,
			Approver: caller.GetName(), JTI: claims.ID, DiagnosticClass: p.Spec.DiagnosticClass,
			ActionKind: p.Spec.ActionKind, Target: &target, Plan: p.Spec.Plan.Of(),
		},
		Message: fmt.Sprintf("token minted, valid until %s", claims.ExpiresAt.UTC().Format(time.RFC3339)),
	}); err != nil {
		return proposal.Minted{}, apierrors.NewInternalError(fmt.Errorf("no token, because minting it could not be audited: %w", err))
	}
	return minted, nil
}

// restricted refuses a token to a caller whose identity carries more than name
// and groups, if with all of that they may not decide so, or not do the action. A token keeps only
// name and groups, and must not be worth more than what it was minted with.
func (m minter) restricted(ctx context.Context, caller user.Info, p *v1alpha1.Proposal, decision v1alpha1.Decision) error {
	extra, unusual := map[string]authorizationv1.ExtraValue{}, false
	for key, values := range caller.GetExtra() {
		extra[key] = values
		// What Kubernetes itself adds tells which credential it was, and restricts nothing.
		unusual = unusual || !strings.HasPrefix(key, "authentication.kubernetes.io/")
	}
	if !unusual {
		return nil
	}
	needed := []authorizationv1.ResourceAttributes{policy.DecidePermission(p.Namespace, p.Name)}
	if decision == v1alpha1.DecisionApprove {
		needed = append(needed, policy.ApprovePermission(p.Spec.ActionKind, p.Namespace))
		if byHand, takes := policy.RequiredPermission(p.Spec.ActionKind, p.Spec.Target); takes {
			needed = append(needed, byHand)
		}
	}
	for i := range needed {
		permission := &needed[i]
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: caller.GetName(), UID: caller.GetUID(), Groups: caller.GetGroups(), Extra: extra, ResourceAttributes: permission,
		}}
		if err := m.access.Create(ctx, review); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("no token, because what its owner may do cannot be told: %w", err))
		}
		if !review.Status.Allowed || review.Status.Denied {
			return apierrors.NewForbidden(srenix.Resource("proposals/token"), p.Name,
				fmt.Errorf("%s, as authenticated now, may not %s %s %s in namespace %s, which deciding on this takes",
					caller.GetName(), permission.Verb, path.Join(permission.Resource, permission.Subresource), permission.Name, permission.Namespace))
		}
	}
	return nil
}

// recorder stores approvals in the server's own name.
type recorder struct {
	client   client.Client
	verifier *token.Verifier
}

var _ proposal.Recorder = recorder{}

// Record implements proposal.Recorder.
func (r recorder) Record(ctx context.Context, approval *opsv1alpha1.Approval, dryRun bool) (*opsv1alpha1.Approval, error) {
	verifier := r.verifier
	if dryRun {
		verifier = verifier.ForDryRun()
	}
	claims, err := verifier.Verify(approval.Spec.Token)
	if err != nil {
		return nil, apierrors.NewForbidden(srenix.Resource("proposals/approve"), approval.Spec.Proposal.Name, fmt.Errorf("reading the token: %w", err))
	}
	// The webhook says this too; its configuration can be deleted, this cannot.
	caller, ok := genericapirequest.UserFrom(ctx)
	if !ok || caller.GetName() != claims.Subject {
		return nil, apierrors.NewForbidden(srenix.Resource("proposals/approve"), approval.Spec.Proposal.Name, errors.New("the token was minted for somebody else: everybody approves with a token of their own"))
	}
	approval.Name = token.ApprovalName(claims.ID)
	var options []client.CreateOption
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	if _, ok := caller.GetExtra()[approvalpage.Extra]; ok {
		// The webhook writes down that it was a link.
		options = append(options, client.FieldOwner(webhook.PageManager))
	}
	err = r.client.Create(ctx, approval, options...)
	if apierrors.IsAlreadyExists(err) {
		return nil, apierrors.NewConflict(srenix.Resource("proposals/approve"), approval.Spec.Proposal.Name,
			fmt.Errorf("the token was used already, by Approval %s: mint another one", approval.Name))
	}
	return approval, err
}

// standing gives the webhook the proposals as the live view has them.
type standing struct{ engine *live.Engine }

// Get returns a proposal, whether it exists, and an error if the view cannot tell yet.
func (s standing) Get(namespace, name string) (*v1alpha1.Proposal, bool, error) {
	if !s.engine.Synced() {
		return nil, false, fmt.Errorf("the live view is not complete yet: try again in a few seconds")
	}
	found, exists := live.Get(s.engine, proposals.Proposals, live.Key{Namespace: namespace, Name: name})
	return found, exists, nil
}

// runbooks are those of the live view.
type runbooks struct{ engine *live.Engine }

var _ proposal.Runbooks = runbooks{}

// Runbook implements proposal.Runbooks.
func (r runbooks) Runbook(p *v1alpha1.Proposal) (*v1alpha1.ProposalRunbook, bool) {
	return proposals.RunbookOf(r.engine, p)
}
