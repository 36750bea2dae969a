// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
)

const workloads = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: "example/db:1"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {initContainers: [{name: i, image: "example/init:1"}], containers: [{name: c, image: "example/app:1"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: "example/job:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: held, annotations: {controlplane.srenix.io/ready: "false"}}
spec: {containers: [{name: c, image: "example/app:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: failing, annotations: {controlplane.srenix.io/fail: "true"}}
spec: {restartPolicy: Never, containers: [{name: c, image: "example/app:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: looping, annotations: {controlplane.srenix.io/waiting: CrashLoopBackOff}}
spec: {containers: [{name: c, image: "example/app:1"}]}
`

// TestPlanesSideBySide brings up two planes at once and shows that each has
// nodes, workloads run by the real controllers, and pods that annotations steer.
func TestPlanesSideBySide(t *testing.T) {
	base := t.TempDir()
	planes := make([]*Plane, 2)
	group, ctx := errgroup.WithContext(t.Context())
	for i := range planes {
		group.Go(func() (err error) {
			planes[i], err = Start(ctx, Options{Dir: filepath.Join(base, fmt.Sprint(i)), Nodes: 10})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	run := func(p *Plane, arguments ...string) string {
		t.Helper()
		output, _, err := p.Kubectl(t.Context(), arguments...)
		if err != nil {
			t.Fatal(err)
		}
		return output
	}
	for _, p := range planes {
		if nodes := strings.Fields(run(p, "get", "nodes", "-o", "name")); len(nodes) != 10 {
			t.Errorf("%d nodes, want 10", len(nodes))
		}
		manifest := filepath.Join(base, "workloads.yaml")
		if err := os.WriteFile(manifest, []byte(workloads), 0o600); err != nil {
			t.Fatal(err)
		}
		run(p, "apply", "-f", manifest)
		run(p, "rollout", "status", "statefulset/db", "--timeout=30s")
		run(p, "rollout", "status", "deployment/app", "--timeout=30s")
		run(p, "wait", "--for=condition=Complete", "job/once", "--timeout=30s")
		run(p, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/failing", "--timeout=30s")
		run(p, "wait", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff", "pod/looping", "--timeout=30s")
		run(p, "wait", "--for=jsonpath={.status.phase}=Running", "pod/held", "--timeout=30s")
		run(p, "wait", "--for=condition=Ready=false", "pod/held", "--timeout=30s")
		run(p, "annotate", "pod", "held", "controlplane.srenix.io/ready-")
		run(p, "wait", "--for=condition=Ready", "pod/held", "--timeout=30s")
		run(p, "annotate", "pod", "db-0", "controlplane.srenix.io/ready=false")
		run(p, "wait", "--for=condition=Ready=false", "pod/db-0", "--timeout=30s")
		run(p, "delete", "pod", "db-0")
		run(p, "wait", "--for=condition=Ready", "pod/db-0", "--timeout=30s")
	}

	first := planes[0]
	if err := first.Control(t.Context(), "restart", "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	run(first, "get", "pods")
	user, err := first.UserKubeconfig(t.Context(), "carol", "readers")
	if err != nil {
		t.Fatal(err)
	}
	whoAmI, _, err := first.KubectlAs(t.Context(), user, "auth", "whoami", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var review struct {
		Status struct {
			UserInfo struct {
				Username string
				Groups   []string
			}
		}
	}
	if err := json.Unmarshal([]byte(whoAmI), &review); err != nil {
		t.Fatal(err)
	}
	if info := review.Status.UserInfo; info.Username != "carol" || !strings.Contains(strings.Join(info.Groups, " "), "readers") {
		t.Errorf("the user is %+v, want carol of readers", info)
	}

	for i, p := range planes {
		pids, err := p.PIDs()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			err = p.Close()
		} else {
			// A killed supervisor, as after the kill of a test, takes everything with it.
			err = p.command.Process.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, pid := range pids {
			awaitGone(t, name, pid)
		}
		if err := p.Close(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if _, err := os.Stat(p.Dir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the plane left its directory: %v", err)
		}
	}
}

// TestAComponentThatEndsIsStartedAgain kills kube-scheduler behind the
// supervisor's back, again and again: it is replaced each time.
func TestAComponentThatEndsIsStartedAgain(t *testing.T) {
	var progress bytes.Buffer
	p, err := Start(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 1, Progress: &progress})
	if err != nil {
		t.Fatal(err)
	}
	const name, ends = "kube-scheduler", 5
	var last int
	for end := range ends + 1 {
		var pid int
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			pids, err := p.PIDs()
			pid = pids[name]
			return pid != 0 && pid != last, err
		})
		if err != nil {
			t.Fatalf("%s is not there again after its end %d: %v", name, end, err)
		}
		if end == ends {
			break
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		last = pid
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if count := strings.Count(progress.String(), name+" ended (signal: killed) and is started again"); count != ends {
		t.Errorf("%d ends are told, want %d:\n%s", count, ends, progress.String())
	}
}

func awaitGone(t *testing.T, name string, pid int) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		executable, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return filepath.Base(executable) != "controlplane", nil
	})
	if err != nil {
		t.Errorf("%s (process %d) outlived its plane", name, pid)
	}
}
