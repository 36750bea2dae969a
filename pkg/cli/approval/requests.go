// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

// resource is the path segment of proposals.
const resource = "proposals"

// proposals sends requests about the proposals of one namespace. Its errors say
// what to do next.
type proposals struct {
	client *cli.Client
	// ops is for the approvals that are stored.
	ops       *cli.Client
	namespace string
}

func (p *proposals) get(ctx context.Context, name string) (*v1alpha1.Proposal, error) {
	proposal := &v1alpha1.Proposal{}
	err := p.client.Get().Namespace(p.namespace).Resource(resource).Name(name).Do(ctx).Into(proposal)
	if err != nil {
		return nil, p.explain(fmt.Errorf("reading proposal %q: %w", name, err), name)
	}
	return proposal, nil
}

func (p *proposals) list(ctx context.Context) (*v1alpha1.ProposalList, error) {
	list := &v1alpha1.ProposalList{}
	err := p.client.Get().Namespace(p.namespace).Resource(resource).Do(ctx).Into(list)
	if err != nil {
		return nil, fmt.Errorf("listing the proposals of namespace %q: %w", p.namespace, err)
	}
	return list, nil
}

// earlier returns the newest approvals of the same repair that the proposal itself does
// not tell all of. They are for information: without them it goes on.
func (p *proposals) earlier(ctx context.Context, proposal *v1alpha1.Proposal) []*opsv1alpha1.Approval {
	told := map[string]bool{}
	for _, summary := range proposal.Status.Approvals {
		told[summary.Name] = true
	}
	var same []*opsv1alpha1.Approval
	err := cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		list := &opsv1alpha1.ApprovalList{}
		err := p.ops.Get().Namespace(p.namespace).Resource("approvals").VersionedParams(&options, p.ops.Parameters).Do(ctx).Into(list)
		return list, err
	}, func(approval *opsv1alpha1.Approval) {
		// A proposal does not tell of verifications.
		verified := meta.FindStatusCondition(approval.Status.Conditions, opsv1alpha1.ConditionVerified)
		if cli.SameRepair(approval, &proposal.Spec) && (verified != nil || !told[approval.Name]) {
			same = append(same, approval)
		}
	})
	if err != nil {
		return nil
	}
	return cli.Newest(same)
}

// mint asks for a token that binds the caller to the digest and to their reason; one
// for a dry run is stored nowhere, and good for nothing else.
func (p *proposals) mint(ctx context.Context, name, digest string, decision v1alpha1.Decision, reason string, lifetime time.Duration, dryRun bool) (v1alpha1.TokenRequestStatus, error) {
	request := &v1alpha1.ProposalTokenRequest{Spec: v1alpha1.TokenRequestSpec{
		Digest: digest, Decision: decision, Reason: reason, ExpirationSeconds: ptr.To(int64(lifetime / time.Second)),
	}}
	answer := &v1alpha1.ProposalTokenRequest{}
	err := p.client.Post().Namespace(p.namespace).Resource(resource).Name(name).SubResource("token").
		VersionedParams(createOptions(dryRun), p.client.Parameters).Body(request).Do(ctx).Into(answer)
	if err != nil {
		return v1alpha1.TokenRequestStatus{}, p.explain(fmt.Errorf("minting a token for proposal %q: %w", name, err), name)
	}
	if answer.Status.Token == "" || answer.Status.ApprovalName == "" {
		return v1alpha1.TokenRequestStatus{}, fmt.Errorf("minting a token for proposal %q: %w", name, errors.New("the server answered without one"))
	}
	return answer.Status, nil
}

// approve posts a decision.
func (p *proposals) approve(ctx context.Context, name string, decision v1alpha1.ProposalApprovalSpec, dryRun bool) (*v1alpha1.ProposalApproval, error) {
	answer := &v1alpha1.ProposalApproval{}
	err := p.client.Post().Namespace(p.namespace).Resource(resource).Name(name).SubResource("approve").
		VersionedParams(createOptions(dryRun), p.client.Parameters).
		Body(&v1alpha1.ProposalApproval{Spec: decision}).Do(ctx).Into(answer)
	if err != nil {
		err = fmt.Errorf("deciding on proposal %q: %w", name, err)
		var status apierrors.APIStatus
		if !errors.As(err, &status) {
			// The answer was lost, and not necessarily the request.
			return nil, p.lookFirst(err)
		}
		return nil, p.explainDecision(err, name, dryRun)
	}
	if answer.Status.ApprovalName == "" {
		return nil, fmt.Errorf("deciding on proposal %q: %w", name, errors.New("the server answered without the name of an Approval: see kubectl get approvals -n "+p.namespace))
	}
	return answer, nil
}

// runbook reads the text that a proposal releases.
func (p *proposals) runbook(ctx context.Context, name string) (*v1alpha1.ProposalRunbook, error) {
	runbook := &v1alpha1.ProposalRunbook{}
	err := p.client.Get().Namespace(p.namespace).Resource(resource).Name(name).SubResource("runbook").Do(ctx).Into(runbook)
	if err != nil {
		return nil, p.explain(fmt.Errorf("reading the runbook of proposal %q: %w", name, err), name)
	}
	return runbook, nil
}

// createOptions are strict: a server that does not know a field of a decision
// must refuse it, and not decide without it.
func createOptions(dryRun bool) *metav1.CreateOptions {
	options := &metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return options
}
