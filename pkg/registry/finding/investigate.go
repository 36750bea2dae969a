// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Requester stores that somebody asks for a finding to be looked into. It refuses
// with an API error, as 429 where they have asked too often.
type Requester interface {
	// Request returns the name of the Investigation, and when the request was stored. A
	// finding without a namespace is a clusterfinding.
	// A dry run stores nothing and returns no time.
	Request(ctx context.Context, caller user.Info, finding *v1alpha1.Finding, dryRun bool) (investigation string, at metav1.Time, err error)
}

// InvestigateREST serves findings/investigate and clusterfindings/investigate: POST has
// a finding looked into.
type InvestigateREST struct {
	findings   rest.Getter
	namespaced bool
	requester  Requester
}

var (
	_ rest.Storage      = &InvestigateREST{}
	_ rest.NamedCreater = &InvestigateREST{}
	_ rest.Scoper       = &InvestigateREST{}
)

// NewInvestigateREST returns the storage of findings/investigate.
func NewInvestigateREST(findings rest.Getter, requester Requester) *InvestigateREST {
	return &InvestigateREST{findings: findings, namespaced: true, requester: requester}
}

// NewClusterInvestigateREST returns the storage of clusterfindings/investigate.
func NewClusterInvestigateREST(findings rest.Getter, requester Requester) *InvestigateREST {
	return &InvestigateREST{findings: findings, requester: requester}
}

// New implements rest.Storage.
func (r *InvestigateREST) New() runtime.Object { return &srenix.FindingInvestigation{} }

// Destroy implements rest.Storage.
func (r *InvestigateREST) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (r *InvestigateREST) NamespaceScoped() bool { return r.namespaced }

// Create implements rest.NamedCreater.
func (r *InvestigateREST) Create(ctx context.Context, name string, object runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	request, ok := object.(*srenix.FindingInvestigation)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("want a FindingInvestigation, have %T", object))
	}
	if request.Name != "" && request.Name != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.name is %q and the URL names finding %q: they must be the same, or the first be left out", request.Name, name))
	}
	caller, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewUnauthorized("the request carries no user")
	}
	found, err := r.findings.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if of, is := found.(*srenix.ClusterFinding); is { // which says the same of another subject
		found = &srenix.Finding{ObjectMeta: of.ObjectMeta, Spec: of.Spec, Status: of.Status}
	}
	internal, ok := found.(*srenix.Finding)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("reading finding %q: have %T", name, found))
	}
	finding := &v1alpha1.Finding{}
	if err := v1alpha1.Convert_srenix_Finding_To_v1alpha1_Finding(internal, finding, nil); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("converting finding %q: %w", name, err))
	}
	request.Name, request.Namespace = name, finding.Namespace
	request.CreationTimestamp = metav1.Time{}
	request.Status = srenix.FindingInvestigationStatus{}
	if validate != nil {
		if err := validate(ctx, request.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	dryRun := options != nil && len(options.DryRun) > 0
	investigation, at, err := r.requester.Request(ctx, caller, finding, dryRun)
	if err != nil {
		return nil, err
	}
	request.Status = srenix.FindingInvestigationStatus{Investigation: investigation, RequestedAt: at}
	return request, nil
}
