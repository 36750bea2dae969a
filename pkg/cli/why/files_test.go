// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package why

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/cli"
)

// dump has a node that is not Ready, and events.
const dump = `apiVersion: v1
kind: Node
metadata: {name: node-1, uid: node-uid, resourceVersion: "5", creationTimestamp: "2026-03-01T00:00:00Z"}
status:
  conditions:
  - {type: Ready, status: "False", reason: KubeletNotReady, message: it is not, lastHeartbeatTime: "2026-03-10T09:00:00Z", lastTransitionTime: "2026-03-10T08:00:00Z"}
---
apiVersion: v1
kind: Event
metadata: {name: node-1.1, namespace: default, uid: e1, resourceVersion: "7", creationTimestamp: "2026-03-10T08:00:00Z"}
involvedObject: {kind: Node, name: node-1, uid: node-1}
type: Normal
reason: NodeNotReady
message: Node node-1 status is now NodeNotReady
lastTimestamp: "2026-03-10T08:00:00Z"
---
apiVersion: v1
kind: Event
metadata: {name: node-2.1, namespace: default, uid: e2, resourceVersion: "7", creationTimestamp: "2026-03-10T08:00:00Z"}
involvedObject: {kind: Node, name: node-2, uid: node-2}
type: Normal
reason: Other
lastTimestamp: "2026-03-10T08:00:00Z"
---
kind: PodList
apiVersion: v1
items: []
---
kind: DaemonSetList
apiVersion: apps/v1
items: []
`

func ofFiles(t *testing.T, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.yaml"), []byte(dump), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(folder, "a.yaml"))
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	code = cli.Run(NewCommand(streams), streams, append([]string{"kubectl-srenix", "--from", folder}, arguments...))
	return code, out.String(), errOut.String()
}

func TestWhyOfFiles(t *testing.T) {
	_, _, stderr := ofFiles(t, "node-not-ready-node-1")
	nearest := regexp.MustCompile(`(?m)^  (node-not-ready-node-1-[0-9a-f]+)$`).FindStringSubmatch(stderr)
	if nearest == nil || !strings.Contains(stderr, "See what is found: kubectl srenix report --from ") {
		t.Fatalf("the nearest name is not told:\n%s", stderr)
	}
	code, stdout, stderr := ofFiles(t, nearest[1])
	for _, part := range []string{
		"Critical  NodeNotReady of Node node-1, since 2026-03-10T08:00:00Z, 60m ago\n", "By hand ",
		"Events    2026-03-10T08:00:00Z Normal NodeNotReady: Node node-1 status is now NodeNotReady\n",
	} {
		if !strings.Contains(stdout, part) {
			t.Errorf("exit code %d, the note lacks %q:\n%s\n%s", code, part, stdout, stderr)
		}
	}
	if strings.Contains(stdout, "Other") || !strings.Contains(stderr, "as of 2026-03-10T09:00:00Z (the newest time in them, of Node node-1)") {
		t.Errorf("%s\n%s", stdout, stderr)
	}
	if code, stdout, _ := ofFiles(t, nearest[1], "-o", "json"); code != 0 || !strings.Contains(stdout, `"kind": "ClusterFinding"`) {
		t.Errorf("as JSON: %s", stdout)
	}
	if code, _, stderr := ofFiles(t, nearest[1], "-n", "shop"); code != 1 || !strings.Contains(stderr, "nothing of the name") {
		t.Errorf("in a namespace: %s", stderr)
	}
}
