// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/tracing"
)

// proposalApproval judges what was posted to proposals/approve. The registry
// has put the snapshot in, and the caller is the approver. What passes is not
// recorded here: it is, where it is stored.
func (h *Handlers) proposalApproval(ctx context.Context, request admission.Request) admission.Response {
	if request.Operation != admissionv1.Create {
		return refused(http.StatusForbidden, fmt.Sprintf("%s of proposals/approve is not served", request.Operation))
	}
	posted, err := decode[*v1alpha1.ProposalApproval](h.strict, request)
	if err != nil {
		return refused(http.StatusBadRequest, err.Error())
	}
	switch {
	case posted.Spec.Snapshot == nil || posted.Spec.ProposalUID == "":
		return refused(http.StatusForbidden, "the request carries no snapshot of its proposal: post it to proposals/NAME/approve")
	case posted.Spec.Digest != posted.Spec.Snapshot.Digest:
		return refused(http.StatusConflict, fmt.Sprintf("the proposal has changed: you saw digest %s, it is now %s", posted.Spec.Digest, posted.Spec.Snapshot.Digest))
	case request.Name == "" || (posted.Name != "" && posted.Name != request.Name):
		return refused(http.StatusBadRequest, fmt.Sprintf("metadata.name is %q and the request names proposal %q", posted.Name, request.Name))
	case request.UserInfo.Username == "":
		return refused(http.StatusForbidden, "the request carries no user")
	}
	return h.decide(ctx, decision{
		request: evidence.Request{
			Stage: policy.StageApproval, Decision: posted.Spec.Decision,
			Proposal: policy.Proposal{
				Namespace: request.Namespace, Name: request.Name, UID: posted.Spec.ProposalUID, Spec: *posted.Spec.Snapshot,
			},
			Token: posted.Spec.Token, Reason: posted.Spec.Reason, Caller: request.UserInfo.Username,
		},
		user: request.UserInfo.Username, dryRun: ptr.Deref(request.DryRun, false),
	})
}

// approval judges an Approval that is about to be stored, by whoever: the API
// server after proposals/approve, or Argo CD or Flux from Git. An update cannot
// change what was decided (the CRD says so), and a deletion undoes nothing.
func (h *Handlers) approval(ctx context.Context, request admission.Request) admission.Response {
	switch request.Operation {
	case admissionv1.Create:
	case admissionv1.Update, admissionv1.Delete:
		return admission.Allowed("")
	default:
		return refused(http.StatusForbidden, fmt.Sprintf("%s of approvals is not served", request.Operation))
	}
	stored, err := decode[*opsv1alpha1.Approval](h.strict, request)
	if err != nil {
		return refused(http.StatusBadRequest, err.Error())
	}
	if stored.Name == "" {
		return refused(http.StatusBadRequest, "metadata.name is needed: it is the name that the token calls for, and kubectl create approval writes it")
	}
	stored.Namespace = request.Namespace
	proposal, err := evidence.ProposalOf(stored)
	if err != nil {
		return refused(http.StatusUnprocessableEntity, err.Error())
	}
	return h.decide(ctx, decision{
		request: evidence.Request{
			Stage: policy.StageApproval, Decision: stored.Spec.Decision, Proposal: proposal,
			Token: stored.Spec.Token, Reason: stored.Spec.Reason, ApprovalName: stored.Name,
		},
		user: request.UserInfo.Username, dryRun: ptr.Deref(request.DryRun, false), final: true, uid: stored.UID,
		byLink: h.byLink(request),
	})
}

// traced is judge as a part of the trace of the Approval, where one is stored.
func (h *Handlers) traced(ctx context.Context, d *decision) admission.Response {
	if d.dryRun || !d.final {
		return h.judge(ctx, d)
	}
	approval := tracing.Approval{Namespace: d.request.Proposal.Namespace, Name: d.request.ApprovalName}
	ctx, span := h.tracer.Start(ctx, approval, "admit")
	defer span.End()
	response := h.judge(ctx, d)
	span.SetAttributes(
		tracing.Decision.String(string(d.request.Decision)),
		tracing.ActionKind.String(string(d.request.Proposal.Spec.ActionKind)),
		tracing.Outcome.String(map[bool]string{true: outcomeAccepted, false: outcomeRefused}[response.Allowed]),
		tracing.Reason.String(response.Result.Message),
	)
	return response
}

// byLink tells whether the server stores what somebody confirmed on the approval page.
func (h *Handlers) byLink(request admission.Request) bool {
	options := &metav1.CreateOptions{}
	return request.UserInfo.Username == h.server && h.server != "" &&
		json.Unmarshal(request.Options.Raw, options) == nil && options.FieldManager == PageManager
}
