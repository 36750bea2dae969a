// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/test/harness"
)

// Under the very policies that are installed.
func TestTheConfigurationOfThePolicyIsInTheChain(t *testing.T) {
	eventually(t, "the events of the configuration, of the server and of the executor", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "auditevents.ops.srenix.io", "-l", audit.LabelType+"="+string(opsv1alpha1.AuditConfigurationChanged),
			"-o", `jsonpath={range .items[*]}{.spec.component}{"\n"}{end}`)
		return strings.Contains(have, "apiserver") && strings.Contains(have, audit.ComponentExecutor), kubectl(t, "get", "auditevents.ops.srenix.io")
	})
}

func TestApprovedFixesAreCarriedOutAndVerified(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	deletePod := stuckStatefulSet(t, ns, "db")
	restart := driftedDeployment(t, ns, "app", "tier: web")
	before := strings.TrimSpace(kubectl(t, "get", "pod", "db-0", "-n", ns, "-o", "jsonpath={.metadata.uid}"))

	carriedOut := map[string]*v1alpha1.Proposal{}
	for _, proposal := range []*v1alpha1.Proposal{deletePod, restart} {
		name := approve(t, alice, proposal)
		carriedOut[name] = proposal
		kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")
		approval := getApproval(t, ns, name)
		if approval.Status.Phase != opsv1alpha1.PhaseSucceeded || approval.Status.Approver != "alice" {
			t.Errorf("phase %q of approver %q, want Succeeded of alice", approval.Status.Phase, approval.Status.Approver)
		}
		if len(approval.Status.AuditEvents) == 0 || approval.Status.Execution == nil || approval.Status.Execution.Intent == "" {
			t.Errorf("the approval does not tell what was done: %+v", approval.Status)
		}
	}
	if after := strings.TrimSpace(kubectl(t, "get", "pod", "db-0", "-n", ns, "-o", "jsonpath={.metadata.uid}")); after == before {
		t.Error("db-0 is the same pod as before")
	}
	restartedAt := kubectl(t, "get", "deployment", "app", "-n", ns, "-o", `jsonpath={.spec.template.metadata.annotations.kubectl\.kubernetes\.io/restartedAt}`)
	if _, err := time.Parse(time.RFC3339, restartedAt); err != nil {
		t.Errorf("restartedAt: %v", err)
	}
	if left := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "name"); left != "" {
		t.Errorf("findings left: %s", left)
	}
	for name, proposal := range carriedOut {
		reportedOnBoth(t, ns, name, proposal)
	}
	if output := kubectl(t, "srenix", "audit", "verify"); !strings.Contains(output, "verified") {
		t.Errorf("audit verify: %s", output)
	}
	// What the components have logged themselves is the same chain.
	if output := kubectl(t, "srenix", "audit", "verify", "-f", srenix.APIServer.AuditFile, "-f", srenix.Executor.AuditFile); !strings.Contains(output, "verified") {
		t.Errorf("audit verify of the logs: %s", output)
	}
}

// reportedOnBoth waits for the executor's Events of an approval that was carried
// out and verified: on the Approval and on its target, by their UIDs.
func reportedOnBoth(t *testing.T, ns, name string, proposal *v1alpha1.Proposal) {
	t.Helper()
	target := proposal.Spec.Target
	want := map[string]bool{}
	for _, reason := range []string{string(proposal.Spec.ActionKind), string(opsv1alpha1.AuditVerified)} {
		want[fmt.Sprintf("Approval %s %s %s", name, getApproval(t, ns, name).UID, reason)] = true
		want[fmt.Sprintf("%s %s %s %s", target.Kind, target.Name, target.UID, reason)] = true
	}
	eventually(t, "Events on the Approval and on its target", func(ctx context.Context) (bool, string) {
		list, err := kubeClient(t).EventsV1().Events(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		missing := maps.Clone(want)
		for _, event := range list.Items {
			about := event.Regarding
			if event.ReportingController == "srenix-executor" && event.Type == "Normal" && event.Action == string(proposal.Spec.ActionKind) {
				delete(missing, fmt.Sprintf("%s %s %s %s", about.Kind, about.Name, about.UID, event.Reason))
			}
		}
		return len(missing) == 0, fmt.Sprintf("missing: %v", missing)
	})
}

func TestApprovalOfAChangedProposalIsAConflict(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	proposal := stuckStatefulSet(t, ns, "db")
	seen := "sha256:" + strings.Repeat("0", 64)
	_, err := post(t, alice, proposal, "token", tokenRequest(seen))
	wantStatus(t, err, 409, seen, proposal.Spec.Digest)
	minted := mint(t, alice, proposal)
	_, err = post(t, alice, proposal, "approve", approvalRequest(seen, minted.Token))
	wantStatus(t, err, 409, seen, proposal.Spec.Digest)
}

func TestApprovalOfAGoneProposalIsNotFound(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	proposal := stuckStatefulSet(t, ns, "db")
	minted := mint(t, alice, proposal)
	kubectl(t, "annotate", "pod", "db-0", "-n", ns, "controlplane.srenix.io/ready-")
	kubectl(t, "wait", "--for=delete", "proposal.srenix.io/"+proposal.Name, "-n", ns, "--timeout=30s")
	_, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, minted.Token))
	wantStatus(t, err, 404)
	_, err = post(t, alice, proposal, "token", tokenRequest(proposal.Spec.Digest))
	wantStatus(t, err, 404)
}

