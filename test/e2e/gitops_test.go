// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// applier makes a user who may only create and patch Approvals in a namespace, as
// a GitOps controller does, and approve nothing.
func applier(t *testing.T, ns, user string) string {
	t.Helper()
	kubectl(t, "create", "role", user+"-applies", "-n", ns, "--verb=get,create,patch", "--resource=approvals.ops.srenix.io")
	kubectl(t, "create", "rolebinding", user+"-applies", "-n", ns, "--role="+user+"-applies", "--user="+user)
	return userKubeconfig(t, user)
}

// TestGitOpsAppliesAnApprovalAgainAndAgain is a manifest on its way through Git:
// a controller applies it in either of the two ways, whatever state the approval
// is in, and it counts once.
func TestGitOpsAppliesAnApprovalAgainAndAgain(t *testing.T) {
	ns := namespace(t)
	gina, controller := approver(t, ns, "gina"), applier(t, ns, "argocd")
	proposal := stuckStatefulSet(t, ns, "db")
	text, stderr, err := srenix.Plane.KubectlAs(t.Context(), gina, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes",
		"--dry-run=client", "-o", "yaml", "--token-lifetime", "1h", "--reason", "by way of Git")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	file := filepath.Join(t.TempDir(), "approval.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	applies := func(when string) *opsv1alpha1.Approval {
		t.Helper()
		var names []string
		for _, how := range [][]string{{}, {"--server-side", "--field-manager=argocd-controller"}} {
			stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), controller, append([]string{"apply", "-n", ns, "-f", file, "-o", "name"}, how...)...)
			if err != nil {
				t.Fatalf("applying it %s, %v: %v\n%s", when, how, err, stderr)
			}
			names = append(names, strings.TrimPrefix(strings.TrimSpace(stdout), "approval.ops.srenix.io/"))
		}
		if names[0] == "" || names[0] != names[1] {
			t.Fatalf("applying it %s made %q", when, names)
		}
		return getApproval(t, ns, names[0])
	}

	// Nothing goes on by itself until it was applied twice; then it is stopped half-way.
	if err := srenix.Executor.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if err := errors.Join(srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
				t.Error(err)
			}
		}
	})
	gate := newGate(t, ns)
	stored := applies("before it is carried out")
	name, uid := stored.Name, stored.UID
	same := func(when string) {
		t.Helper()
		if now := applies(when); now.Name != name || now.UID != uid || now.Generation != stored.Generation {
			t.Errorf("applied %s it is another one: %s %s of generation %d, was %s %s of %d",
				when, now.Name, now.UID, now.Generation, name, uid, stored.Generation)
		}
	}
	same("before it is carried out, again")
	if err := errors.Join(srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
		t.Fatal(err)
	}
	gate.await(t)
	same("while it is carried out")
	gate.decision <- true
	waitPhase(t, ns, name, opsv1alpha1.PhaseSucceeded)
	same("after it was carried out")
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")
	kubectl(t, "wait", "--for=delete", "proposal.srenix.io/"+proposal.Name, "-n", ns, "--timeout=30s")
	same("after the proposal is gone")

	if deletions, done := gate.seen.Load(), auditedOf(t, opsv1alpha1.AuditActionDone, string(proposal.UID)); deletions != 1 || len(done) != 1 {
		t.Errorf("the executor asked %d times for the deletion, and the chain has the actions %v; want one", deletions, done)
	}
	if approval := getApproval(t, ns, name); approval.Status.Approver != "gina" || approval.Status.Phase != opsv1alpha1.PhaseSucceeded {
		t.Errorf("status %+v, want Succeeded for the token's subject gina", approval.Status)
	}
	var accepted opsv1alpha1.AuditEventList
	selector := fmt.Sprintf("ops.srenix.io/type=ApprovalAccepted,ops.srenix.io/proposal-uid=%s", proposal.UID)
	if err := json.Unmarshal([]byte(kubectl(t, "get", "auditevents", "-l", selector, "-o", "json")), &accepted); err != nil {
		t.Fatal(err)
	}
	if len(accepted.Items) != 1 {
		t.Fatalf("%d acceptances, want one", len(accepted.Items))
	}
	references := accepted.Items[0].Spec.References
	if references.Approver != "gina" || references.Applier != "argocd" || references.Digest != proposal.Spec.Digest {
		t.Errorf("the acceptance is by %q, applied by %q, of %s", references.Approver, references.Applier, references.Digest)
	}
}
