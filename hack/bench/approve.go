// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	approveRounds = 2
	// approvalsPerUser stays below the budget of 10 an hour.
	approvalsPerUser = 9
	approveReach     = 3.0
	approvers        = "bench-approvers"
)

var approvalResource = opsv1alpha1.SchemeGroupVersion.WithResource("approvals")

// measureApprove measures proposals/approve, from the POST to its answer, when
// the Approval is stored, against the creation of a custom resource of the same
// content through one validating webhook, in turn and as the same users.
func (b *bench) measureApprove(ctx context.Context, size int) error {
	if err := b.prepareApprovals(ctx); err != nil {
		return err
	}
	webhook, err := b.startWebhook(ctx)
	if err != nil {
		return err
	}
	defer webhook.close()
	share := b.cluster.troubles
	a := &approvals{bench: b, size: size}
	if err := a.measure(ctx); err != nil {
		return err
	}
	value, baseline := milliseconds(percentile(a.approved, 99)), milliseconds(percentile(a.created, 99))
	value50, baseline50 := milliseconds(median(a.approved)), milliseconds(median(a.created))
	b.report.add(result{
		Name: "approve, p99", Size: size, Value: value, Unit: "ms", Baseline: &baseline, Ratio: some(value / baseline),
		Reach: fmt.Sprintf("%.0fx", approveReach), Met: some(value <= approveReach*baseline),
		Note: fmt.Sprintf("%d of each, one after the other, through the aggregator; minting the token took %.1f ms at the median", len(a.approved), milliseconds(median(a.minted))),
	})
	b.report.add(result{Name: "approve, p50", Size: size, Value: value50, Unit: "ms", Baseline: &baseline50, Ratio: some(value50 / baseline50)})
	if b.options.events > 0 {
		if err := b.measureLongChain(ctx, a, value50); err != nil {
			return err
		}
	}
	if webhook.calls.Load() < int64(len(a.created)) {
		return fmt.Errorf("the webhook of the baseline was called %d times for %d custom resources", webhook.calls.Load(), len(a.created))
	}
	if err := b.deleteApprovals(ctx); err != nil {
		return err
	}
	return b.awaitFindings(ctx, share)
}

// measureLongChain measures the same with a long audit chain, against what it took
// with the one that the measurement itself has made.
func (b *bench) measureLongChain(ctx context.Context, a *approvals, short float64) error {
	if err := b.stopServer(); err != nil {
		return err
	}
	if err := b.growChain(ctx, int64(b.options.events)); err != nil {
		return err
	}
	if err := b.startServer(ctx); err != nil {
		return err
	}
	if err := b.awaitAggregated(ctx); err != nil {
		return err
	}
	a.approved, a.created = nil, nil
	if err := a.measure(ctx); err != nil {
		return err
	}
	value := milliseconds(median(a.approved))
	b.report.add(result{
		Name: fmt.Sprintf("approve, p50, %d audit events", b.options.events), Size: a.size, Value: value, Unit: "ms", Baseline: &short, Ratio: some(value / short),
		Note: fmt.Sprintf("p99 %.1f ms; the baseline is the row before", milliseconds(percentile(a.approved, 99))),
	})
	return nil
}

// approvals are the samples of both sides.
type approvals struct {
	bench *bench
	size  int
	users int

	approver *rest.Config
	// content is the spec of the first stored Approval, which the baseline stores too.
	content                   any
	minted, approved, created []time.Duration
}