func TestTokensAreChecked(t *testing.T) {
	ns := namespace(t)
	alice, bob := approver(t, ns, "alice"), approver(t, ns, "bob")
	proposal := stuckStatefulSet(t, ns, "db")
	minted := mint(t, alice, proposal)

	t.Run("no token", func(t *testing.T) {
		_, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, ""))
		wantStatus(t, err, 422, "spec.token")
	})
	t.Run("somebody else's token", func(t *testing.T) {
		_, err := post(t, bob, proposal, "approve", approvalRequest(proposal.Spec.Digest, minted.Token))
		wantStatus(t, err, 403, "SignedToken", "alice", "bob")
	})
	t.Run("a token signed by nobody we know", func(t *testing.T) {
		parts := strings.Split(minted.Token, ".")
		forged := parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))
		_, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, forged))
		wantStatus(t, err, 403, "SignedToken")
	})
	t.Run("an expired token", func(t *testing.T) {
		expired, _ := signToken(t, proposal, "alice", time.Now().Add(-time.Hour))
		_, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, expired))
		wantStatus(t, err, 403, "SignedToken", "expired")
	})
	t.Run("a used token", func(t *testing.T) {
		if _, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, minted.Token)); err != nil {
			t.Fatal(err)
		}
		_, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, minted.Token))
		if !apierrors.IsForbidden(err) && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			t.Errorf("using a token twice: %v", err)
		}
	})
	t.Run("a used token whose Approval was deleted", func(t *testing.T) {
		kubectl(t, "wait", "--for=condition=Verified", "approval/"+minted.ApprovalName, "-n", ns, "--timeout=90s")
		stored := getApproval(t, ns, minted.ApprovalName)
		kubectl(t, "delete", "approval", minted.ApprovalName, "-n", ns)
		again := &opsv1alpha1.Approval{TypeMeta: stored.TypeMeta, ObjectMeta: metav1.ObjectMeta{Name: stored.Name, Namespace: ns}, Spec: stored.Spec}
		if err := opsClient(t).Create(t.Context(), again); !apierrors.IsForbidden(err) && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			t.Errorf("re-creating the Approval: %v", err)
		}
	})
}

