// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	pod     = "delete-orders-db-0"
	podPath = basePath + "/" + pod
)

var (
	getRequest      = "GET " + podPath
	listRequest     = "GET " + storedPath + "?limit=500"
	tokenRequest    = "POST " + podPath + "/token?fieldValidation=Strict"
	dryTokenRequest = "POST " + podPath + "/token?dryRun=All&fieldValidation=Strict"
	approveRequest  = "POST " + podPath + "/approve?fieldValidation=Strict"
	dryRunRequest   = "POST " + podPath + "/approve?dryRun=All&fieldValidation=Strict"
)

func TestDeciding(t *testing.T) {
	created := "approval.ops.srenix.io/" + testApproval + " created"
	for name, test := range map[string]struct {
		arguments []string
		typed     *terminal
		requests  []string
		code      int
		stdout    string
		stderr    []string
		decision  v1alpha1.Decision
		lifetime  int64
	}{
		"yes on a terminal": {
			arguments: []string{"--proposal", pod}, typed: types("y\n"),
			requests: []string{getRequest, listRequest, tokenRequest, approveRequest},
			stdout:   created + "\n",
			stderr: []string{"Approve? [y/N] ", "Change:\n  --- pod/orders-db-0\n",
				"kubectl wait --for=jsonpath='{.status.completedAt}' approval/" + testApproval + " -n shop --timeout=26m; kubectl get approval/" + testApproval + " -n shop\n"},
			decision: v1alpha1.DecisionApprove, lifetime: 900,
		},
		"YES on a terminal, by argument": {
			arguments: []string{pod}, typed: types(" YES \n"),
			requests: []string{getRequest, listRequest, tokenRequest, approveRequest},
			stdout:   created + "\n", decision: v1alpha1.DecisionApprove, lifetime: 900,
		},
		"yes without a line break": {
			arguments: []string{pod}, typed: types("yes"),
			requests: []string{getRequest, listRequest, tokenRequest, approveRequest},
			stdout:   created + "\n", decision: v1alpha1.DecisionApprove, lifetime: 900,
		},
		"no on a terminal": {
			arguments: []string{"--proposal", pod}, typed: types("n\n"), requests: []string{getRequest, listRequest}, code: 1,
			stderr: []string{"error: nothing was decided, because the answer was not yes\n"},
		},
		"an empty answer": {
			arguments: []string{"--proposal", pod}, typed: types("\n"), requests: []string{getRequest, listRequest}, code: 1,
			stderr: []string{"nothing was decided"},
		},
		"the end of the terminal": {
			arguments: []string{"--proposal", pod}, typed: types(""), requests: []string{getRequest, listRequest}, code: 1,
			stderr: []string{"Approve? [y/N] \nerror: nothing was decided"},
		},
		"no terminal and no --yes": {
			arguments: []string{"--proposal", pod}, requests: []string{getRequest, listRequest}, code: 1,
			stderr: []string{"error: there is no terminal to ask on, so nothing was decided\nDecide with --yes"},
		},
		"--yes without a terminal": {
			arguments: []string{"--proposal", "proposal/" + pod, "--yes", "--token-lifetime", "5m"},
			requests:  []string{getRequest, listRequest, tokenRequest, approveRequest},
			stdout:    created + "\n", stderr: []string{" --timeout=16m; "}, decision: v1alpha1.DecisionApprove, lifetime: 300,
		},
		"a denial": {
			arguments: []string{"prop/" + pod, "--deny"}, typed: types("y\n"),
			requests: []string{getRequest, listRequest, tokenRequest, approveRequest},
			stdout:   created + "\n", stderr: []string{"Nobody can take a denial back.", "Deny? [y/N] ", "kubectl get approval/" + testApproval + " -n shop\n"},
			decision: v1alpha1.DecisionDeny, lifetime: 900,
		},
		"only the name": {
			arguments: []string{"--proposal", pod, "--yes", "-o", "name"},
			requests:  []string{getRequest, listRequest, tokenRequest, approveRequest},
			stdout:    "approval.ops.srenix.io/" + testApproval + "\n", decision: v1alpha1.DecisionApprove, lifetime: 900,
		},
		"a dry run on the server asks nobody, and has a token for dry runs": {
			arguments: []string{"--proposal", pod, "--dry-run=server", "--token-lifetime=1h"},
			requests:  []string{getRequest, listRequest, dryTokenRequest, dryRunRequest},
			stdout:    created + " (server dry run)\n", decision: v1alpha1.DecisionApprove, lifetime: 3600,
		},
		"a dry run on the client sends no decision": {
			arguments: []string{"--proposal", pod, "--dry-run=client"}, requests: []string{getRequest, listRequest},
			stdout: "proposal.srenix.io/" + pod + " is left as it is: an approval would be sent (client dry run)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, pod)
			have := run(t, s, test.typed, append(test.arguments, "--reason", "looks right")...)
			if have.Code != test.code {
				t.Errorf("exit code %d, want %d; %s", have.Code, test.code, have.Stderr)
			}
			if diff := cmp.Diff(test.stdout, have.Stdout); diff != "" {
				t.Errorf("standard output (-want +have)\n%s", diff)
			}
			contains(t, "standard error", have.Stderr, test.stderr...)
			if diff := cmp.Diff(test.requests, s.requests); diff != "" {
				t.Errorf("requests (-want +have)\n%s", diff)
			}
			if strings.Contains(have.Stdout+have.Stderr, testToken) {
				t.Error("the token was printed")
			}
			var tokens []v1alpha1.TokenRequestSpec
			var decisions []v1alpha1.ProposalApprovalSpec
			seen := s.proposals[0].Spec.Digest
			if test.decision != "" {
				tokens = append(tokens, v1alpha1.TokenRequestSpec{Digest: seen, Decision: test.decision, Reason: "looks right", ExpirationSeconds: ptr.To(test.lifetime)})
				decisions = append(decisions, v1alpha1.ProposalApprovalSpec{Decision: test.decision, Digest: seen, Token: testToken, Reason: "looks right"})
			}
			if diff := cmp.Diff(tokens, tokenSpecs(s)); diff != "" {
				t.Errorf("token requests (-want +have)\n%s", diff)
			}
			if diff := cmp.Diff(decisions, decisionSpecs(s)); diff != "" {
				t.Errorf("decisions (-want +have)\n%s", diff)
			}
		})
	}
}

