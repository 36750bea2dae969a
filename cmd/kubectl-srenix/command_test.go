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
		"the root tells its commands":  {argv: []string{"kubectl-srenix"}, stdout: "audit       Check and export the audit chain"},
		"audit tells its commands":     {argv: []string{"kubectl-srenix", "audit"}, stdout: "kubectl srenix audit [command]"},
		"the version":                  {argv: []string{"kubectl-srenix", "version"}, stdout: "kubectl srenix v"},
		"a command that is not there":  {argv: []string{"kubectl-srenix", "fix"}, code: 1, stderr: `error: unknown command "fix" for "kubectl srenix"`},
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
