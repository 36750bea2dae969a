// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/token"
)

// One function for each thing that an attacker tries. Two more have files of their
// own: the webhook configuration is deleted (webhook_deleted_test.go), and the
// executor's credentials are used by hand (leash_test.go).

// manifest is the Approval that the plugin prints for Git.
func manifest(t *testing.T, kubeconfig string, proposal *v1alpha1.Proposal) *opsv1alpha1.Approval {
	t.Helper()
	stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), kubeconfig, "create", "approval", "--proposal", proposal.Name, "-n", proposal.Namespace, "--yes", "--dry-run=client", "-o", "yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	approval := &opsv1alpha1.Approval{}
	if err := yaml.Unmarshal([]byte(stdout), approval); err != nil {
		t.Fatal(err)
	}
	return approval
}

// podUID is what an attack on a pod would change.
func podUID(t *testing.T, namespace, name string) string {
	t.Helper()
	return kubectl(t, "get", "pod", name, "-n", namespace, "-o", "jsonpath={.metadata.uid}")
}

// refused fails the test unless storing an Approval is refused with these words,
// of which there is one at least: any error could be another one than is meant.
func refused(t *testing.T, approval *opsv1alpha1.Approval, words ...string) {
	t.Helper()
	if len(words) == 0 {
		t.Fatal("nothing is said of what it should be refused for")
	}
	approval = approval.DeepCopy()
	approval.ResourceVersion = ""
	err := opsClient(t).Create(t.Context(), approval)
	if err == nil {
		t.Fatal("it was stored")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the refusal does not contain %q: %v", word, err)
		}
	}
}

// untouched fails the test if a pod is another one than the proposal was for.
func untouched(t *testing.T, proposal *v1alpha1.Proposal) {
	t.Helper()
	target := proposal.Spec.Target
	if uid := podUID(t, target.Namespace, target.Name); uid != string(target.UID) {
		t.Errorf("pod %s has UID %s, and had %s", target.Name, uid, target.UID)
	}
}

func TestAttackForgedToken(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := stuckStatefulSet(t, ns, "db")
	minted := mint(t, anna, proposal)
	var claims jwt.MapClaims
	parsed, _, err := jwt.NewParser().ParseUnverified(minted.Token, &claims)
	if err != nil {
		t.Fatal(err)
	}
	claims["jti"] = strings.Repeat("0a", 16) // one that was not used before
	_, attacker, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public := attacker.Public().(ed25519.PublicKey)
	sign := func(method jwt.SigningMethod, kid any, key any) string {
		forged := jwt.NewWithClaims(method, claims)
		forged.Header["kid"] = kid
		signed, err := forged.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for name, forged := range map[string]string{
		"signed by another key under our key's name": sign(jwt.SigningMethodEdDSA, parsed.Header["kid"], attacker),
		"signed by another key under its own name":   sign(jwt.SigningMethodEdDSA, token.KeyID(public), attacker),
		"not signed at all":                          sign(jwt.SigningMethodNone, parsed.Header["kid"], jwt.UnsafeAllowNoneSignatureType),
		"signed with the public key as a secret":     sign(jwt.SigningMethodHS256, parsed.Header["kid"], []byte(public)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := post(t, anna, proposal, "approve", approvalRequest(proposal.Spec.Digest, forged))
			wantStatus(t, err, 403, "SignedToken")
			approval := manifest(t, anna, proposal)
			approval.Name, approval.Spec.Token = token.ApprovalName(strings.Repeat("0a", 16)), forged
			refused(t, approval, "SignedToken")
		})
	}
	untouched(t, proposal)
}

