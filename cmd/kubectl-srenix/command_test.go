// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/cli"
)

func TestCommandTree(t *testing.T) {
	for name, test := range map[string]struct {
		argv           []string
		code           int
		stdout, stderr string
	}{
		"the root tells its commands": {argv: []string{"kubectl-srenix"}, stdout: "audit       Check and export the audit chain"},
		"audit tells its commands":    {argv: []string{"kubectl-srenix", "audit"}, stdout: "kubectl srenix audit [command]"},
		"the version":                 {argv: []string{"kubectl-srenix", "version"}, stdout: "kubectl srenix v"},
		"a command that is not there": {argv: []string{"kubectl-srenix", "fix"}, code: 1, stderr: "error: unknown command \"fix\" for \"kubectl srenix\"\nSee 'kubectl srenix --help' for help and examples.\n"},
		"a command with a typing error": {
			argv: []string{"kubectl-srenix", "audit", "verfy"}, code: 1,
			stderr: "error: unknown command \"verfy\" for \"kubectl srenix audit\"\n\nDid you mean this?\n  kubectl srenix audit verify\nSee 'kubectl srenix audit --help' for help and examples.\n",
		},
		"a command of a level below": {
			argv: []string{"kubectl-srenix", "verify"}, code: 1,
			stderr: "error: unknown command \"verify\" for \"kubectl srenix\"\n\nDid you mean this?\n  kubectl srenix audit verify\nSee 'kubectl srenix --help' for help and examples.\n",
		},
		"a file that is no flag": {
			argv: []string{"kubectl-srenix", "audit", "verify", "a.jsonl", "b.jsonl"}, code: 1,
			stderr: "error: kubectl srenix audit verify takes no arguments, and \"a.jsonl\" is one\nA file of events is given with -f: kubectl srenix audit verify -f a.jsonl -f b.jsonl\n",
		},
		"an argument too many": {
			argv: []string{"kubectl-srenix", "version", "now"}, code: 1,
			stderr: "error: kubectl srenix version takes no arguments, and \"now\" is one\nSee 'kubectl srenix version --help' for help and examples.\n",
		},
		"no event": {
			argv: []string{"kubectl-srenix", "audit", "prove"}, code: 1,
			stderr: "error: name the event by its index; these are there: kubectl get auditevents\nSee 'kubectl srenix audit prove --help' for help and examples.\n",
		},
		"two events": {
			argv: []string{"kubectl-srenix", "audit", "prove", "1", "2"}, code: 1,
			stderr: "error: one at a time: have 1, 2\nSee 'kubectl srenix audit prove --help' for help and examples.\n",
		},
		"no runbook": {
			argv: []string{"kubectl-srenix", "runbook"}, code: 1,
			stderr: "error: name the proposal; these have a runbook: kubectl get proposals -A -l srenix.io/tier=T3\n",
		},
		"no finding": {
			argv: []string{"kubectl-srenix", "investigate"}, code: 1,
			stderr: "error: name the finding; these are there: kubectl get findings.srenix.io -A\n",
		},
		"a key that is not there": {
			argv: []string{"kubectl-srenix", "audit", "check-proof", "proof.json", "--key", "/nonexistent/audit.vkey"}, code: 1,
			stderr: "error: reading the verifier keys of --key: open /nonexistent/audit.vkey: no such file or directory\n" +
				"Keep a copy of the keys from when srenix is installed: kubectl get configmap srenix-audit-vkey -n srenix-system -o jsonpath='{.data.vkeys}' > audit.vkey\n",
		},
		"shell completion by its name": {argv: []string{"kubectl_complete-srenix", "audit", "v"}, stdout: "verify\tCheck the hash chain"},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
			code := cli.Run(newCommand(streams), streams, test.argv)
			if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", code, stdout, stderr, test.code, test.stdout, test.stderr)
			}
		})
	}
}
