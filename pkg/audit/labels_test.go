// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// Events are kept for longer than a build of srenix: what one build has stored, the
// next has to find, and Verify holds its labels against LabelsOf. So these never
// change. A label that is new is derived from a field that is new.
func TestLabelsOfStoredEventsStay(t *testing.T) {
	references := opsv1alpha1.AuditReferences{
		Namespace: "shop", Proposal: "web-1", ProposalUID: "0d4c6a1e-64a6-5a35-8d0e-1f6f0a8f7a10", Digest: "sha256:ab",
		Approval: "a-1", ApprovalUID: "8b0f0a30-52a4-4b7a-a3f4-5f7a0e8d7c11",
		Approver: "ana", Applier: "system:serviceaccount:argocd:argocd-application-controller",
		JTI: "5f3b9c0de1a24786b0c9d8e7f6a5b4c3", DiagnosticClass: "CrashLoop", ActionKind: "DeletePod",
	}
	for name, c := range map[string]struct {
		spec opsv1alpha1.AuditEventSpec
		want map[string]string
	}{
		"the first event": {
			opsv1alpha1.AuditEventSpec{Type: opsv1alpha1.AuditChainStarted, Component: "apiserver/a"},
			map[string]string{"ops.srenix.io/type": "ChainStarted"},
		},
		"an acceptance": {
			opsv1alpha1.AuditEventSpec{Type: opsv1alpha1.AuditApprovalAccepted, Component: "apiserver/a", References: references},
			map[string]string{
				"ops.srenix.io/type": "ApprovalAccepted", "ops.srenix.io/jti": references.JTI,
				"ops.srenix.io/proposal-uid": string(references.ProposalUID), "ops.srenix.io/budget": "58058e1ed8280fe62e016319a6f5b491",
			},
		},
		"a refusal by the server": {
			opsv1alpha1.AuditEventSpec{Type: opsv1alpha1.AuditApprovalDenied, Component: "apiserver/a", References: references},
			map[string]string{"ops.srenix.io/type": "ApprovalDenied", "ops.srenix.io/jti": references.JTI, "ops.srenix.io/budget": "58058e1ed8280fe62e016319a6f5b491"},
		},
		"a refusal by an executor": {
			opsv1alpha1.AuditEventSpec{Type: opsv1alpha1.AuditApprovalDenied, Component: "executor/a", References: references},
			map[string]string{
				"ops.srenix.io/type": "ApprovalDenied", "ops.srenix.io/jti": references.JTI,
				"ops.srenix.io/proposal-uid": string(references.ProposalUID), "ops.srenix.io/budget": "58058e1ed8280fe62e016319a6f5b491",
			},
		},
		"what a ServiceAccount decided counts for its namespace": {
			opsv1alpha1.AuditEventSpec{Type: opsv1alpha1.AuditDenialRecorded, Component: "apiserver/a", References: opsv1alpha1.AuditReferences{
				Approver: "system:serviceaccount:shop:deployer", DiagnosticClass: "CrashLoop",
			}},
			map[string]string{"ops.srenix.io/type": "DenialRecorded", "ops.srenix.io/budget": "2a519ee58464bad68ecae08f9f218bc3"},
		},
		"a call of a model": {
			opsv1alpha1.AuditEventSpec{Type: opsv1alpha1.AuditModelCalled, Component: "apiserver/a", ModelCall: &opsv1alpha1.ModelCall{ID: "c-1"}},
			map[string]string{"ops.srenix.io/type": "ModelCalled", "ops.srenix.io/model-call": "c-1"},
		},
		"what cannot be a label is none": {
			opsv1alpha1.AuditEventSpec{Type: opsv1alpha1.AuditApprovalDenied, Component: "apiserver/a", References: opsv1alpha1.AuditReferences{JTI: "no label/"}},
			map[string]string{"ops.srenix.io/type": "ApprovalDenied"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, LabelsOf(&c.spec)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
