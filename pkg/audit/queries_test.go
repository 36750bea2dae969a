// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

func messages(events []opsv1alpha1.AuditEvent) []string {
	var all []string
	for i := range events {
		all = append(all, events[i].Spec.Message)
	}
	return all
}

func TestQueriesFindTheirEventsOldestFirst(t *testing.T) {
	cluster, clock := newCluster(t), clocktesting.NewFakePassiveClock(start)
	chain := NewChain(cluster, "apiserver", clock, nil)
	record := func(message string, kind opsv1alpha1.AuditType, approver, class, jti, digest string) {
		t.Helper()
		clock.SetTime(clock.Now().Add(10 * time.Minute))
		entry := accepted(jti)
		entry.Type, entry.Message = kind, message
		entry.References.Approver, entry.References.DiagnosticClass, entry.References.Digest = approver, class, digest
		if _, err := chain.Append(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
	record("minted", opsv1alpha1.AuditTokenMinted, "alice", "A", "j1", "d1")
	record("refused", opsv1alpha1.AuditApprovalDenied, "alice", "A", "j1", "d1")
	record("accepted", opsv1alpha1.AuditApprovalAccepted, "alice", "A", "j1", "d1")
	record("other person", opsv1alpha1.AuditApprovalAccepted, "bob", "A", "j2", "d1")
	record("other class", opsv1alpha1.AuditApprovalAccepted, "alice", "B", "j3", "d2")
	record("a no", opsv1alpha1.AuditDenialRecorded, "alice", "A", "j4", "d1")
	record("accepted later", opsv1alpha1.AuditApprovalAccepted, "alice", "A", "j5", "d2")
	record("intended", opsv1alpha1.AuditActionIntended, "alice", "A", "j1", "d1")

	for name, test := range map[string]struct {
		query func() ([]opsv1alpha1.AuditEvent, error)
		want  []string
	}{
		"all of a token": {func() ([]opsv1alpha1.AuditEvent, error) { return ByJTI(t.Context(), cluster, "j1") },
			[]string{"minted", "refused", "accepted", "intended"}},
		"what a token was used for": {func() ([]opsv1alpha1.AuditEvent, error) { return AcceptedByJTI(t.Context(), cluster, "j1") },
			[]string{"accepted"}},
		"a denial uses its token": {func() ([]opsv1alpha1.AuditEvent, error) { return AcceptedByJTI(t.Context(), cluster, "j4") },
			[]string{"a no"}},
		"an unused token": {func() ([]opsv1alpha1.AuditEvent, error) { return AcceptedByJTI(t.Context(), cluster, "j9") }, nil},
		"a budget": {func() ([]opsv1alpha1.AuditEvent, error) {
			return AcceptedSince(t.Context(), cluster, "alice", "A", start)
		}, []string{"accepted", "accepted later"}},
		"a budget since the first was accepted": {func() ([]opsv1alpha1.AuditEvent, error) {
			return AcceptedSince(t.Context(), cluster, "alice", "A", start.Add(30*time.Minute))
		}, []string{"accepted later"}},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := test.query()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, messages(events)); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

func TestQueriesRefuseAnEditedEvent(t *testing.T) {
	cluster := newCluster(t)
	appendAll(t, newChain(cluster, nil), 1)
	events := stored(t, cluster)
	events[1].Spec.References.Approval = "approval-of-mallory"
	update(t, cluster, &events[1])
	var bad *BadLink
	if _, err := ByJTI(t.Context(), cluster, events[1].Spec.References.JTI); !errors.As(err, &bad) || bad.Index != 1 {
		t.Errorf("error is %v, want one that names event 1", err)
	}
}

func TestBudgetKeyTellsApproverAndClassApart(t *testing.T) {
	if BudgetKey("ab", "c") == BudgetKey("a", "bc") {
		t.Error("two pairs share a key")
	}
	if key := BudgetKey("alice", "A"); len(key) != 32 {
		t.Errorf("key %q has %d characters, want 32", key, len(key))
	}
}

// TestServiceAccountsOfANamespaceCountAsOne: there are as many as one likes.
func TestServiceAccountsOfANamespaceCountAsOne(t *testing.T) {
	one, other, elsewhere := "system:serviceaccount:shop:a", "system:serviceaccount:shop:b", "system:serviceaccount:bank:a"
	if BudgetKey(one, "A") != BudgetKey(other, "A") || BudgetKey(one, "A") == BudgetKey(elsewhere, "A") || Source("alice") != "alice" {
		t.Errorf("they count as %s, %s and %s", Source(one), Source(other), Source(elsewhere))
	}
	cluster := newCluster(t)
	chain := newChain(cluster, nil)
	for i, who := range []string{one, other, elsewhere} {
		entry := about(i, i, 0, opsv1alpha1.AuditApprovalAccepted)
		entry.References.Approver = who
		if _, err := chain.Append(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
	index := NewIndex(cluster)
	if err := index.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, reader := range []client.Reader{cluster, Indexed(cluster, index)} {
		events, err := AcceptedSince(t.Context(), reader, other, "WorkloadStateDrift", start.Add(-time.Hour))
		if err != nil || len(events) != 2 {
			t.Errorf("%d acceptances count (%v), want those of both", len(events), err)
		}
	}
}
