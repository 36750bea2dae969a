// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/pkg/registry/proposal"
	"github.com/srenix/srenix/pkg/token"
)

// minter signs tokens and records each in the audit chain before it is given out.
type minter struct {
	signer  *token.Signer
	chain   *audit.Chain
	longest time.Duration
}

var _ proposal.Minter = minter{}

// Mint implements proposal.Minter.
func (m minter) Mint(ctx context.Context, caller user.Info, p *v1alpha1.Proposal, decision v1alpha1.Decision, lifetime time.Duration) (proposal.Minted, error) {
	if lifetime > m.longest {
		return proposal.Minted{}, apierrors.NewBadRequest(fmt.Sprintf("a token of %s was asked for, and the configuration allows %s: ask for less with spec.expirationSeconds", lifetime, m.longest))
	}
	binding := token.Binding{
		Namespace: p.Namespace, Proposal: p.Name, ProposalUID: p.UID, Digest: p.Spec.Digest, Decision: decision,
		Tier: p.Spec.Tier, ActionKind: p.Spec.ActionKind, TargetUID: p.Spec.Target.UID,
		DiagnosticClass: p.Spec.DiagnosticClass, Groups: caller.GetGroups(),
	}
	if p.Spec.Plan != nil {
		binding.PlanDigest = p.Spec.Plan.Digest
	}
	signed, claims, err := m.signer.Mint(caller.GetName(), binding, lifetime)
	if err != nil {
		return proposal.Minted{}, apierrors.NewForbidden(srenix.Resource("proposals/token"), p.Name, fmt.Errorf("minting a token: %w", err))
	}
	target := p.Spec.Target
	if _, err := m.chain.Append(ctx, audit.Entry{
		Actor: caller.GetName(), Type: opsv1alpha1.AuditTokenMinted,
		References: opsv1alpha1.AuditReferences{
			Namespace: p.Namespace, Proposal: p.Name, ProposalUID: p.UID, Digest: p.Spec.Digest,
			Approver: caller.GetName(), JTI: claims.ID, DiagnosticClass: p.Spec.DiagnosticClass,
			ActionKind: p.Spec.ActionKind, Target: &target,
		},
		Message: fmt.Sprintf("token minted, valid until %s", claims.ExpiresAt.UTC().Format(time.RFC3339)),
	}); err != nil {
		return proposal.Minted{}, apierrors.NewInternalError(fmt.Errorf("no token, because minting it could not be audited: %w", err))
	}
	return proposal.Minted{Token: signed, Expires: claims.ExpiresAt.Time, ApprovalName: token.ApprovalName(claims.ID)}, nil
}

// recorder stores approvals in the server's own name.
type recorder struct {
	client   client.Client
	verifier *token.Verifier
}

var _ proposal.Recorder = recorder{}

// Record implements proposal.Recorder.
func (r recorder) Record(ctx context.Context, approval *opsv1alpha1.Approval, dryRun bool) (*opsv1alpha1.Approval, error) {
	claims, err := r.verifier.Verify(approval.Spec.Token)
	if err != nil {
		return nil, apierrors.NewForbidden(srenix.Resource("proposals/approve"), approval.Spec.Proposal.Name, fmt.Errorf("reading the token: %w", err))
	}
	// The webhook says this too; its configuration can be deleted, this cannot.
	if caller, ok := genericapirequest.UserFrom(ctx); !ok || caller.GetName() != claims.Subject {
		return nil, apierrors.NewForbidden(srenix.Resource("proposals/approve"), approval.Spec.Proposal.Name, errors.New("the token was minted for somebody else: everybody approves with a token of their own"))
	}
	approval.Name = token.ApprovalName(claims.ID)
	var options []client.CreateOption
	if dryRun {
		options = append(options, client.DryRunAll)
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
