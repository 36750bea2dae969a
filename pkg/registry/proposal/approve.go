// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposal

import (
	"context"
	"fmt"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	maximumReasonLength = 1024
	maximumTokenLength  = 8192
)

// Recorder stores an accepted decision as an Approval of ops.srenix.io, in the
// server's own name; kube-apiserver calls the webhook for it once more.
type Recorder interface {
	// Record creates the approval. The name is chosen by the recorder from the token.
	Record(ctx context.Context, approval *opsv1alpha1.Approval, dryRun bool) (*opsv1alpha1.Approval, error)
}

// ApproveREST serves proposals/approve: POST decides on a proposal.
type ApproveREST struct {
	subresource
	recorder Recorder
}

var (
	_ rest.Storage      = &ApproveREST{}
	_ rest.NamedCreater = &ApproveREST{}
	_ rest.Scoper       = &ApproveREST{}
)

// NewApproveREST returns the storage of proposals/approve.
func NewApproveREST(proposals rest.Getter, recorder Recorder) *ApproveREST {
	return &ApproveREST{subresource: subresource{proposals}, recorder: recorder}
}

// New implements rest.Storage.
func (r *ApproveREST) New() runtime.Object { return &srenix.ProposalApproval{} }

// Destroy implements rest.Storage.
func (r *ApproveREST) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (r *ApproveREST) NamespaceScoped() bool { return true }

// Create implements rest.NamedCreater. Admission comes last, after the digest
// was checked and the snapshot put in, so that a webhook and a site's own
// policies judge exactly what will be stored.
func (r *ApproveREST) Create(ctx context.Context, name string, object runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	request, ok := object.(*srenix.ProposalApproval)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("want a ProposalApproval, have %T", object))
	}
	if err := checkName(request.Name, name); err != nil {
		return nil, err
	}
	if request.Spec.Decision == "" {
		request.Spec.Decision = srenix.DecisionApprove
	}
	if err := validateApproval(name, request); err != nil {
		return nil, err
	}
	proposal, _, err := r.current(ctx, name, request.Spec.Digest)
	if err != nil {
		return nil, err
	}
	snapshot := &srenix.ProposalSpec{}
	if err := v1alpha1.Convert_v1alpha1_ProposalSpec_To_srenix_ProposalSpec(&proposal.Spec, snapshot, nil); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("taking a snapshot of proposal %q: %w", name, err))
	}
	request.Name, request.Namespace = name, proposal.Namespace
	request.CreationTimestamp = metav1.Time{}
	request.Spec.ProposalUID = proposal.UID
	request.Spec.Snapshot = snapshot
	request.Status = srenix.ProposalApprovalStatus{}

	// Admission is mandatory here: without it nothing would have judged.
	if validate == nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("deciding on proposal %q: no admission is configured", name))
	}
	if err := validate(ctx, request.DeepCopyObject()); err != nil {
		return nil, err
	}
	stored, err := r.recorder.Record(ctx, &opsv1alpha1.Approval{
		ObjectMeta: metav1.ObjectMeta{Namespace: proposal.Namespace},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: v1alpha1.Decision(request.Spec.Decision),
			Proposal: opsv1alpha1.ProposalReference{Name: name, UID: proposal.UID, Digest: proposal.Spec.Digest},
			Snapshot: proposal.Spec,
			Token:    request.Spec.Token,
			Reason:   request.Spec.Reason,
		},
	}, isDryRun(options))
	if err != nil {
		return nil, err
	}
	request.Spec.Token = ""
	request.Status.ApprovalName = stored.Name
	return request, nil
}

func validateApproval(name string, request *srenix.ProposalApproval) error {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	switch request.Spec.Decision {
	case srenix.DecisionApprove, srenix.DecisionDeny:
	default:
		errs = append(errs, field.NotSupported(spec.Child("decision"), request.Spec.Decision, []srenix.Decision{srenix.DecisionApprove, srenix.DecisionDeny}))
	}
	if request.Spec.Digest == "" {
		errs = append(errs, field.Required(spec.Child("digest"), "name the digest of the proposal that you have seen"))
	}
	switch {
	case request.Spec.Token == "":
		errs = append(errs, field.Required(spec.Child("token"), "mint one by posting to the proposal's token subresource; kubectl create approval does both"))
	case len(request.Spec.Token) > maximumTokenLength:
		errs = append(errs, field.TooLong(spec.Child("token"), "", maximumTokenLength))
	}
	errs = append(errs, validateReason(spec.Child("reason"), request.Spec.Reason)...)
	if request.Spec.Snapshot != nil || request.Spec.ProposalUID != "" {
		errs = append(errs, field.Forbidden(spec, "snapshot and proposalUID are filled in by the server"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(srenix.SchemeGroupVersion.WithKind("ProposalApproval").GroupKind(), name, errs)
	}
	return nil
}

func validateReason(path *field.Path, reason string) field.ErrorList {
	if utf8.RuneCountInString(reason) > maximumReasonLength {
		return field.ErrorList{field.TooLong(path, "", maximumReasonLength)}
	}
	return nil
}
