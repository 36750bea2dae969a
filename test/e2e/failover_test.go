// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/test/harness"
)

// leader is who holds the executors' Lease; empty is nobody.
func leader(ctx context.Context, t *testing.T) string {
	t.Helper()
	lease, err := kubeClient(t).CoordinationV1().Leases(harness.Namespace).Get(ctx, "srenix-executor", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// standBy starts a second executor and waits until it wants the Lease that the
// first one has. At the end of the test the first one is the leader again.
func standBy(t *testing.T, name string) *harness.Process {
	t.Helper()
	eventually(t, "the first executor to be the leader", func(ctx context.Context) (bool, string) {
		holder := leader(ctx, t)
		return holder != "", holder
	})
	second, err := srenix.NewExecutor(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(second.Stop(), srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the second executor to stand by", func(context.Context) (bool, string) {
		log, err := os.ReadFile(second.LogFile)
		return err == nil && strings.Contains(strings.ToLower(string(log)), "attempting to acquire leader lease"), second.LogTail()
	})
	return second
}

// auditedOf are the names of the events of a type about a proposal.
func auditedOf(t *testing.T, kind opsv1alpha1.AuditType, proposal string) []string {
	t.Helper()
	return strings.Fields(kubectl(t, "get", "auditevents", "-l", fmt.Sprintf("ops.srenix.io/type=%s,ops.srenix.io/proposal-uid=%s", kind, proposal), "-o", "name"))
}

// TestTheStandbyCarriesOn kills the leader of two executors, with no chance to
// say goodbye, at the two moments that make a difference.
func TestTheStandbyCarriesOn(t *testing.T) {
	t.Run("after the claim and before the intent", func(t *testing.T) {
		ns := namespace(t)
		tess := approver(t, ns, "tess")
		proposal := stuckStatefulSet(t, ns, "db")
		gate := newIntentGate(t, ns)
		standBy(t, "srenix-executor-1")
		first := leader(t.Context(), t)
		name := approve(t, tess, proposal)
		gate.await(t)
		claimed := getApproval(t, ns, name)
		if record := claimed.Status.Execution; claimed.Status.Phase != opsv1alpha1.PhaseExecuting || record == nil || !strings.HasPrefix(record.Executor, "srenix-executor-0_") || record.Intent != "" {
			t.Fatalf("before the intent the status is %+v, want a claim of the first executor", claimed.Status)
		}
		// Stopped in its tracks, its intent is refused before it dies.
		if err := srenix.Executor.Pause(); err != nil {
			t.Fatal(err)
		}
		gate.decision <- false
		eventually(t, "the intent to be refused", func(context.Context) (bool, string) {
			return len(gate.decision) == 0, "not yet"
		})
		if err := srenix.Executor.Kill(); err != nil {
			t.Fatal(err)
		}
		gate.decision <- true
		done := waitPhase(t, ns, name, opsv1alpha1.PhaseSucceeded, opsv1alpha1.PhaseFailed, opsv1alpha1.PhaseExpired)
		if record := done.Status.Execution; done.Status.Phase != opsv1alpha1.PhaseSucceeded || !strings.HasPrefix(record.Executor, "srenix-executor-1_") {
			t.Errorf("%s by %+v, want Succeeded by the second executor", done.Status.Phase, record)
		}
		if second := leader(t.Context(), t); second == first {
			t.Errorf("the leader is %s still", second)
		}
		kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")
		for _, kind := range []opsv1alpha1.AuditType{opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditActionDone} {
			if events := auditedOf(t, kind, string(proposal.UID)); len(events) != 1 {
				t.Errorf("the chain has %d events %s, want one: %v", len(events), kind, events)
			}
		}
		if uid := podUID(t, ns, "db-0"); uid == string(proposal.Spec.Target.UID) {
			t.Error("the pod is the same")
		}
		if output := kubectl(t, "srenix", "audit", "verify"); !strings.Contains(output, "verified") {
			t.Errorf("audit verify: %s", output)
		}
	})
	t.Run("after the intent, while the action goes on", func(t *testing.T) {
		ns := namespace(t)
		tess := approver(t, ns, "tess")
		proposal := stuckStatefulSet(t, ns, "db")
		gate := newGate(t, ns)
		standBy(t, "srenix-executor-2")
		name := approve(t, tess, proposal)
		gate.await(t)
		if err := srenix.Executor.Pause(); err != nil {
			t.Fatal(err)
		}
		gate.decision <- true
		eventually(t, "the pod to be replaced", func(context.Context) (bool, string) {
			uid := kubectl(t, "get", "pod", "db-0", "-n", ns, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
			return uid != "" && uid != string(proposal.Spec.Target.UID), uid
		})
		if err := srenix.Executor.Kill(); err != nil {
			t.Fatal(err)
		}
		replaced := podUID(t, ns, "db-0")
		kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")
		if settled := getApproval(t, ns, name); settled.Status.Phase != opsv1alpha1.PhaseSucceeded || gate.seen.Load() != 1 {
			t.Errorf("%s after %d deletions, want Succeeded after one", settled.Status.Phase, gate.seen.Load())
		}
		if done := auditedOf(t, opsv1alpha1.AuditActionDone, string(proposal.UID)); len(done) != 1 {
			t.Errorf("the chain has %d actions, want one", len(done))
		}
		if uid := podUID(t, ns, "db-0"); uid != replaced {
			t.Error("the new pod was deleted too")
		}
	})
}