func tokenSpecs(s *server) (specs []v1alpha1.TokenRequestSpec) {
	for _, request := range s.tokens {
		specs = append(specs, request.Spec)
	}
	return specs
}

func decisionSpecs(s *server) (specs []v1alpha1.ProposalApprovalSpec) {
	for _, decision := range s.decisions {
		specs = append(specs, decision.Spec)
	}
	return specs
}

func TestManifestIsACompleteApproval(t *testing.T) {
	for name, test := range map[string]struct {
		output   string
		decode   func([]byte, any) error
		deny     bool
		decision v1alpha1.Decision
	}{
		"yaml":      {output: "yaml", decision: v1alpha1.DecisionApprove, decode: func(data []byte, into any) error { return yaml.UnmarshalStrict(data, into) }},
		"json":      {output: "json", decision: v1alpha1.DecisionApprove, decode: json.Unmarshal},
		"as denial": {output: "json", decision: v1alpha1.DecisionDeny, deny: true, decode: json.Unmarshal},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, pod)
			arguments := []string{"--proposal", pod, "--dry-run=client", "-o", test.output, "--reason", "reviewed"}
			if test.deny {
				arguments = append(arguments, "--deny")
			}
			have := run(t, s, nil, arguments...)
			if have.Code != 0 {
				t.Fatalf("exit code %d: %s", have.Code, have.Stderr)
			}
			approval := &opsv1alpha1.Approval{}
			if err := test.decode([]byte(have.Stdout), approval); err != nil {
				t.Fatalf("decoding what was printed: %v\n%s", err, have.Stdout)
			}
			want := &opsv1alpha1.Approval{}
			want.APIVersion, want.Kind = "ops.srenix.io/v1alpha1", "Approval"
			want.Name, want.Namespace = testApproval, "shop"
			proposal := readProposal(t, pod)
			want.Spec = opsv1alpha1.ApprovalSpec{
				Decision: test.decision, Token: testToken, Reason: "reviewed", Snapshot: proposal.Spec,
				Proposal: opsv1alpha1.ProposalReference{Name: pod, UID: proposal.UID, Digest: proposal.Spec.Digest},
			}
			if diff := cmp.Diff(want, approval); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
			for _, unwanted := range []string{"status", "creationTimestamp", "#", "null"} {
				if strings.Contains(have.Stdout, unwanted) {
					t.Errorf("the manifest has %q:\n%s", unwanted, have.Stdout)
				}
			}
			contains(t, "standard error", have.Stderr, "Warning: the manifest holds a token", "valid until "+testExpiry, testApproval)
			if strings.Contains(have.Stderr, testToken) {
				t.Error("the token stands outside of the manifest")
			}
			if diff := cmp.Diff([]string{getRequest, listRequest, tokenRequest}, s.requests); diff != "" {
				t.Errorf("requests (-want +have)\n%s", diff)
			}
			if lifetime := *s.tokens[0].Spec.ExpirationSeconds; lifetime != 86400 {
				t.Errorf("the token lives %d s, want 86400", lifetime)
			}
		})
	}
}

