// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package runbook releases a runbook on a real control plane, with programs that
// are built to let two approvals follow each other within seconds.
package runbook

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// hasty is the build tag that shortens the least time between two approvals. No
// configuration and no flag can.
const hasty = "srenix_hasty_approvals"

const deadline = time.Minute

const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: wide, namespace: shop}
rules:
  - {apiGroups: [""], resources: ["configmaps"], verbs: ["*"]}
`

const text = "1. vault operator unseal ${VALUE_UNSEAL_KEY}\n2. kubectl rollout status statefulset/vault -n vault\n"

type release struct {
	*testing.T
	*plane.Plane
}

func install(t *testing.T) release {
	t.Helper()
	programs := t.TempDir()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", hasty, "-o", programs, "./cmd/apiserver", "./cmd/executor")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the hasty programs: %v\n%s", err, output)
	}
	p, err := plane.Start(t.Context(), plane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	srenix, err := harness.Install(t.Context(), p, harness.Options{Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srenix.Close(); err != nil {
			t.Error(err)
		}
	})
	return release{t, p}
}

func (r release) kubectl(arguments ...string) string {
	r.Helper()
	stdout, stderr, err := r.Kubectl(r.Context(), arguments...)
	if err != nil {
		r.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, stderr)
	}
	return strings.TrimSpace(stdout)
}

func (r release) apply(manifest string) {
	r.Helper()
	file := filepath.Join(r.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		r.Fatal(err)
	}
	r.kubectl("apply", "-f", file)
}

// person returns the kubeconfig of somebody with a ClusterRole in namespace shop.
func (r release) person(name, role string) string {
	r.Helper()
	r.kubectl("create", "rolebinding", name, "-n", "shop", "--clusterrole="+role, "--user="+name)
	kubeconfig, err := r.UserKubeconfig(r.Context(), name)
	if err != nil {
		r.Fatal(err)
	}
	return kubeconfig
}

func (r release) eventually(what string, condition func() bool) {
	r.Helper()
	err := wait.PollUntilContextTimeout(r.Context(), 100*time.Millisecond, deadline, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		r.Fatalf("waiting for %s: %v", what, err)
	}
}

// as runs kubectl as somebody and returns its output, of both kinds.
func (r release) as(kubeconfig string, arguments ...string) (output string, ok bool) {
	r.Helper()
	stdout, stderr, err := r.KubectlAs(r.Context(), kubeconfig, arguments...)
	return stdout + stderr, err == nil
}

func (r release) wants(has bool, output string, ok, wantOK bool, words ...string) {
	r.Helper()
	if ok != wantOK {
		r.Errorf("it succeeded: %t, want %t: %s", ok, wantOK, output)
	}
	for _, word := range words {
		if strings.Contains(output, word) != has {
			r.Errorf("%q in the output: %t, want %t:\n%s", word, !has, has, output)
		}
	}
}

func TestARunbookIsReleasedByTwoPeopleAndExecutedByNobody(t *testing.T) {
	r := install(t)
	r.apply(shop)
	var finding string
	r.eventually("the finding", func() bool {
		finding = r.kubectl("get", "findings.srenix.io", "-n", "shop", "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{end}")
		return finding != ""
	})
	name, uid, _ := strings.Cut(finding, " ")
	r.apply(`
