// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposal

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// subresource is what token, approve and runbook have in common: each is about
// one proposal as it stands, for one person.
type subresource struct {
	proposals rest.Getter
}

// current returns the proposal as it stands and the caller, or 404 if it is
// gone, or 409 naming both digests if it is no longer what the caller saw.
func (s subresource) current(ctx context.Context, name, seenDigest string) (*v1alpha1.Proposal, user.Info, error) {
	proposal, caller, err := s.standing(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if seenDigest != proposal.Spec.Digest {
		return nil, nil, apierrors.NewConflict(srenix.Resource("proposals"), name, fmt.Errorf(
			"the proposal has changed: you saw digest %s, it is now %s; look again with: kubectl describe proposal.srenix.io %s -n %s",
			seenDigest, proposal.Spec.Digest, name, proposal.Namespace))
	}
	return proposal, caller, nil
}

// standing returns the proposal as it stands and the caller, or 404 if it is gone.
func (s subresource) standing(ctx context.Context, name string) (*v1alpha1.Proposal, user.Info, error) {
	caller, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, nil, apierrors.NewUnauthorized("the request carries no user")
	}
	object, err := s.proposals.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	internal, ok := object.(*srenix.Proposal)
	if !ok {
		return nil, nil, apierrors.NewInternalError(fmt.Errorf("reading proposal %q: have %T", name, object))
	}
	proposal := &v1alpha1.Proposal{}
	if err := v1alpha1.Convert_srenix_Proposal_To_v1alpha1_Proposal(internal, proposal, nil); err != nil {
		return nil, nil, apierrors.NewInternalError(fmt.Errorf("converting proposal %q: %w", name, err))
	}
	return proposal, caller, nil
}

func isDryRun(options *metav1.CreateOptions) bool {
	return options != nil && len(options.DryRun) > 0
}

// checkName refuses a body whose metadata.name is not the proposal in the URL.
func checkName(bodyName, name string) error {
	if bodyName != "" && bodyName != name {
		return apierrors.NewBadRequest(fmt.Sprintf("metadata.name is %q and the URL names proposal %q: they must be the same, or the first be left out", bodyName, name))
	}
	return nil
}