// A manifest approves nothing by itself, and a pipeline has nobody to ask; a
// person is asked all the same, before there is a token that speaks for them.
func TestManifestIsAskedForWhereSomebodyIs(t *testing.T) {
	for name, test := range map[string]struct {
		typed  *terminal
		code   int
		tokens int
	}{
		"no on a terminal":  {types("n\n"), 1, 0},
		"yes on a terminal": {types("y\n"), 0, 1},
		"no terminal":       {nil, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, pod)
			have := run(t, s, test.typed, "--proposal", pod, "--dry-run=client", "-o", "yaml")
			if have.Code != test.code || len(s.tokens) != test.tokens || len(s.decisions) != 0 {
				t.Errorf("exit code %d, %d tokens, %d decisions: want %d, %d, none; %s", have.Code, len(s.tokens), len(s.decisions), test.code, test.tokens, have.Stderr)
			}
			if printed, warned := strings.Contains(have.Stdout, "kind: Approval\n"), strings.Contains(have.Stderr, "Warning: the manifest holds a token"); printed != (test.tokens == 1) || warned != printed {
				t.Errorf("printed %t, warned %t:\n%s%s", printed, warned, have.Stdout, have.Stderr)
			}
			if asked := strings.Contains(have.Stderr, "Approve? [y/N]"); asked != (test.typed != nil) {
				t.Errorf("asked: %t", asked)
			}
		})
	}
}

func TestServersAnswerIsPrintedWithoutToken(t *testing.T) {
	for _, arguments := range [][]string{{"-o", "yaml"}, {"-o", "json"}, {"-o", "yaml", "--dry-run=server"}} {
		t.Run(strings.Join(arguments, " "), func(t *testing.T) {
			s := newServer(t, pod)
			have := run(t, s, nil, append([]string{"--proposal", pod, "--yes"}, arguments...)...)
			if have.Code != 0 {
				t.Fatalf("exit code %d: %s", have.Code, have.Stderr)
			}
			answer := &v1alpha1.ProposalApproval{}
			if err := yaml.UnmarshalStrict([]byte(have.Stdout), answer); err != nil {
				t.Fatalf("decoding what was printed: %v\n%s", err, have.Stdout)
			}
			proposal := readProposal(t, pod)
			want := &v1alpha1.ProposalApproval{}
			want.APIVersion, want.Kind = "srenix.io/v1alpha1", "ProposalApproval"
			want.Name, want.Namespace = pod, "shop"
			want.Spec = v1alpha1.ProposalApprovalSpec{
				Decision: v1alpha1.DecisionApprove, Digest: proposal.Spec.Digest, ProposalUID: proposal.UID, Snapshot: &proposal.Spec,
			}
			want.Status.ApprovalName = testApproval
			if diff := cmp.Diff(want, answer); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestContentWithAnotherDigestIsNotSigned(t *testing.T) {
	s := newServer(t, pod)
	s.proposals[0].Spec.Target.Name = "orders-db-1"
	have := run(t, s, nil, "--proposal", pod, "--yes")
	if have.Code != 1 || len(s.tokens) != 0 {
		t.Errorf("exit code %d and %d tokens, want 1 and none", have.Code, len(s.tokens))
	}
	contains(t, "standard error", have.Stderr, "you would sign something else than you see")
}

func TestWhatBecameOfTheSameIsShown(t *testing.T) {
	s := newServer(t, "held-orders-db-0")
	approval := func(name string, hour int, status opsv1alpha1.ApprovalStatus) opsv1alpha1.Approval {
		spec := opsv1alpha1.ApprovalSpec{Decision: v1alpha1.DecisionApprove, Snapshot: *s.proposals[0].Spec.DeepCopy()}
		spec.Snapshot.Target.UID = "of the pod before"
		status.Approver = "bob"
		return opsv1alpha1.Approval{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Date(2026, 2, 3, hour, 0, 0, 0, time.UTC)}, Spec: spec, Status: status}
	}
	verifying := opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhaseSucceeded, Conditions: []metav1.Condition{{Type: opsv1alpha1.ConditionVerified, Status: metav1.ConditionUnknown, Message: "it settles"}}}
	another := approval("another", 4, opsv1alpha1.ApprovalStatus{})
	another.Spec.Snapshot.ActionKind = v1alpha1.ActionDeleteJob
	s.approvals = []opsv1alpha1.Approval{
		approval("oldest", 0, verifying), approval("refused", 1, opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhaseDenied, Message: "RateBudget: no"}),
		approval("failed", 2, opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhaseFailed, Message: "it\nis gone"}), approval("done", 3, verifying), another,
		approval("approval-1", 5, opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhasePending}), // which the proposal tells of
	}
	const want = `
The same before, for this finding or target:
  2026-02-03T03:00:00Z  DeletePod by bob: Succeeded, being verified: it settles (done)
  2026-02-03T02:00:00Z  DeletePod by bob: Failed: it is gone (failed)
  2026-02-03T01:00:00Z  DeletePod by bob: refused: RateBudget: no (refused)

Approve? [y/N] `
	contains(t, "standard error", run(t, s, types("n\n"), pod).Stderr, want)
	s.fail[strings.TrimSuffix(listRequest, "?limit=500")] = apierrors.NewForbidden(opsv1alpha1.Resource("approvals"), "", errors.New("no"))
	if have := run(t, s, types("n\n"), pod).Stderr; strings.Contains(have, "The same before") || strings.Contains(have, "forbidden") {
		t.Errorf("who may not read approvals is told of them:\n%s", have)
	}
}

