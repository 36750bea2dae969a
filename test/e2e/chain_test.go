// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// apiserverClient has the API server's own credentials.
func apiserverClient(t *testing.T) client.Client {
	t.Helper()
	kubeconfig, err := srenix.ServiceAccountKubeconfig(t.Context(), "srenix-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	server, err := client.New(restConfig(t, kubeconfig), client.Options{Scheme: clientScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// unchained is an audit event where the chain has not got to. It is for dry runs.
func unchained(component string, kind opsv1alpha1.AuditType, about opsv1alpha1.AuditReferences) *opsv1alpha1.AuditEvent {
	const index = 1 << 40
	event := &opsv1alpha1.AuditEvent{
		ObjectMeta: metav1.ObjectMeta{Name: audit.EventName(index)},
		Spec: opsv1alpha1.AuditEventSpec{
			Index: index, Time: metav1.NewMicroTime(time.Now()), Component: component, Actor: "x", Type: kind, References: about,
			PrevHash: strings.Repeat("0", 64), Hash: "sha256:" + strings.Repeat("0", 64),
		},
	}
	event.Labels = audit.LabelsOf(&event.Spec)
	return event
}

// TestTheAPIServersAuditEventsAreItsOwn uses the API server's own credentials
// for what it has no business to say in the audit chain. What the executor says
// is in test/leash.
func TestTheAPIServersAuditEventsAreItsOwn(t *testing.T) {
	server := apiserverClient(t)
	appends := func(component string, kind opsv1alpha1.AuditType) error {
		return server.Create(t.Context(), unchained(component, kind, opsv1alpha1.AuditReferences{}), client.DryRunAll)
	}
	for _, kind := range []opsv1alpha1.AuditType{
		opsv1alpha1.AuditChainStarted, opsv1alpha1.AuditTokenMinted, opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditApprovalDenied,
		opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditCheckpointSigned,
	} {
		for _, component := range []string{"apiserver", "apiserver/srenix-apiserver-0"} {
			if err := appends(component, kind); err != nil {
				t.Errorf("%s as %s, which it records: %v", kind, component, err)
			}
		}
	}
	refused := func(component string, kind opsv1alpha1.AuditType) {
		t.Helper()
		if err := appends(component, kind); err == nil || !strings.Contains(err.Error(), "of the types that it records") {
			t.Errorf("%s as %q: %v", kind, component, err)
		}
	}
	for _, kind := range []opsv1alpha1.AuditType{
		opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled,
		opsv1alpha1.AuditRunbookReleased, opsv1alpha1.AuditVerified, opsv1alpha1.AuditNotVerified, opsv1alpha1.AuditSuperseded,
	} {
		refused("apiserver", kind)
	}
	for _, component := range []string{"executor", "executor/apiserver/x", "apiservers", "not/apiserver", ""} {
		refused(component, opsv1alpha1.AuditTokenMinted)
	}
}

// TestAuditEventsAreStoredWithTheLabelsOfTheirContent: queries go by labels, which no
// hash covers.
func TestAuditEventsAreStoredWithTheLabelsOfTheirContent(t *testing.T) {
	server := apiserverClient(t)
	accepted := opsv1alpha1.AuditReferences{
		JTI: strings.Repeat("0a", 16), ProposalUID: "7c3f", Approver: "oidc:alice@example.com", DiagnosticClass: "WorkloadStateDrift",
	}
	unlabeled := opsv1alpha1.AuditReferences{JTI: "no label/" + strings.Repeat("x", 64), ProposalUID: types.UID(strings.Repeat("u", 64)), Approver: "alice"}
	for name, test := range map[string]struct {
		about   opsv1alpha1.AuditReferences
		change  func(labels map[string]string)
		refused bool
	}{
		"as they follow":                  {about: accepted},
		"of nothing":                      {},
		"of what cannot be a label":       {about: unlabeled},
		"with a label of somebody else's": {about: accepted, change: func(l map[string]string) { l["example.com/team"] = "a" }},
		"without any":                     {about: accepted, change: func(l map[string]string) { clear(l) }, refused: true},
		"without the type":                {about: accepted, change: func(l map[string]string) { delete(l, audit.LabelType) }, refused: true},
		"without the token":               {about: accepted, change: func(l map[string]string) { delete(l, audit.LabelJTI) }, refused: true},
		"without the proposal":            {about: accepted, change: func(l map[string]string) { delete(l, audit.LabelProposalUID) }, refused: true},
		"without the budget":              {about: accepted, change: func(l map[string]string) { delete(l, audit.LabelBudget) }, refused: true},
		"in capitals":                     {about: accepted, change: func(l map[string]string) { l[audit.LabelJTI] = strings.ToUpper(l[audit.LabelJTI]) }, refused: true},
		"of another type":                 {about: accepted, change: func(l map[string]string) { l[audit.LabelType] = string(opsv1alpha1.AuditTokenMinted) }, refused: true},
		"of a budget that is no hash":     {about: accepted, change: func(l map[string]string) { l[audit.LabelBudget] = "alice" }, refused: true},
		"of a budget without a class":     {about: unlabeled, change: func(l map[string]string) { l[audit.LabelBudget] = audit.BudgetKey("alice", "") }, refused: true},
		"of a token that it is not about": {change: func(l map[string]string) { l[audit.LabelJTI] = accepted.JTI }, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			event := unchained("apiserver", opsv1alpha1.AuditApprovalAccepted, test.about)
			if test.change != nil {
				test.change(event.Labels)
			}
			err := server.Create(t.Context(), event, client.DryRunAll)
			refused := err != nil && strings.Contains(err.Error(), "exempt auditevents.ops.srenix.io from whatever changes labels")
			if refused != test.refused || !refused && err != nil {
				t.Errorf("refused is %t, want %t: %v", refused, test.refused, err)
			}
		})
	}
}
