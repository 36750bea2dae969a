// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// TestTheAPIServersAuditEventsAreItsOwn uses the API server's own credentials
// for what it has no business to say in the audit chain. What the executor says
// is in test/leash.
func TestTheAPIServersAuditEventsAreItsOwn(t *testing.T) {
	kubeconfig, err := srenix.ServiceAccountKubeconfig(t.Context(), "srenix-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	server, err := client.New(restConfig(t, kubeconfig), client.Options{Scheme: clientScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	const index = 1 << 40 // Where the chain has not got to. Nothing is stored.
	appends := func(component string, kind opsv1alpha1.AuditType) error {
		return server.Create(t.Context(), &opsv1alpha1.AuditEvent{
			ObjectMeta: metav1.ObjectMeta{Name: audit.EventName(index)},
			Spec: opsv1alpha1.AuditEventSpec{
				Index: index, Time: metav1.NewMicroTime(time.Now()), Component: component, Actor: "x", Type: kind,
				PrevHash: strings.Repeat("0", 64), Hash: "sha256:" + strings.Repeat("0", 64),
			},
		}, client.DryRunAll)
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