func TestServersWarningsAreShown(t *testing.T) {
	s := newServer(t, pod)
	s.warning = "this is a site policy speaking"
	have := run(t, s, nil, "--proposal", pod, "--yes")
	contains(t, "standard error", have.Stderr, "Warning: this is a site policy speaking")
}

func TestLinkHoldsTokenAndReasonInItsFragment(t *testing.T) {
	for page, want := range map[string]string{
		"https://srenix.example.com":         "https://srenix.example.com/approve",
		"https://srenix.example.com/":        "https://srenix.example.com/approve",
		"https://example.com/srenix":         "https://example.com/srenix/approve",
		"https://example.com/srenix/approve": "https://example.com/srenix/approve",
	} {
		s := newServer(t, pod)
		have := run(t, s, types("y\n"), pod, "--link", page, "--reason", "a & b #1")
		if have.Code != 0 {
			t.Fatalf("exit code %d: %s", have.Code, have.Stderr)
		}
		if diff := cmp.Diff([]string{getRequest, listRequest, tokenRequest, "POST " + podPath + "/approve?dryRun=All&fieldValidation=Strict"}, s.requests); diff != "" {
			t.Errorf("requests (-want +have)\n%s", diff)
		}
		address, fragment, _ := strings.Cut(strings.TrimSpace(have.Stdout), "#")
		values, err := url.ParseQuery(fragment)
		if err != nil || address != want || values.Get("token") != testToken || values.Get("reason") != "a & b #1" {
			t.Errorf("%s: the link is %s (%v)", page, have.Stdout, err)
		}
		contains(t, "standard error", have.Stderr, "Approve? [y/N]", "Warning: the link holds a token, a credential in your name", "valid until")
		if strings.Contains(have.Stderr, testToken) {
			t.Error("the token is on standard error")
		}
	}
}

func TestLinkAsksOnATerminalOnly(t *testing.T) {
	s := newServer(t, pod)
	if have := run(t, s, types("n\n"), pod, "--link", "https://srenix.example.com"); have.Code != 1 || have.Stdout != "" || len(s.requests) != 2 {
		t.Errorf("after a no: exit code %d, %q, requests %v", have.Code, have.Stdout, s.requests)
	}
	s = newServer(t, pod)
	if have := run(t, s, nil, pod, "--link", "https://srenix.example.com"); have.Code != 0 || have.Stdout == "" {
		t.Errorf("with nobody to ask: exit code %d, %q: %s", have.Code, have.Stdout, have.Stderr)
	}
}