func TestAttackReplayedTokenAtTwoReplicasAtOnce(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := stuckStatefulSet(t, ns, "db")
	direct := startReplica(t, "srenix-apiserver-replay")
	minted := mint(t, anna, proposal)
	body, err := json.Marshal(approvalRequest(proposal.Spec.Digest, minted.Token))
	if err != nil {
		t.Fatal(err)
	}
	second := direct(anna)
	eventually(t, "the second replica to have the proposal", func(ctx context.Context) (bool, string) {
		_, err := dynamicClient(t, second).Resource(v1alpha1.SchemeGroupVersion.WithResource("proposals")).Namespace(ns).Get(ctx, proposal.Name, metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	var clients []rest.Interface
	for _, config := range []*rest.Config{restConfig(t, anna), second} {
		config.GroupVersion = &corev1.SchemeGroupVersion
		config.NegotiatedSerializer = clientgoscheme.Codecs.WithoutConversion()
		client, err := rest.RESTClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	const each = 4
	accepted := make([]error, 2*each)
	var posting sync.WaitGroup
	for i := range accepted {
		posting.Go(func() {
			accepted[i] = clients[i%2].Post().AbsPath("/apis/srenix.io/v1alpha1/namespaces", ns, "proposals", proposal.Name, "approve").
				SetHeader("Content-Type", "application/json").Body(body).Do(context.Background()).Error()
		})
	}
	posting.Wait()
	successes := 0
	for _, err := range accepted {
		if err == nil {
			successes++
		}
	}
	if successes != 1 {
		t.Errorf("the token was taken %d times: %v", successes, errors.Join(accepted...))
	}
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+minted.ApprovalName, "-n", ns, "--timeout=90s")
	done := strings.Fields(kubectl(t, "get", "auditevents", "-l", "ops.srenix.io/type=ActionDone,ops.srenix.io/proposal-uid="+string(proposal.UID), "-o", "name"))
	if len(done) != 1 {
		t.Errorf("the chain has %d actions, want one", len(done))
	}
}

func TestAttackPatchSwappedAfterSigning(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := driftedDeployment(t, ns, "app", "tier: web")
	for name, swap := range map[string]func(*opsv1alpha1.Approval){
		"another annotation": func(a *opsv1alpha1.Approval) { a.Spec.Snapshot.Patch.SetAnnotation.Name = "evil" },
		"a JSON patch beside": func(a *opsv1alpha1.Approval) {
			a.Spec.Snapshot.Patch.JSONPatch = []v1alpha1.JSONPatchOperation{{Op: "replace", Path: "/spec/replicas", Value: "0"}}
		},
		"another decision": func(a *opsv1alpha1.Approval) { a.Spec.Decision = v1alpha1.DecisionDeny },
		"another action":   func(a *opsv1alpha1.Approval) { a.Spec.Snapshot.ActionKind = v1alpha1.ActionDeletePod },
		"another target":   func(a *opsv1alpha1.Approval) { a.Spec.Snapshot.Target.Name = "other" },
		"another UID":      func(a *opsv1alpha1.Approval) { a.Spec.Snapshot.Target.UID = "other" },
		"another proposal": func(a *opsv1alpha1.Approval) { a.Spec.Proposal.Name = "other" },
		"another digest": func(a *opsv1alpha1.Approval) {
			a.Spec.Snapshot.Digest = "sha256:" + strings.Repeat("0", 64)
			a.Spec.Proposal.Digest = a.Spec.Snapshot.Digest
		},
		"a later tier": func(a *opsv1alpha1.Approval) { a.Spec.Snapshot.Tier = v1alpha1.TierRunbook },
	} {
		t.Run(name, func(t *testing.T) {
			approval := manifest(t, anna, proposal)
			swap(approval)
			refused(t, approval, "SignedToken")
		})
	}
	t.Run("after it was accepted", func(t *testing.T) {
		approval := manifest(t, anna, proposal)
		approval.Spec.Decision = v1alpha1.DecisionApprove
		c := opsClient(t)
		if err := c.Create(t.Context(), approval); err != nil {
			t.Fatal(err)
		}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"snapshot":{"target":{"name":"other"}}}}`))
		if err := c.Patch(t.Context(), approval.DeepCopy(), patch); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "an approval cannot be changed") {
			t.Errorf("changing a stored Approval answers %v, want that an approval cannot be changed", err)
		}
		waitPhase(t, ns, approval.Name, opsv1alpha1.PhaseSucceeded)
	})
	if annotations := kubectl(t, "get", "deployment", "app", "-n", ns, "-o", "jsonpath={.spec.template.metadata.annotations} {.spec.replicas}"); strings.Contains(annotations, "evil") || !strings.HasSuffix(annotations, " 2") {
		t.Errorf("the Deployment was changed: %s", annotations)
	}
}

func TestAttackTargetRecreatedUnderTheSameName(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := stuckStatefulSet(t, ns, "db")
	approval := manifest(t, anna, proposal)
	kubectl(t, "delete", "pod", "db-0", "-n", ns)
	kubectl(t, "rollout", "status", "statefulset/db", "-n", ns, "--timeout=30s")
	fresh := podUID(t, ns, "db-0")
	kubectl(t, "annotate", "pod", "db-0", "-n", ns, "controlplane.srenix.io/ready=false", "--overwrite")
	again := proposalFor(t, ns, "db-0")
	if again.Spec.Digest == proposal.Spec.Digest {
		t.Fatal("the new pod has the old pod's digest")
	}
	refused(t, approval, "SignedToken", "TargetScope", string(proposal.Spec.Target.UID))
	_, err := post(t, anna, again, "approve", approvalRequest(again.Spec.Digest, approval.Spec.Token))
	wantStatus(t, err, 403, "SignedToken")
	if uid := podUID(t, ns, "db-0"); uid != fresh {
		t.Error("the new pod was deleted with the approval of the old one")
	}
}

// TestAttackApprovalWrittenDirectly is by somebody who may write Approvals, as a
// GitOps controller may, and whom nobody gave a token.
func TestAttackApprovalWrittenDirectly(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := stuckStatefulSet(t, ns, "db")
	good := manifest(t, anna, proposal)
	for name, test := range map[string]struct {
		change func(*opsv1alpha1.Approval)
		words  string
	}{
		"no token":          {func(a *opsv1alpha1.Approval) { a.Spec.Token = "" }, "spec.token"},
		"words for a token": {func(a *opsv1alpha1.Approval) { a.Spec.Token = "yes" }, "SignedToken"},
		"another name":      {func(a *opsv1alpha1.Approval) { a.Name = "approval-mine" }, "SignedToken"},
		"a generated name":  {func(a *opsv1alpha1.Approval) { a.Name, a.GenerateName = "", "approval-" }, "SignedToken"},
		"a good token of somebody without rights": {func(a *opsv1alpha1.Approval) {
			signed, claims := signToken(t, proposal, "bob", time.Now())
			a.Name, a.Spec.Token = token.ApprovalName(claims.ID), signed
		}, "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			approval := good.DeepCopy()
			test.change(approval)
			refused(t, approval, test.words)
		})
	}
	t.Run("with a status of its own", func(t *testing.T) {
		approval := good.DeepCopy()
		approval.Status = opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhaseSucceeded, Approver: "root"}
		if err := opsClient(t).Create(t.Context(), approval); err != nil {
			t.Fatal(err)
		}
		stored := waitPhase(t, ns, approval.Name, opsv1alpha1.PhaseSucceeded)
		if stored.Status.Approver != "anna" || stored.Status.Execution == nil {
			t.Errorf("the status was taken over: %+v", stored.Status)
		}
	})
}

func TestAttackApproverWithoutRightsOnTheTarget(t *testing.T) {
	ns := namespace(t)
	proposal := stuckStatefulSet(t, ns, "db")
	kubectl(t, "create", "rolebinding", "mallory-approves", "-n", ns, "--clusterrole=srenix-approver", "--user=mallory")
	mallory := userKubeconfig(t, "mallory")
	if output := kubectlFails(t, mallory, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes"); !strings.Contains(output, "delete") || !strings.Contains(output, "mallory") {
		t.Errorf("the refusal does not say what is missing:\n%s", output)
	}
	// Rights that were there when it was approved, and are gone when it is carried out.
	if err := srenix.Executor.Pause(); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := errors.Join(srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume)
	kubectl(t, "create", "role", "mallory-acts", "-n", ns, "--verb=get,delete", "--resource=pods")
	kubectl(t, "create", "rolebinding", "mallory-acts", "-n", ns, "--role=mallory-acts", "--user=mallory")
	var name string
	eventually(t, "the approval to be accepted", func(context.Context) (bool, string) {
		stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), mallory, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes", "-o", "name")
		name = strings.TrimPrefix(strings.TrimSpace(stdout), "approval.ops.srenix.io/")
		return err == nil, stderr
	})
	kubectl(t, "delete", "rolebinding", "mallory-acts", "-n", ns)
	resume()
	if approval := waitPhase(t, ns, name, opsv1alpha1.PhaseDenied, opsv1alpha1.PhaseSucceeded, opsv1alpha1.PhaseFailed); approval.Status.Phase != opsv1alpha1.PhaseDenied {
		t.Errorf("carried out for somebody who lost the right to it: %+v", approval.Status)
	}
	untouched(t, proposal)
}

// TestAttackTokenOfSomebodyWhoMayNotDecideAnyMore has manifests of a yes and a no applied
// by somebody else, after the right to decide was taken from who made them.
func TestAttackTokenOfSomebodyWhoMayNotDecideAnyMore(t *testing.T) {
	ns := namespace(t)
	nora := approver(t, ns, "nora")
	proposal := stuckStatefulSet(t, ns, "db")
	var manifests []string
	for _, more := range [][]string{nil, {"--deny"}} {
		arguments := append([]string{"create", "approval", "--proposal", proposal.Name, "-n", ns, "--yes", "--dry-run=client", "-o", "yaml"}, more...)
		manifest, stderr, err := srenix.Plane.KubectlAs(t.Context(), nora, arguments...)
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		manifests = append(manifests, manifest)
	}
	kubectl(t, "delete", "rolebinding", "nora-approves", "-n", ns)
	for _, manifest := range manifests {
		eventually(t, "it to be refused for want of the right to decide", func(context.Context) (bool, string) {
			command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), "apply", "-f", "-")
			command.Stdin = strings.NewReader(manifest)
			output, err := command.CombinedOutput()
			if err == nil {
				t.Fatalf("it was stored: %s\n%s", output, manifest)
			}
			return strings.Contains(string(output), "nora may not create proposals/approve.srenix.io"), string(output)
		})
	}
	untouched(t, proposal)
}

// TestAttackAnInvestigationWrittenByATeam has every verb on Investigations in one
// namespace, as its administrators often do.
func TestAttackAnInvestigationWrittenByATeam(t *testing.T) {
	ns := namespace(t)
	kubectl(t, "create", "role", "team", "-n", ns, "--verb=*", "--resource=investigations.ops.srenix.io,investigations.ops.srenix.io/status")
	kubectl(t, "create", "rolebinding", "team", "-n", ns, "--role=team", "--user=mallory")
	mallory := userKubeconfig(t, "mallory")
	as := func(input string, arguments ...string) (string, error) {
		command := srenix.Plane.KubectlCommand(t.Context(), mallory, append(arguments, "-n", ns)...)
		command.Stdin = strings.NewReader(input)
		output, err := command.CombinedOutput()
		return string(output), err
	}
	const own = `{"apiVersion": "ops.srenix.io/v1alpha1", "kind": "Investigation", "metadata": {"name": "forged"}, "spec": {"finding": {"name": "f", "uid": "u"}%s}}`
	const asked = `"requests": [{"by": "anna", "at": "2126-01-01T00:00:00.000000Z"}]`
	if output, err := as(fmt.Sprintf(own, ", "+asked), "create", "-f", "-"); err == nil || !strings.Contains(output, "who asked for an Investigation is written by srenix's server") {
		t.Errorf("creating one with a request answers %s", output)
	}
	if output, err := as(fmt.Sprintf(own, ""), "create", "-f", "-"); err != nil {
		t.Fatalf("creating one without is refused: %s", output)
	}
	if output, err := as("", "patch", "investigation", "forged", "--type=merge", "-p", `{"spec": {`+asked+`}}`); err == nil || !strings.Contains(output, "srenix-investigations") {
		t.Errorf("adding a request answers %s", output)
	}
	if output, err := as("", "label", "investigation", "forged", "srenix.io/analyzer=CrashLoop"); err == nil || !strings.Contains(output, "the label srenix.io/analyzer of an Investigation is written by srenix") {
		t.Errorf("labeling it answers %s", output)
	}
	const call = `{"status": {"calls": [{"id": "00000000-0000-4000-8000-000000000001", "by": "alice", "at": "2026-03-01T12:00:00Z", "model": "m", "prompt": "narrate/1",
		"promptHash": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "promptTokens": 1, "answerTokens": 1, "attempts": 1, "outcome": "OK"}]}}`
	for who, patch := range map[string]func(...string) (string, error){
		"the team": func(arguments ...string) (string, error) { return as("", arguments...) },
		"an administrator": func(arguments ...string) (string, error) {
			stdout, stderr, err := srenix.Plane.Kubectl(t.Context(), append(arguments, "-n", ns)...)
			return stdout + stderr, err
		},
	} {
		if output, err := patch("patch", "investigation", "forged", "--subresource=status", "--type=merge", "-p", call); err == nil || !strings.Contains(output, "what a model was asked is written by srenix's advisor") {
			t.Errorf("noting a call by %s answers %s", who, output)
		}
	}
	if called := kubectl(t, "get", "auditevents", "-l", audit.LabelType+"="+string(opsv1alpha1.AuditModelCalled), "-o", "name"); called != "" {
		t.Errorf("in the audit chain is %s", called)
	}
}

// TestAttackAnotherVerbThanPOST has a token in the address and in the body, and
// asks with every verb that a browser, a chat client or a proxy may choose.
func TestAttackAnotherVerbThanPOST(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := stuckStatefulSet(t, ns, "db")
	minted := mint(t, anna, proposal)
	recorded := func() string {
		return kubectl(t, "get", "auditevents", "-o", aboutProposal(proposal))
	}
	before := recorded()
	kube, err := kubernetes.NewForConfig(restConfig(t, anna))
	if err != nil {
		t.Fatal(err)
	}
	admin := kubeClient(t)
	for _, subresource := range []string{"token", "approve"} {
		for _, verb := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"} {
			for who, c := range map[string]kubernetes.Interface{"the approver": kube, "an admin": admin} {
				err := c.CoreV1().RESTClient().Verb(verb).
					AbsPath("/apis/srenix.io/v1alpha1/namespaces", ns, "proposals", proposal.Name, subresource).
					Param("token", minted.Token).SetHeader("Content-Type", "application/json").
					Body([]byte(fmt.Sprintf(`{"spec":{"digest":%q,"token":%q}}`, proposal.Spec.Digest, minted.Token))).
					Do(t.Context()).Error()
				// Whom RBAC lets do nothing but POST is refused before the verb is looked at.
				refused := apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || who != "an admin" && apierrors.IsForbidden(err)
				if !refused {
					t.Errorf("%s of %s by %s should be answered with 404 or 405: %v", verb, subresource, who, err)
				}
			}
		}
	}
	if after := recorded(); after != before {
		t.Error("something was recorded")
	}
	if left := kubectl(t, "get", "approvals", "-n", ns, "-o", "name"); left != "" {
		t.Errorf("stored: %s", left)
	}
	untouched(t, proposal)
}

// TestAttackNoTurnedIntoYes changes the decision of a denial on its way through Git.
func TestAttackNoTurnedIntoYes(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := stuckStatefulSet(t, ns, "db")
	stdout, stderr, err := srenix.Plane.KubectlAs(t.Context(), anna, "create", "approval", "--proposal", proposal.Name, "-n", ns, "--deny", "--yes", "--dry-run=client", "-o", "yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	denial := &opsv1alpha1.Approval{}
	if err := yaml.Unmarshal([]byte(stdout), denial); err != nil {
		t.Fatal(err)
	}
	yes := denial.DeepCopy()
	yes.Spec.Decision = v1alpha1.DecisionApprove
	refused(t, yes, "SignedToken", "decision")
	untouched(t, proposal)
	// As it was meant, it counts.
	if err := opsClient(t).Create(t.Context(), denial); err != nil {
		t.Fatal(err)
	}
	waitPhase(t, ns, denial.Name, opsv1alpha1.PhaseDenied)
}

// TestAttackTokenStretched extends a token's life by changing what is signed.
func TestAttackTokenStretched(t *testing.T) {
	ns := namespace(t)
	anna := approver(t, ns, "anna")
	proposal := stuckStatefulSet(t, ns, "db")
	minted := mint(t, anna, proposal)
	parts := strings.Split(minted.Token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	claims["exp"] = time.Now().Add(20 * time.Hour).Unix()
	stretched, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(stretched)
	_, err = post(t, anna, proposal, "approve", approvalRequest(proposal.Spec.Digest, strings.Join(parts, ".")))
	wantStatus(t, err, 403, "SignedToken")
	// And asks for more than there is.
	_, err = post(t, anna, proposal, "token", v1alpha1.ProposalTokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "ProposalTokenRequest"},
		Spec:     v1alpha1.TokenRequestSpec{Digest: proposal.Spec.Digest, ExpirationSeconds: new(int64(1 << 40))},
	})
	wantStatus(t, err, 422, "expirationSeconds")
	untouched(t, proposal)
}
