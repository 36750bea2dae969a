// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestServersErrors(t *testing.T) {
	forbidden := func(message string) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message}}
	}
	for name, test := range map[string]struct {
		proposal  string
		arguments []string
		arrange   func(*server)
		stderr    []string
		without   string
	}{
		"a proposal that is gone": {
			proposal: "cleared",
			stderr: []string{`Error from server (NotFound): reading proposal "cleared": proposals.srenix.io "cleared" not found`,
				"\nThe finding that it would mend has probably cleared", "kubectl get proposals -n shop"},
		},
		"a proposal that goes before the decision": {
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/approve"] = apierrors.NewNotFound(v1alpha1.Resource("proposals"), pod)
			},
			stderr: []string{"Error from server (NotFound): deciding on proposal", "has probably cleared"},
		},
		"a proposal that changes before the token": {
			arrange: func(s *server) { s.change(podPath + "/token") },
			stderr: []string{"Error from server (Conflict): minting a token", "you saw digest " + readProposal(t, pod).Spec.Digest, "it is now sha256:beef",
				"\nNothing was decided. Look again", "kubectl create approval --proposal " + pod + " -n shop"},
		},
		"a proposal that changes before the decision": {
			arrange: func(s *server) { s.change(podPath + "/approve") },
			stderr:  []string{"Error from server (Conflict): deciding on", "it is now sha256:beef", "Look again"},
		},
		"no right to mint": {
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/token"] = apierrors.NewForbidden(v1alpha1.Resource("proposals"), pod,
					errors.New(`User "carol" cannot create resource "proposals/token" in API group "srenix.io" in the namespace "shop"`))
			},
			stderr: []string{"Error from server (Forbidden): ", `User "carol" cannot create`, "\nIs namespace shop the one that you mean?", "ClusterRole srenix-approver", "kubectl auth can-i --list -n shop"},
		},
		"a layer that refuses": {
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/approve"] = forbidden(`admission webhook "approve.srenix.io" denied the request: GitOpsManaged: Flux manages it (mend its source)`)
			},
			stderr: []string{"Error from server (Forbidden): ", "GitOpsManaged: Flux manages it (mend its source)", "\nEach refusal names what refuses", "kubectl describe proposal.srenix.io/" + pod + " -n shop"},
		},
		"a budget that is spent, of which no proposal tells": {
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/approve"] = forbidden(`admission webhook "approve.srenix.io" denied the request: RateBudget: spent (the next one is free at 05:00)`)
			},
			stderr:  []string{"RateBudget: spent (the next one is free at 05:00)"},
			without: "kubectl describe",
		},
		"what the approver may not do": {
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/approve"] = forbidden(`admission webhook "approve.srenix.io" denied the request: Access: carol may not delete pods (ask somebody who has these rights to approve)`)
			},
			stderr: []string{"Access: carol may not delete pods", "\nA proposal does not say what you yourself may do", "--proposal " + pod + " -n shop --dry-run=server"},
		},
		"what the approver may not do, asked by a dry run": {
			arguments: []string{"--dry-run=server"},
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/approve"] = forbidden(`Access: carol may not delete pods`)
			},
			stderr: []string{"Access: carol may not delete pods", "\nSee what you may do yourself: kubectl auth can-i --list -n shop\n"},
		},
		"what the approver may not do, asked for a link": {
			arguments: []string{"--link", "https://srenix.example.com"},
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/approve"] = forbidden(`Access: carol may not delete pods`)
			},
			stderr: []string{"no link is made, because it would not work now", "Access: carol may not delete pods", "kubectl auth can-i --list -n shop"},
		},
		"nobody known": {
			arrange: func(s *server) { s.fail["GET "+podPath] = apierrors.NewUnauthorized("who are you?") },
			stderr:  []string{"Error from server (Unauthorized): ", "kubectl auth whoami"},
		},
		"a lifetime that the configuration does not allow": {
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/token"] = apierrors.NewBadRequest("ask for less with spec.expirationSeconds")
			},
			stderr: []string{"Error from server (BadRequest): ", "\nAsk for less with --token-lifetime."},
		},
		"srenix is not installed": {
			arrange: func(s *server) { s.raw["GET "+podPath] = http.StatusNotFound },
			stderr:  []string{"Error from server (NotFound): ", "is srenix installed", "kubectl get apiservice v1alpha1.srenix.io"},
		},
		"srenix does not answer": {
			arrange: func(s *server) { s.raw["GET "+podPath] = http.StatusServiceUnavailable },
			stderr:  []string{"Error from server (ServiceUnavailable): ", "kubectl get apiservice v1alpha1.srenix.io"},
		},
		"a webhook that fails": {
			arrange: func(s *server) {
				s.fail["POST "+podPath+"/approve"] = apierrors.NewInternalError(errors.New("failed calling webhook"))
			},
			stderr: []string{"Error from server (InternalError): ", "Look whether it was decided all the same", "kubectl get approvals -n shop"},
		},
		"control characters in an answer": {
			arrange: func(s *server) { s.fail["POST "+podPath+"/approve"] = forbidden("no\x1b[2K, never") },
			stderr:  []string{`no\u001b[2K, never`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, pod)
			if test.arrange != nil {
				test.arrange(s)
			}
			if test.proposal == "" {
				test.proposal = pod
			}
			have := run(t, s, nil, append([]string{"--proposal", test.proposal, "--yes"}, test.arguments...)...)
			if have.Code != 1 || have.Stdout != "" {
				t.Errorf("exit code %d and output %q, want 1 and none", have.Code, have.Stdout)
			}
			contains(t, "standard error", have.Stderr, test.stderr...)
			if test.without != "" && strings.Contains(have.Stderr, test.without) {
				t.Errorf("standard error says %q:\n%s", test.without, have.Stderr)
			}
		})
	}
}

func TestBlockedProposalIsLeftToTheServer(t *testing.T) {
	const blocked = "restart-catalog"
	s := newServer(t, blocked)
	s.fail["POST "+basePath+"/"+blocked+"/approve"] = apierrors.NewForbidden(v1alpha1.Resource("proposals"), blocked, errors.New("GitOpsManaged: Flux manages it"))
	have := run(t, s, nil, "--proposal", blocked, "--yes")
	if have.Code != 1 {
		t.Errorf("exit code %d, want 1", have.Code)
	}
	contains(t, "standard error", have.Stderr,
		"✗ GitOpsManaged", "To make it pass: make the change in the source that Flux applies",
		"would be refused by: GitOpsManaged. The server decides.", "Error from server (Forbidden): deciding on", "GitOpsManaged: Flux manages it")
}

func TestLostAnswerSaysToLookFirst(t *testing.T) {
	s := newServer(t, pod)
	s.raw["POST "+podPath+"/approve"] = lost
	have := run(t, s, nil, "--proposal", pod, "--yes")
	if have.Code != 1 {
		t.Errorf("exit code %d, want 1", have.Code)
	}
	contains(t, "standard error", have.Stderr, "error: deciding on proposal", "Look whether it was decided all the same")
}
