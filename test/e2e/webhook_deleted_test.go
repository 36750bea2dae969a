// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// TestDeletingTheWebhookOpensNothing deletes the webhook configuration, as
// somebody with enough rights can: the executor judges by the same policy.
func TestDeletingTheWebhookOpensNothing(t *testing.T) {
	ns := namespace(t)
	alice, bob := approver(t, ns, "alice"), approver(t, ns, "bob")
	managed := driftedDeployment(t, ns, "managed", "kustomize.toolkit.fluxcd.io/name: apps")
	proposal := stuckStatefulSet(t, ns, "db")
	configurations := kubeClient(t).AdmissionregistrationV1().ValidatingWebhookConfigurations()
	saved, err := configurations.Get(t.Context(), "srenix", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := configurations.Delete(t.Context(), "srenix", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		saved.ObjectMeta = metav1.ObjectMeta{Name: saved.Name, Annotations: saved.Annotations}
		if _, err := configurations.Create(context.Background(), saved, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	})

	// The aggregated server's own admission learns of the deletion by watching.
	stolen := mint(t, alice, proposal)
	_, err = post(t, bob, proposal, "approve", approvalRequest(proposal.Spec.Digest, stolen.Token))
	wantStatus(t, err, 403, "token")

	var refused v1alpha1.TokenRequestStatus
	eventually(t, "an approval that no webhook judges to be stored", func(context.Context) (bool, string) {
		refused = mint(t, alice, managed)
		_, err := post(t, alice, managed, "approve", approvalRequest(managed.Spec.Digest, refused.Token))
		if err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	approval := waitPhase(t, ns, refused.ApprovalName, opsv1alpha1.PhaseDenied, opsv1alpha1.PhaseSucceeded)
	if approval.Status.Phase != opsv1alpha1.PhaseDenied {
		t.Errorf("the executor carried out what layer GitOpsManaged refuses: %+v", approval.Status)
	}
	// Nor is a token for dry runs good for more, by whichever way.
	rehearsed := mint(t, alice, proposal, "dryRun", "All")
	_, err = post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, rehearsed.Token))
	wantStatus(t, err, 403, "for a dry run")
	manifest, err := json.Marshal(&opsv1alpha1.Approval{
		TypeMeta:   metav1.TypeMeta{APIVersion: opsv1alpha1.SchemeGroupVersion.String(), Kind: "Approval"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: rehearsed.ApprovalName},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: v1alpha1.DecisionApprove, Snapshot: proposal.Spec, Token: rehearsed.Token,
			Proposal: opsv1alpha1.ProposalReference{Name: proposal.Name, UID: proposal.UID, Digest: proposal.Spec.Digest},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, string(manifest))
	approval = waitPhase(t, ns, rehearsed.ApprovalName, opsv1alpha1.PhaseDenied, opsv1alpha1.PhaseSucceeded)
	if approval.Status.Phase != opsv1alpha1.PhaseDenied || !strings.Contains(approval.Status.Message, "for a dry run") {
		t.Errorf("the executor did not refuse a token for dry runs: %+v", approval.Status)
	}
	if restarted := kubectl(t, "get", "deployment", "managed", "-n", ns, "-o", "jsonpath={.spec.template.metadata.annotations}"); restarted != "" {
		t.Errorf("the Deployment was restarted: %s", restarted)
	}
}
