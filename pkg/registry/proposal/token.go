// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposal

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	// defaultLifetime is that of a token used at once.
	defaultLifetime = 15 * time.Minute
	// minimumLifetime is the shortest that can be asked for.
	minimumLifetime = time.Minute
	// maximumLifetime is the longest, for approvals that travel through Git;
	// configuration may lower it.
	maximumLifetime = 24 * time.Hour
)

// Wanted is what a token is asked for.
type Wanted struct {
	Decision v1alpha1.Decision
	// Reason is the one that the approval is to give; it may be empty.
	Reason   string
	Lifetime time.Duration
	// DryRun is true of a token with which a decision can be tried, and none made.
	DryRun bool
}

// Minted is a signed token.
type Minted struct {
	Token        string
	Expires      time.Time
	ApprovalName string
}

// Minter signs a token for the caller and the proposal as it stands, and
// records that it did; a token for dry runs it only signs.
type Minter interface {
	Mint(ctx context.Context, caller user.Info, proposal *v1alpha1.Proposal, wanted Wanted) (Minted, error)
}

// TokenREST serves proposals/token: POST mints a token for the caller.
type TokenREST struct {
	subresource
	minter Minter
}

var (
	_ rest.Storage      = &TokenREST{}
	_ rest.NamedCreater = &TokenREST{}
	_ rest.Scoper       = &TokenREST{}
)

// NewTokenREST returns the storage of proposals/token.
func NewTokenREST(proposals rest.Getter, minter Minter) *TokenREST {
	return &TokenREST{subresource: subresource{proposals}, minter: minter}
}

// New implements rest.Storage.
func (r *TokenREST) New() runtime.Object { return &srenix.ProposalTokenRequest{} }

// Destroy implements rest.Storage.
func (r *TokenREST) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (r *TokenREST) NamespaceScoped() bool { return true }

// Create implements rest.NamedCreater. A dry run checks everything, stores nothing and
// answers with a token that is good for a dry run of proposals/approve and nothing else.
func (r *TokenREST) Create(ctx context.Context, name string, object runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	request, ok := object.(*srenix.ProposalTokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("want a ProposalTokenRequest, have %T", object))
	}
	if err := checkName(request.Name, name); err != nil {
		return nil, err
	}
	lifetime, err := validateTokenRequest(name, request)
	if err != nil {
		return nil, err
	}
	proposal, caller, err := r.current(ctx, name, request.Spec.Digest)
	if err != nil {
		return nil, err
	}
	request.Name, request.Namespace = name, proposal.Namespace
	request.CreationTimestamp = metav1.Time{}
	request.Status = srenix.TokenRequestStatus{}
	if validate != nil {
		if err := validate(ctx, request.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	minted, err := r.minter.Mint(ctx, caller, proposal, Wanted{
		Decision: v1alpha1.Decision(request.Spec.Decision), Reason: request.Spec.Reason, Lifetime: lifetime, DryRun: isDryRun(options),
	})
	if err != nil {
		return nil, err
	}
	request.Status = srenix.TokenRequestStatus{
		Token: minted.Token, ExpirationTimestamp: metav1.NewTime(minted.Expires), ApprovalName: minted.ApprovalName,
	}
	return request, nil
}

func validateTokenRequest(name string, request *srenix.ProposalTokenRequest) (time.Duration, error) {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	if request.Spec.Digest == "" {
		errs = append(errs, field.Required(spec.Child("digest"), "name the digest of the proposal that you have seen"))
	}
	switch request.Spec.Decision {
	case "":
		request.Spec.Decision = srenix.DecisionApprove
	case srenix.DecisionApprove, srenix.DecisionDeny:
	default:
		errs = append(errs, field.NotSupported(spec.Child("decision"), request.Spec.Decision, []srenix.Decision{srenix.DecisionApprove, srenix.DecisionDeny}))
	}
	errs = append(errs, validateReason(spec.Child("reason"), request.Spec.Reason)...)
	lifetime := defaultLifetime
	if seconds := request.Spec.ExpirationSeconds; seconds != nil {
		// Compared as seconds, because the product with time.Second may overflow.
		least, most := int64(minimumLifetime/time.Second), int64(maximumLifetime/time.Second)
		if *seconds < least || *seconds > most {
			errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), *seconds, fmt.Sprintf("must be between %d and %d", least, most)))
		} else {
			lifetime = time.Duration(*seconds) * time.Second
		}
	}
	if len(errs) > 0 {
		return 0, apierrors.NewInvalid(srenix.SchemeGroupVersion.WithKind("ProposalTokenRequest").GroupKind(), name, errs)
	}
	return lifetime, nil
}
