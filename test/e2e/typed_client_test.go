// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
	"github.com/srenix/srenix/pkg/generated/informers/externalversions"
)

// TestTheTypedClientFindsAndApproves does what another program would, from finding to
// verification, with the generated client, informers and listers, as somebody who has
// the rights of an approver in one namespace.
func TestTheTypedClientFindsAndApproves(t *testing.T) {
	ns := namespace(t)
	proposed := stuckStatefulSet(t, ns, "db")
	client, err := versioned.NewForConfig(restConfig(t, approver(t, ns, "tina")))
	if err != nil {
		t.Fatal(err)
	}
	factory := externalversions.NewSharedInformerFactoryWithOptions(client, 0, externalversions.WithNamespace(ns))
	findings, approvals := factory.Srenix().V1alpha1().Findings(), factory.Ops().V1alpha1().Approvals()
	findings.Informer()
	approvals.Informer()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(factory.Shutdown)
	t.Cleanup(cancel)
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			t.Fatalf("the informer of %s did not sync", kind)
		}
	}
	finding, err := findings.Lister().Findings(ns).Get(proposed.Spec.Finding.Name)
	if err != nil {
		t.Fatal(err)
	}

	if output := kubectl(t, "srenix", "status", "-n", ns); !strings.Contains(output, "kubectl create approval --proposal "+proposed.Name+" -n "+ns) {
		t.Errorf("kubectl srenix status does not tell what could be done about the worst:\n%s", output)
	}
	if output := kubectl(t, "srenix", "status", "-o", "json"); !json.Valid([]byte(output)) {
		t.Errorf("kubectl srenix status -o json: %s", output)
	}

	proposals := client.SrenixV1alpha1().Proposals(ns)
	proposal, err := proposals.Get(ctx, finding.Status.Proposals[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	digest := proposal.Spec.Digest
	minted, err := proposals.CreateToken(ctx, proposal.Name, &v1alpha1.ProposalTokenRequest{Spec: v1alpha1.TokenRequestSpec{Digest: digest}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("minting a token: %v", err)
	}
	decided, err := proposals.Approve(ctx, proposal.Name, &v1alpha1.ProposalApproval{Spec: v1alpha1.ProposalApprovalSpec{Digest: digest, Token: minted.Status.Token}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("approving: %v", err)
	}
	eventually(t, "the approval to be verified, and the finding to be gone", func(context.Context) (bool, string) {
		approval, err := approvals.Lister().Approvals(ns).Get(decided.Status.ApprovalName)
		if err != nil {
			return false, err.Error()
		}
		_, gone := findings.Lister().Findings(ns).Get(finding.Name)
		return approval.Status.Phase == opsv1alpha1.PhaseSucceeded && apierrors.IsNotFound(gone), fmt.Sprintf("%+v, finding: %v", approval.Status, gone)
	})
	if _, err := proposals.GetRunbook(ctx, proposal.Name, metav1.GetOptions{}); !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		t.Errorf("the runbook of what is none: %v", err)
	}
}
