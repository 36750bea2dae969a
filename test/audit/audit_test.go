// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit checkpoints, prunes and verifies an audit chain on a real control
// plane, under the admission policies that guard it.
package audit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const deadline = time.Minute

// later is a clock that is ahead, and impatient.
type later struct {
	clock.RealClock
	by time.Duration
}

func (l later) Now() time.Time                  { return l.RealClock.Now().Add(l.by) }
func (l later) Since(t time.Time) time.Duration { return l.Now().Sub(t) }
func (l later) NewTicker(time.Duration) clock.Ticker {
	return l.RealClock.NewTicker(200 * time.Millisecond)
}

type installation struct {
	*testing.T
	*plane.Plane
	srenix *harness.Srenix
}

func install(t *testing.T) installation {
	t.Helper()
	p, err := plane.Start(t.Context(), plane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	srenix, err := harness.Install(t.Context(), p, harness.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srenix.Close(); err != nil {
			t.Error(err)
		}
	})
	return installation{t, p, srenix}
}

func (i installation) kubectl(arguments ...string) string {
	i.Helper()
	stdout, stderr, err := i.Kubectl(i.Context(), arguments...)
	if err != nil {
		i.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, stderr)
	}
	return strings.TrimSpace(stdout)
}

// refused fails the test unless kubectl fails with these words, as somebody.
func (i installation) refused(kubeconfig string, words string, arguments ...string) {
	i.Helper()
	stdout, stderr, err := i.KubectlAs(i.Context(), kubeconfig, arguments...)
	if err == nil || !strings.Contains(stdout+stderr, words) {
		i.Errorf("kubectl %s: %v, want a refusal with %q:\n%s", strings.Join(arguments, " "), err, words, stdout+stderr)
	}
}

func (i installation) eventually(what string, condition func(ctx context.Context) bool) {
	i.Helper()
	err := wait.PollUntilContextTimeout(i.Context(), 100*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		return condition(ctx), nil
	})
	if err != nil {
		i.Fatalf("waiting for %s: %v", what, err)
	}
}

// server returns a client with the identity of the aggregated server.
func (i installation) server() (kube client.Client, kubeconfig string) {
	i.Helper()
	kubeconfig, err := i.srenix.ServiceAccountKubeconfig(i.Context(), "srenix-apiserver")
	if err != nil {
		i.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		i.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, opsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			i.Fatal(err)
		}
	}
	if kube, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		i.Fatal(err)
	}
	return kube, kubeconfig
}

