// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposal

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
)

// Runbooks has the texts that proposals release.
type Runbooks interface {
	// Runbook returns the text, or false if there is none with the proposal's digest.
	Runbook(proposal *v1alpha1.Proposal) (*v1alpha1.ProposalRunbook, bool)
}

// RunbookREST serves proposals/runbook: GET reads the text of a runbook. Beside
// the right to get it, the reader needs that to approve runbooks, until enough
// people have: from then on it is for everybody who may get it.
type RunbookREST struct {
	subresource
	runbooks   Runbooks
	authorizer authorizer.UnconditionalAuthorizer
}

var (
	_ rest.Storage = &RunbookREST{}
	_ rest.Getter  = &RunbookREST{}
	_ rest.Scoper  = &RunbookREST{}
)

// NewRunbookREST returns the storage of proposals/runbook.
func NewRunbookREST(proposals rest.Getter, runbooks Runbooks, authorizer authorizer.UnconditionalAuthorizer) *RunbookREST {
	return &RunbookREST{subresource: subresource{proposals}, runbooks: runbooks, authorizer: authorizer}
}

// New implements rest.Storage.
func (r *RunbookREST) New() runtime.Object { return &srenix.ProposalRunbook{} }

// Destroy implements rest.Storage.
func (r *RunbookREST) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (r *RunbookREST) NamespaceScoped() bool { return true }

// Get implements rest.Getter.
func (r *RunbookREST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	proposal, caller, err := r.standing(ctx, name)
	if err != nil {
		return nil, err
	}
	found, exists := r.runbooks.Runbook(proposal)
	if !exists {
		return nil, apierrors.NewNotFound(srenix.Resource("proposals/runbook"), name)
	}
	if !found.Spec.Released {
		if err := r.mayApprove(ctx, caller, proposal); err != nil {
			return nil, err
		}
	}
	internal := &srenix.ProposalRunbook{}
	if err := v1alpha1.Convert_v1alpha1_ProposalRunbook_To_srenix_ProposalRunbook(found, internal, nil); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("converting the runbook of proposal %q: %w", name, err))
	}
	return internal, nil
}

func (r *RunbookREST) mayApprove(ctx context.Context, caller user.Info, proposal *v1alpha1.Proposal) error {
	permission := policy.ApprovePermission(v1alpha1.ActionRunbook, proposal.Namespace)
	decision, why, err := r.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: caller, Verb: permission.Verb, Namespace: permission.Namespace, APIGroup: permission.Group, APIVersion: permission.Version,
		Resource: permission.Resource, Name: permission.Name, ResourceRequest: true,
	})
	if err == nil && decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("asking whether %s may approve runbooks: %w", caller.GetName(), err))
	}
	if why != "" {
		why = ": " + why
	}
	return apierrors.NewForbidden(srenix.Resource("proposals/runbook"), proposal.Name, fmt.Errorf(
		"the runbook is not released yet, and until then it is for those who may %s %s.%s %s%s",
		permission.Verb, permission.Resource, permission.Group, permission.Name, why))
}