// measure takes samples of both sides.
func (a *approvals) measure(ctx context.Context) error {
	b, count := a.bench, a.bench.constantTroubles()
	for range approveRounds {
		// A new episode of a trouble is a new digest, which can be approved anew.
		if err := b.awaitFindings(ctx, 0); err != nil {
			return err
		}
		if err := b.awaitFindings(ctx, count); err != nil {
			return err
		}
		open, err := b.awaitOpenProposals(ctx, count)
		if err != nil {
			return err
		}
		for _, proposal := range open {
			if err := a.approve(ctx, &proposal); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *approvals) approve(ctx context.Context, proposal *v1alpha1.Proposal) error {
	if len(a.approved)%approvalsPerUser == 0 {
		a.users++
		a.approver = rest.CopyConfig(a.bench.admin)
		a.approver.Impersonate = rest.ImpersonationConfig{UserName: fmt.Sprintf("approver-%d-%d", a.size, a.users), Groups: []string{approvers}}
	}
	client, err := findingsClient(a.approver)
	if err != nil {
		return err
	}
	post := func(subresource string, body, answer runtime.Object) (time.Duration, error) {
		began := time.Now()
		err := client.Post().Namespace(proposal.Namespace).Resource("proposals").Name(proposal.Name).SubResource(subresource).Body(body).Do(ctx).Into(answer)
		if err != nil {
			return 0, fmt.Errorf("posting to %s of proposal %s/%s: %w", subresource, proposal.Namespace, proposal.Name, err)
		}
		return time.Since(began), nil
	}
	mint := &v1alpha1.ProposalTokenRequest{}
	took, err := post("token", &v1alpha1.ProposalTokenRequest{Spec: v1alpha1.TokenRequestSpec{Digest: proposal.Spec.Digest}}, mint)
	if err != nil {
		return err
	}
	a.minted = append(a.minted, took)
	decision := &v1alpha1.ProposalApproval{}
	took, err = post("approve", &v1alpha1.ProposalApproval{Spec: v1alpha1.ProposalApprovalSpec{
		Decision: v1alpha1.DecisionApprove, Digest: proposal.Spec.Digest, Token: mint.Status.Token,
	}}, decision)
	if err != nil {
		return err
	}
	a.approved = append(a.approved, took)
	return a.create(ctx, proposal.Namespace, decision.Status.ApprovalName)
}

// create makes one sample of the baseline.
func (a *approvals) create(ctx context.Context, namespace, name string) error {
	if a.content == nil {
		admin, err := a.bench.dynamicClient()
		if err != nil {
			return err
		}
		stored, err := admin.Resource(approvalResource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("reading a stored Approval: %w", err)
		}
		a.content = stored.Object["spec"]
	}
	client, err := dynamic.NewForConfig(a.approver)
	if err != nil {
		return fmt.Errorf("making a dynamic client: %w", err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": benchGroup + "/v1", "kind": "Decision", "metadata": map[string]any{"name": name}, "spec": a.content,
	}}
	began := time.Now()
	if _, err := client.Resource(decisionResource).Namespace(namespace).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating a custom resource through a webhook: %w", err)
	}
	a.created = append(a.created, time.Since(began))
	return nil
}

// awaitOpenProposals waits until a number of proposals can be approved.
func (b *bench) awaitOpenProposals(ctx context.Context, count int) ([]v1alpha1.Proposal, error) {
	client, err := findingsClient(b.admin)
	if err != nil {
		return nil, err
	}
	var open []v1alpha1.Proposal
	err = wait.PollUntilContextTimeout(ctx, 10*pollInterval, readyDeadline, true, func(ctx context.Context) (bool, error) {
		var list v1alpha1.ProposalList
		if err := client.Get().Resource("proposals").Do(ctx).Into(&list); err != nil {
			return false, err
		}
		open = nil
		for _, proposal := range list.Items {
			if proposal.Status.Phase == v1alpha1.ProposalOpen {
				open = append(open, proposal)
			}
		}
		return len(open) == count, nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for %d open proposals, have %d: %w", count, len(open), err)
	}
	return open, nil
}

// prepareApprovals gives the approvers their rights.
func (b *bench) prepareApprovals(ctx context.Context) error {
	if err := b.ensureDefinition(ctx, decisions, "Decision"); err != nil {
		return err
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: approvers}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "delete"}},
		{APIGroups: []string{benchGroup}, Resources: []string{decisions}, Verbs: []string{"create"}},
	}}
	if _, err := b.kube.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating the approvers' ClusterRole: %w", err)
	}
	for _, name := range []string{approvers, "srenix-approver"} {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "bench-" + name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: approvers}},
		}
		if _, err := b.kube.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("binding the approvers to %s: %w", name, err)
		}
	}
	return nil
}

// deleteApprovals removes what both sides stored.
func (b *bench) deleteApprovals(ctx context.Context) error {
	client, err := b.dynamicClient()
	if err != nil {
		return err
	}
	for i := range namespaceCount {
		if err := client.Resource(approvalResource).Namespace(namespaceName(i)).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return fmt.Errorf("deleting approvals: %w", err)
		}
		if err := client.Resource(decisionResource).Namespace(namespaceName(i)).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return fmt.Errorf("deleting custom resources: %w", err)
		}
	}
	return nil
}
