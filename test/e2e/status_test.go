// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/test/plane"
)

// TestAttackStatusOfAnApprovalPatched is by somebody with every verb on everything
// of ops.srenix.io in a namespace, as its administrator or a GitOps controller
// often has: nobody but the executor writes what became of a decision.
func TestAttackStatusOfAnApprovalPatched(t *testing.T) {
	ns := namespace(t)
	sue := approver(t, ns, "sue")
	proposal := stuckStatefulSet(t, ns, "db")
	kubectl(t, "create", "role", "mallory-has-all", "-n", ns, "--verb=*", "--resource=approvals.ops.srenix.io,approvals.ops.srenix.io/status")
	kubectl(t, "create", "rolebinding", "mallory-has-all", "-n", ns, "--role=mallory-has-all", "--user=mallory")
	mallory := userKubeconfig(t, "mallory")
	if err := srenix.Executor.Pause(); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := errors.Join(srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume)
	name := approve(t, sue, proposal)
	patch := func(kubeconfig string) (string, error) {
		stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), kubeconfig, "patch", "approval", name, "-n", ns, "--subresource=status", "--type=merge",
			"-p", `{"status":{"phase":"Succeeded","approver":"root","completedAt":"2026-03-01T12:00:00Z","message":"trust me"}}`)
		return stdout + stderr, err
	}
	for who, kubeconfig := range map[string]string{"with every verb in the namespace": mallory, "with every right": srenix.Plane.Kubeconfig()} {
		if output, err := patch(kubeconfig); err == nil || !strings.Contains(output, "srenix-approval-status") {
			t.Errorf("somebody %s wrote a status: %s", who, output)
		}
	}
	if phase := getApproval(t, ns, name).Status.Phase; phase != "" {
		t.Fatalf("the phase is %s", phase)
	}

	// Where the policy is gone too, the executor goes by the audit chain.
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "artifacts", "kustomize", "base", "policies", "approval-status.yaml")
	kubectl(t, "delete", "-f", file)
	t.Cleanup(func() {
		if _, _, err := srenix.Plane.Kubectl(context.Background(), "apply", "-f", file); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a status that nobody refuses", func(context.Context) (bool, string) {
		output, err := patch(mallory)
		return err == nil, output
	})
	resume()
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")
	approval := getApproval(t, ns, name)
	if approval.Status.Phase != opsv1alpha1.PhaseSucceeded || approval.Status.Approver != "sue" || approval.Status.Execution == nil {
		t.Errorf("the forged status was taken over: %+v", approval.Status)
	}
	if done := auditedOf(t, opsv1alpha1.AuditActionDone, string(proposal.UID)); len(done) != 1 || podUID(t, ns, "db-0") == string(proposal.Spec.Target.UID) {
		t.Errorf("it was not carried out: %v", done)
	}

	// Neither garbage collection nor the end of the namespace is in the policy's way.
	kubectl(t, "apply", "-f", file)
	eventually(t, "the policy to hold again", func(context.Context) (bool, string) {
		output, err := patch(mallory)
		return err != nil && strings.Contains(output, "srenix-approval-status"), output
	})
	kubectl(t, "delete", "namespace", ns, "--timeout=60s")
}