func opsClient(t *testing.T) client.Client {
	t.Helper()
	scheme := clientScheme(t)
	c, err := client.New(adminConfig(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signToken signs a token of a quarter of an hour with the installation's own key,
// which nobody else has.
func signToken(t *testing.T, proposal *v1alpha1.Proposal, subject string, at time.Time) (signed string, claims *token.Claims) {
	t.Helper()
	then := testingclock.NewFakePassiveClock(at)
	keys, err := token.NewKeyStore(opsClient(t), harness.Namespace, then).Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cluster := strings.TrimSpace(kubectl(t, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"))
	signed, claims, err = token.NewSigner(keys, cluster, then).Mint(subject, token.Binding{
		Namespace: proposal.Namespace, Proposal: proposal.Name, ProposalUID: proposal.UID, Digest: proposal.Spec.Digest, Decision: v1alpha1.DecisionApprove,
		Tier: proposal.Spec.Tier, ActionKind: proposal.Spec.ActionKind, TargetUID: proposal.Spec.Target.UID,
		DiagnosticClass: proposal.Spec.DiagnosticClass,
	}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return signed, claims
}

func TestApprovingNeedsRights(t *testing.T) {
	ns := namespace(t)
	proposal := stuckStatefulSet(t, ns, "db")
	kubectl(t, "create", "rolebinding", "eve-views", "-n", ns, "--clusterrole=srenix-viewer", "--user=eve")
	eve := userKubeconfig(t, "eve")
	_, err := post(t, eve, proposal, "token", tokenRequest(proposal.Spec.Digest))
	wantStatus(t, err, 403, "eve", "token")
	_, err = post(t, eve, proposal, "approve", approvalRequest(proposal.Spec.Digest, "x"))
	wantStatus(t, err, 403, "eve", "approve")

	// May approve, and may not delete pods: srenix is nobody's deputy.
	kubectl(t, "create", "rolebinding", "frank-approves", "-n", ns, "--clusterrole=srenix-approver", "--user=frank")
	frank := userKubeconfig(t, "frank")
	_, err = post(t, frank, proposal, "approve", approvalRequest(proposal.Spec.Digest, mint(t, frank, proposal).Token))
	wantStatus(t, err, 403, "Access")
}

// TestASecondYesIsWarnedAbout while the first one waits for the executor.
func TestASecondYesIsWarnedAbout(t *testing.T) {
	ns := namespace(t)
	// People of their own, for the budget of an hour is shared by all tests.
	uma, val := approver(t, ns, "uma"), approver(t, ns, "val")
	proposal := stuckStatefulSet(t, ns, "db")
	if err := srenix.Executor.Pause(); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := errors.Join(srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume)
	first := approve(t, uma, proposal)
	kubectl(t, "wait", "--for=jsonpath={.status.phase}=Approved", "proposal.srenix.io/"+proposal.Name, "-n", ns, "--timeout=30s")
	stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), val, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes", "-o", "name")
	if err != nil || strings.Count(stderr, "Warning: it is approved already, by Approval "+first) != 1 {
		t.Errorf("a second yes, %v, is answered by\n%s", err, stderr)
	}
	resume()
	// The executor begins with either.
	phases := map[opsv1alpha1.ApprovalPhase]int{}
	for _, name := range []string{first, strings.TrimPrefix(strings.TrimSpace(stdout), "approval.ops.srenix.io/")} {
		phases[waitPhase(t, ns, name, opsv1alpha1.PhaseSucceeded, opsv1alpha1.PhaseSuperseded).Status.Phase]++
	}
	if phases[opsv1alpha1.PhaseSucceeded] != 1 {
		t.Errorf("they ended as %v, want one that succeeded", phases)
	}
	if done := auditedOf(t, opsv1alpha1.AuditActionDone, string(proposal.UID)); len(done) != 1 {
		t.Errorf("the chain has the actions %v, want one", done)
	}
}

func TestRefusalsNameTheirLayer(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	managed := driftedDeployment(t, ns, "managed", "kustomize.toolkit.fluxcd.io/name: apps")
	if managed.Status.Phase != v1alpha1.ProposalBlocked || len(managed.Status.Verdicts) != 8 {
		t.Errorf("phase %q with %d verdicts, want Blocked with 8", managed.Status.Phase, len(managed.Status.Verdicts))
	}
	output := kubectlFails(t, alice, "create", "approval", "--proposal", managed.Name, "-n", ns, "--yes")
	if !strings.Contains(output, "GitOpsManaged") || !strings.Contains(output, "kustomize.toolkit.fluxcd.io/name") {
		t.Errorf("the refusal does not name layer and marker:\n%s", output)
	}

	proposal := stuckStatefulSet(t, ns, "db")
	kubectl(t, "label", "namespace", ns, "srenix.io/protected=true")
	kubectl(t, "wait", "--for=condition=Approvable=false", "proposal.srenix.io/"+proposal.Name, "-n", ns, "--timeout=30s")
	output = kubectlFails(t, alice, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes")
	if !strings.Contains(output, "NamespaceProtection") {
		t.Errorf("the refusal does not name its layer:\n%s", output)
	}
}

func TestADenialHoldsUntilTheDigestChanges(t *testing.T) {
	ns := namespace(t)
	alice, bob := approver(t, ns, "alice"), approver(t, ns, "bob")
	proposal := stuckStatefulSet(t, ns, "db")
	stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), bob, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--deny", "--yes", "--reason", "leave it", "-o", "name")
	if err != nil {
		t.Fatalf("denying: %v\n%s%s", err, stdout, stderr)
	}
	denial := strings.TrimPrefix(strings.TrimSpace(stdout), "approval.ops.srenix.io/")
	waitPhase(t, ns, denial, opsv1alpha1.PhaseDenied)
	kubectl(t, "wait", "--for=jsonpath={.status.phase}=Denied", "proposal.srenix.io/"+proposal.Name, "-n", ns, "--timeout=30s")
	if output := kubectlFails(t, alice, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes"); !strings.Contains(output, "DualApproval") || !strings.Contains(output, "bob") {
		t.Errorf("approving what bob denied:\n%s", output)
	}
	// Deleting the record does not take it back, nor make it look so.
	kubectl(t, "delete", "approval", denial, "-n", ns)
	if output := kubectlFails(t, alice, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes"); !strings.Contains(output, "DualApproval") || !strings.Contains(output, "bob") {
		t.Errorf("approving what bob denied, after the denial was deleted:\n%s", output)
	}
	if phase := kubectl(t, "get", "proposal.srenix.io", proposal.Name, "-n", ns, "-o", "jsonpath={.status.phase} {.status.approvals[0].approver}"); phase != "Denied bob" {
		t.Errorf("after the denial was deleted the proposal says %q", phase)
	}
}

func TestDryRunsStoreNothing(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	proposal := stuckStatefulSet(t, ns, "db")
	if _, _, err := srenix.Plane.KubectlAs(t.Context(), alice, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes", "--dry-run=server"); err != nil {
		t.Fatal(err)
	}
	if stored := kubectl(t, "get", "approvals", "-n", ns, "-o", "name"); stored != "" {
		t.Errorf("a server dry run stored %s", stored)
	}
	about := func() string {
		return kubectl(t, "get", "auditevents", "-l", audit.LabelProposalUID+"="+string(proposal.UID), "-o", "name")
	}
	if recorded := about(); recorded != "" {
		t.Errorf("a server dry run recorded %s", recorded)
	}
	rehearsed := mint(t, alice, proposal, "dryRun", "All")
	_, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, rehearsed.Token))
	wantStatus(t, err, 403, "for a dry run")
	if recorded := about(); recorded != "" {
		t.Errorf("trying to decide with a token for dry runs recorded %s", recorded)
	}

	manifest, _, err := srenix.Plane.KubectlAs(t.Context(), alice, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes", "--dry-run=client", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	if stored := kubectl(t, "get", "approvals", "-n", ns, "-o", "name"); stored != "" {
		t.Errorf("a client dry run stored %s", stored)
	}
	// What Argo CD or Flux would do with the manifest, again and again.
	apply(t, manifest)
	apply(t, manifest)
	name := strings.TrimPrefix(strings.TrimSpace(kubectl(t, "get", "approvals", "-n", ns, "-o", "name")), "approval.ops.srenix.io/")
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")
	apply(t, manifest)
	if approver := getApproval(t, ns, name).Status.Approver; approver != "alice" {
		t.Errorf("the approver is %q, want the token's subject alice", approver)
	}
}

func TestBadBodiesGetClearErrors(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	proposal := stuckStatefulSet(t, ns, "db")
	good, err := json.Marshal(tokenRequest(proposal.Spec.Digest))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, subresource, body string
		code                    int
		words                   []string
	}{
		{"unknown field", "token", strings.Replace(string(good), `"spec":{`, `"spec":{"color":"red",`, 1), 400, []string{"color"}},
		{"unknown field in an approval", "approve", fmt.Sprintf(`{"apiVersion":"srenix.io/v1alpha1","kind":"ProposalApproval","spec":{"digest":%q,"token":"x","force":true}}`, proposal.Spec.Digest), 400, []string{"force"}},
		{"wrong kind", "token", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}`, 400, []string{"Pod"}},
		{"another kind of the group", "approve", string(good), 400, []string{"ProposalApproval"}},
		{"wrong type", "token", `{"apiVersion":"srenix.io/v1alpha1","kind":"ProposalTokenRequest","spec":{"digest":7}}`, 400, []string{"digest"}},
		{"not JSON", "token", `{"spec":`, 400, nil},
		{"no digest", "token", `{"apiVersion":"srenix.io/v1alpha1","kind":"ProposalTokenRequest","spec":{}}`, 422, []string{"spec.digest"}},
		{"too long a lifetime", "token", strings.Replace(string(good), `"spec":{`, `"spec":{"expirationSeconds":86401,`, 1), 422, []string{"86400"}},
		{"negative lifetime", "token", strings.Replace(string(good), `"spec":{`, `"spec":{"expirationSeconds":-9223372036854775808,`, 1), 422, []string{"expirationSeconds"}},
		{"unknown decision", "approve", fmt.Sprintf(`{"apiVersion":"srenix.io/v1alpha1","kind":"ProposalApproval","spec":{"digest":%q,"token":"x","decision":"Maybe"}}`, proposal.Spec.Digest), 422, []string{"Maybe", "Approve"}},
		{"a snapshot of one's own", "approve", fmt.Sprintf(`{"apiVersion":"srenix.io/v1alpha1","kind":"ProposalApproval","spec":{"digest":%q,"token":"x","proposalUID":"1"}}`, proposal.Spec.Digest), 422, []string{"filled in by the server"}},
		{"oversized", "approve", fmt.Sprintf(`{"apiVersion":"srenix.io/v1alpha1","kind":"ProposalApproval","spec":{"digest":%q,"token":%q}}`, proposal.Spec.Digest, strings.Repeat("x", 4<<20)), 413, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := post(t, alice, proposal, test.subresource, test.body)
			wantStatus(t, err, test.code, test.words...)
		})
	}
}