apiVersion: ops.srenix.io/v1alpha1
kind: Investigation
metadata: {name: vault, namespace: shop}
spec: {finding: {name: ` + name + `, uid: ` + uid + `}}
`)
	r.kubectl("patch", "investigation", "vault", "-n", "shop", "--subresource=status", "--type=merge",
		"-p", `{"status":{"runbook":{"title":"Unseal Vault","draftedBy":"gpt","text":`+jsonString(text)+`}}}`)
	var proposal string
	r.eventually("the proposal", func() bool {
		proposal = r.kubectl("get", "proposals.srenix.io", "-n", "shop", "-l", "srenix.io/tier=T3", "-o", "jsonpath={.items[*].metadata.name}")
		return proposal != ""
	})
	anna, ben := r.person("anna", "srenix-runbook-approver"), r.person("ben", "srenix-runbook-approver")
	viewer, fixer := r.person("vera", "view"), r.person("fred", "srenix-approver")

	if source := r.kubectl("get", "proposal.srenix.io", proposal, "-n", "shop", "-o", "jsonpath={.spec.source}"); source != "LLM" {
		r.Errorf("a model's draft is from %s", source)
	}

	// Before it is released, only those read it who may approve it.
	output, ok := r.as(anna, "srenix", "runbook", proposal, "-n", "shop")
	r.wants(true, output, ok, true, "Unseal Vault", "not released", "${VALUE_UNSEAL_KEY}")
	for _, other := range []string{viewer, fixer} {
		output, ok = r.as(other, "srenix", "runbook", proposal, "-n", "shop")
		r.wants(false, output, ok, false, "VALUE_UNSEAL_KEY")
	}
	output, ok = r.as(viewer, "get", "proposal.srenix.io", proposal, "-n", "shop", "-o", "yaml")
	r.wants(false, output, ok, true, "VALUE_UNSEAL_KEY")
	output, ok = r.as(viewer, "get", "investigations", "-n", "shop", "-o", "yaml")
	r.wants(false, output, ok, false, "VALUE_UNSEAL_KEY")

	// Who may approve fixes may not approve runbooks.
	output, ok = r.as(fixer, "create", "approval", "--proposal", proposal, "-n", "shop", "--yes")
	r.wants(true, output, ok, false, "not released")

	output, ok = r.as(anna, "create", "approval", "--proposal", proposal, "-n", "shop", "--yes", "-o", "name")
	r.wants(true, output, ok, true, "another person has to approve too", "vault operator unseal", "drafted by a model in Investigation vault")
	output, ok = r.as(anna, "create", "approval", "--proposal", proposal, "-n", "shop", "--yes")
	r.wants(true, output, ok, false, "nobody counts twice")
	output, ok = r.as(ben, "create", "approval", "--proposal", proposal, "-n", "shop", "--yes")
	r.wants(true, output, ok, false, "DualApproval", "apart")
	output, ok = r.as(viewer, "srenix", "runbook", proposal, "-n", "shop")
	r.wants(false, output, ok, false, "VALUE_UNSEAL_KEY")

	r.saysReleased(proposal, viewer)

	r.eventually("the second approval to be accepted", func() bool {
		_, ok := r.as(ben, "create", "approval", "--proposal", proposal, "-n", "shop", "--yes")
		return ok
	})
	r.eventually("both approvals to be released", func() bool {
		return r.kubectl("get", "approvals", "-n", "shop", "-o", "jsonpath={.items[*].status.phase}") == "Released Released"
	})
	r.eventually("the text to be readable", func() bool {
		output, ok := r.as(viewer, "srenix", "runbook", proposal, "-n", "shop")
		return ok && strings.Contains(output, "(released)") && strings.Contains(output, text)
	})
	types := r.kubectl("get", "auditevents", "-o", "jsonpath={.items[*].spec.type}")
	if !strings.Contains(types, string(opsv1alpha1.AuditRunbookReleased)) || strings.Contains(types, string(opsv1alpha1.AuditActionIntended)) {
		r.Errorf("the audit chain has %s", types)
	}
	r.kubectl("srenix", "audit", "verify")
}

// saysReleased is by somebody with every verb on Approvals in the namespace, after
// one of two has approved: a status that says so releases nothing.
func (r release) saysReleased(proposal, viewer string) {
	r.Helper()
	r.kubectl("create", "role", "mallory", "-n", "shop", "--verb=*", "--resource=approvals.ops.srenix.io,approvals.ops.srenix.io/status")
	r.kubectl("create", "rolebinding", "mallory", "-n", "shop", "--role=mallory", "--user=mallory")
	mallory, err := r.UserKubeconfig(r.Context(), "mallory")
	if err != nil {
		r.Fatal(err)
	}
	name := r.kubectl("get", "approvals", "-n", "shop", "-o", "jsonpath={.items[*].metadata.name}")
	phase := func() string {
		return r.kubectl("get", "approval", name, "-n", "shop", "-o", "jsonpath={.status.phase}")
	}
	r.eventually("the first approval to wait", func() bool { return phase() == string(opsv1alpha1.PhaseAwaitingSecondApproval) })
	patch := []string{"patch", "approval", name, "-n", "shop", "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Released","completedAt":"2026-03-01T12:00:00Z"}}`}
	output, ok := r.as(mallory, patch...)
	r.wants(true, output, ok, false, "srenix-approval-status")

	// Where the policy is gone, the audit chain still says who released what.
	r.kubectl("delete", "validatingadmissionpolicybinding", "srenix-approval-status")
	r.eventually("the status to be written", func() bool {
		_, ok := r.as(mallory, patch...)
		return ok
	})
	r.eventually("the executor to mend the status", func() bool { return phase() == string(opsv1alpha1.PhaseAwaitingSecondApproval) })
	output, ok = r.as(viewer, "srenix", "runbook", proposal, "-n", "shop")
	r.wants(false, output, ok, false, "VALUE_UNSEAL_KEY")
}

func jsonString(text string) string {
	return `"` + strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(text) + `"`
}
