// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/cli"
)

// lostNode is a node that has not been Ready for an hour.
const lostNode = `apiVersion: v1
kind: Node
metadata: {name: node-1, uid: node-uid, resourceVersion: "5", creationTimestamp: "2026-03-01T00:00:00Z"}
status:
  conditions:
  - {type: Ready, status: "False", reason: KubeletNotReady, message: it is not, lastHeartbeatTime: "2026-03-10T09:00:00Z", lastTransitionTime: "2026-03-10T08:00:00Z"}
`

func inFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// fromFiles calls the command where there is no cluster.
func fromFiles(t *testing.T, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("KUBECONFIG", inFolder(t, map[string]string{"config": "no kubeconfig"})+"/config")
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	code = cli.Run(NewCommand(streams), streams, append([]string{"kubectl-srenix"}, arguments...))
	return code, out.String(), errOut.String()
}

func TestReportOfFiles(t *testing.T) {
	folder := inFolder(t, map[string]string{"nodes.yaml": lostNode, "pods.yaml": "kind: List\napiVersion: v1\nitems: []\n", "notes.txt": "x"})
	incomplete := inFolder(t, map[string]string{"nodes.yaml": lostNode, "a\x1b.yaml": "a: b\n c: d\n"})
	for name, test := range map[string]struct {
		arguments      []string
		code           int
		stdout, stderr []string
		without        string
	}{
		"what is found, and as of when": {
			arguments: []string{"--from", folder},
			stdout:    []string{"rule: NodeNotReady", "seconds: 1773129600", "rule: AnalyzerDegraded", "kubectl get daemonsets.apps -A -o yaml --show-managed-fields"},
			stderr:    []string{folder + ": 1 objects in 2 files, as of 2026-03-10T09:00:00Z (the newest time in them, of Node node-1)\n", "left out: 1 files of other kinds\n"},
		},
		"as of a time that is given": {
			arguments: []string{"--from", folder, "--as-of", "2026-03-10T08:00:10Z", "-o", "junit"},
			stdout:    []string{"CrashLoop cannot see all that it needs (InputNotRead): "}, without: "NodeNotReady",
			stderr: []string{"as of 2026-03-10T08:00:10Z (as --as-of says)\n"},
		},
		"for a pipeline": {
			arguments: []string{"--from", folder, "-o", "sarif", "--fail-on", "Critical"}, code: 1,
			stdout: []string{`"executionSuccessful": false`}, stderr: []string{"error: findings of severity Critical or worse that are not silenced: 1\n"},
		},
		"of one namespace": {
			arguments: []string{"--from", folder, "-n", "shop"}, stdout: []string{"namespace: shop", "rule: AnalyzerDegraded"}, without: "NodeNotReady",
		},
		"with another configuration": {
			arguments: []string{"--from", folder, "--config", filepath.Join(inFolder(t, map[string]string{"c": "apiVersion: config.srenix.io/v1alpha1\nkind: SrenixConfiguration\nanalyzers: {Nodes: {enabled: false}}\n"}), "c")},
			stdout:    []string{"Nodes is switched off, by the configuration"}, without: "NodeNotReady",
		},
		"what is broken": {
			arguments: []string{"--from", incomplete}, code: 1, stdout: []string{"NodeNotReady"},
			stderr: []string{"not read: a\\u001b.yaml: line 2: it is no YAML that can be read\n", "error: the report is incomplete, for lack of a"},
		},
		"no files": {
			arguments: []string{"--from", filepath.Join(folder, "none")}, code: 1, stderr: []string{"error: reading " + folder + "/none: ", "no such file or directory"},
		},
		"a time of no files": {
			arguments: []string{"--as-of", "2026-03-10T08:00:10Z"}, code: 1, stderr: []string{"error: --as-of and --config are about files, which --from names\n"},
		},
		"no time": {
			arguments: []string{"--from", folder, "--as-of", "noon"}, code: 1, stderr: []string{`error: --as-of is "noon": want a time as 2026-03-10T12:00:00Z`},
		},
		"no configuration": {
			arguments: []string{"--from", folder, "--config", filepath.Join(folder, "none")}, code: 1, stderr: []string{"error: reading configuration: open "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := fromFiles(t, test.arguments...)
			if code != test.code || test.without != "" && strings.Contains(stdout, test.without) {
				t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
			}
			for _, part := range test.stdout {
				if !strings.Contains(stdout, part) {
					t.Errorf("the output lacks %q:\n%s", part, stdout)
				}
			}
			for _, part := range test.stderr {
				if !strings.Contains(stderr, part) {
					t.Errorf("the error stream lacks %q:\n%s", part, stderr)
				}
			}
		})
	}
}

// TestReportOfFilesIsTheSameAgain has two of the same files say the same.
func TestReportOfFilesIsTheSameAgain(t *testing.T) {
	folder := inFolder(t, map[string]string{"nodes.yaml": lostNode})
	_, first, _ := fromFiles(t, "--from", folder)
	if _, again, _ := fromFiles(t, "--from", folder); first != again || first == "" {
		t.Errorf("first\n%s\nthen\n%s", first, again)
	}
}