func TestAChainIsCheckpointedPrunedAndProven(t *testing.T) {
	i := install(t)
	kube, server := i.server()
	chain := audit.NewChain(kube, "apiserver/test", clock.RealClock{}, nil)
	appendEvents := func(n int) {
		t.Helper()
		for range n {
			if _, err := chain.Append(t.Context(), audit.Entry{Actor: "anna", Type: opsv1alpha1.AuditTokenMinted, Message: "for the test"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	appendEvents(20)
	cluster := i.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
	i.eventually("the server to publish its key", func(ctx context.Context) bool {
		_, _, err := i.Kubectl(ctx, "get", "configmap", audit.VerifierKeysConfigMap, "-n", harness.Namespace)
		return err == nil
	})

	// What the server does after ten minutes, and after ninety days, is done here by
	// the shipped code with its identity and a clock that is ahead: first without
	// pruning, then with it.
	run := func(by, retention time.Duration, until func(*opsv1alpha1.AuditCheckpoint) bool) {
		t.Helper()
		checkpointer, err := audit.NewCheckpointer(audit.CheckpointerOptions{
			Client: kube, Chain: chain, Keys: audit.NewKeyStore(kube, harness.Namespace, cluster), Clock: later{by: by},
			Retention: retention, InEffect: func(context.Context) (int64, bool, error) { return 15, true, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = checkpointer.Run(ctx)
		}()
		latest := &opsv1alpha1.AuditCheckpoint{}
		i.eventually("the checkpoint", func(ctx context.Context) bool {
			return kube.Get(ctx, client.ObjectKey{Name: opsv1alpha1.LatestAuditCheckpoint}, latest) == nil && until(latest)
		})
		stop()
		<-done
	}
	run(time.Hour, 0, func(c *opsv1alpha1.AuditCheckpoint) bool { return c.Spec.Size > 20 })

	// An auditor's own copies.
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := file("vkey", i.kubectl("get", "configmap", audit.VerifierKeysConfigMap, "-n", harness.Namespace, "-o", "jsonpath={.data.vkeys}"))
	old := file("old.json", i.kubectl("srenix", "audit", "prove", "10"))
	whole := file("audit.jsonl", i.kubectl("srenix", "audit", "export")+"\n")
	note := file("note", i.kubectl("srenix", "audit", "checkpoint")+"\n")

	// Nobody rewrites the chain or its checkpoint, and the server deletes only what a
	// checkpoint says is pruned.
	const event = "00000000000000000004"
	i.refused(i.Kubeconfig(), "links of a hash chain", "delete", "auditevent", event)
	i.refused(i.Kubeconfig(), "links of a hash chain", "delete", "auditevents", "--all")
	i.refused(i.Kubeconfig(), "written by srenix itself", "delete", "auditcheckpoint", "latest")
	i.refused(i.Kubeconfig(), "written by srenix itself", "patch", "auditcheckpoint", "latest", "--type=merge", "-p", `{"spec":{"size":9999}}`)
	i.refused(server, "links of a hash chain", "delete", "auditevent", event)
	latest := &opsv1alpha1.AuditCheckpoint{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: opsv1alpha1.LatestAuditCheckpoint}, latest); err != nil {
		t.Fatal(err)
	}
	latest.Spec.Size = 3
	if err := kube.Update(t.Context(), latest); err == nil || !strings.Contains(err.Error(), "never covers fewer") {
		t.Errorf("the server took its checkpoint back: %v", err)
	}

	// Ninety days later. Event 15 is said to be in effect, so that it and all after it stay.
	run(100*24*time.Hour, 90*24*time.Hour, func(c *opsv1alpha1.AuditCheckpoint) bool {
		if c.Spec.Pruned == nil {
			return false
		}
		left := i.kubectl("get", "auditevents", "-o", "name")
		return !strings.Contains(left, event) && strings.Contains(left, "00000000000000000015")
	})
	i.refused(i.Kubeconfig(), "links of a hash chain", "delete", "auditevent", "00000000000000000015")
	i.refused(server, "links of a hash chain", "delete", "auditevent", "00000000000000000015")
	i.refused(i.Kubeconfig(), "pruned", "srenix", "audit", "prove", "10")

	// The chain goes on, verifies, and what was proven before it was pruned still is.
	appendEvents(3)
	i.kubectl("srenix", "audit", "verify", "--key", key)
	i.kubectl("srenix", "audit", "check-proof", old, "--key", key)
	i.kubectl("srenix", "audit", "check-proof", file("new.json", i.kubectl("srenix", "audit", "prove", "16")), "--key", key)
	i.kubectl("srenix", "audit", "verify", "-f", whole, "--checkpoint", note, "--key", key)
	lines := strings.SplitAfter(i.read(whole), "\n")
	i.refused(i.Kubeconfig(), "audit event 10: it is missing", "srenix", "audit", "verify", "-f", file("cut.jsonl", strings.Join(lines[:10], "")), "--checkpoint", note, "--key", key)
	i.refused(i.Kubeconfig(), "it was edited", "srenix", "audit", "check-proof", file("forged.json", strings.Replace(i.read(old), "anna", "otto", 1)), "--key", key)
}

func (i installation) read(path string) string {
	i.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		i.Fatal(err)
	}
	return string(content)
}
