// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestKubectlReads(t *testing.T) {
	ns := namespace(t)
	proposal := stuckStatefulSet(t, ns, "db")
	finding := proposal.Spec.Finding.Name

	contains := func(output string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(output, word) {
				t.Errorf("output lacks %q:\n%s", word, output)
			}
		}
	}
	contains(kubectl(t, "get", "findings.srenix.io", "-A"), "NAMESPACE", "SEVERITY", finding, "StatefulSet/db")
	contains(kubectl(t, "get", "fnd", "-n", ns), finding)
	contains(kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "wide"), "MESSAGE", "ANALYZER", proposal.Name)
	contains(kubectl(t, "get", "finding.srenix.io", finding, "-n", ns, "-o", "name"), "finding.srenix.io/"+finding)
	contains(kubectl(t, "get", "prop", "-n", ns, "-o", "wide"), proposal.Name, "DeletePod", "Pod/db-0", "Open")
	contains(kubectl(t, "get", "srenix", "-n", ns), "finding.srenix.io/"+finding, "proposal.srenix.io/"+proposal.Name)
	contains(kubectl(t, "get", "findings.srenix.io", "-n", ns, "-l", "srenix.io/analyzer=WorkloadStateDrift", "-o", "name"), finding)
	contains(kubectl(t, "describe", "finding.srenix.io", finding, "-n", ns), "Remediation", "kubectl")
	contains(kubectl(t, "describe", "proposal.srenix.io", proposal.Name, "-n", ns), "Verdicts", "NamespaceProtection", "Rationale", "sha256:")
	contains(kubectl(t, "explain", "proposal.spec"), "digest", "actionKind", "rationale")
	contains(kubectl(t, "explain", "finding.spec.subject", "--api-version=srenix.io/v1alpha1"), "uid", "kind")

	if output := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-l", "srenix.io/analyzer=Other", "-o", "name"); output != "" {
		t.Errorf("a label selector that matches nothing lists %q", output)
	}
	for selector, matches := range map[string]bool{
		"spec.severity=Warning":            true,
		"spec.severity=Info":               false,
		"spec.analyzer=WorkloadStateDrift": true,
		"spec.reason!=Other":               true,
		"spec.subject.kind=StatefulSet":    true,
		"spec.subject.name=db":             true,
		"spec.subject.name=other":          false,
		"metadata.name=" + finding:         true,
	} {
		if found := strings.Contains(kubectl(t, "get", "findings.srenix.io", "-n", ns, "--field-selector", selector, "-o", "name"), finding); found != matches {
			t.Errorf("field selector %s: found is %t, want %t", selector, found, matches)
		}
	}
	contains(kubectlFails(t, srenix.Plane.Kubeconfig(), "get", "findings.srenix.io", "-A", "--field-selector=spec.color=red"), "BadRequest", "spec.color", "spec.severity")

	var fromJSON, fromYAML v1alpha1.Finding
	if err := json.Unmarshal([]byte(kubectl(t, "get", "finding.srenix.io", finding, "-n", ns, "-o", "json")), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(kubectl(t, "get", "finding.srenix.io", finding, "-n", ns, "-o", "yaml")), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if fromJSON.Name != finding || fromJSON.UID == "" || fromJSON.UID != fromYAML.UID || fromJSON.Spec.Since.IsZero() {
		t.Errorf("JSON and YAML differ or lack fields: %+v and %+v", fromJSON, fromYAML)
	}
	if !fromJSON.CreationTimestamp.Equal(&fromJSON.Spec.Since) {
		t.Errorf("creationTimestamp is %s, since is %s", fromJSON.CreationTimestamp, fromJSON.Spec.Since)
	}
}

// watchLines starts a kubectl that watches and returns the lines that it prints.
func watchLines(t *testing.T, arguments ...string) <-chan string {
	t.Helper()
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), arguments...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() { stopCommand(command, done) })
	return lines
}

func stopCommand(command *exec.Cmd, done <-chan struct{}) {
	_ = command.Process.Kill()
	<-done
	_ = command.Wait()
}

// awaitLine reads lines until one has all the words.
func awaitLine(t *testing.T, lines <-chan string, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var seen []string
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("the watch ended before a line with %q; seen:\n%s", words, strings.Join(seen, "\n"))
			}
			seen = append(seen, line)
			matches := true
			for _, word := range words {
				matches = matches && strings.Contains(line, word)
			}
			if matches {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no line with %q; seen:\n%s", words, strings.Join(seen, "\n"))
		}
	}
}

func TestKubectlWatches(t *testing.T) {
	ns := namespace(t)
	all := watchLines(t, "get", "findings.srenix.io", "-A", "-w", "--output-watch-events")
	proposal := stuckStatefulSet(t, ns, "db")
	finding := proposal.Spec.Finding.Name
	awaitLine(t, all, "ADDED", ns, finding)

	one := watchLines(t, "get", "finding.srenix.io", finding, "-n", ns, "-w", "--output-watch-events")
	awaitLine(t, one, "ADDED", finding)

	kubectl(t, "wait", "--for=condition=Approvable", "proposal.srenix.io/"+proposal.Name, "-n", ns, "--timeout=30s")
	kubectl(t, "wait", "--for=jsonpath={.spec.severity}=Warning", "finding.srenix.io/"+finding, "-n", ns, "--timeout=30s")

	kubectl(t, "annotate", "pod", "db-0", "-n", ns, "controlplane.srenix.io/ready-")
	kubectl(t, "wait", "--for=delete", "finding.srenix.io/"+finding, "-n", ns, "--timeout=30s")
	awaitLine(t, all, "DELETED", ns, finding)
	awaitLine(t, one, "DELETED", finding)
}

func TestClusterFindingsComeAndGo(t *testing.T) {
	kubectl(t, "create", "clusterrole", "e2e-wide", "--verb=*", "--resource=pods")
	t.Cleanup(func() {
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "clusterrole", "e2e-wide", "--ignore-not-found")
	})
	var name string
	eventually(t, "a clusterfinding", func(context.Context) (bool, string) {
		name = strings.TrimSpace(kubectl(t, "get", "cfnd", "--field-selector=spec.subject.name=e2e-wide,spec.reason=WildcardVerbs", "-o", "name"))
		return name != "", name
	})
	kubectl(t, "delete", "clusterrole", "e2e-wide")
	kubectl(t, "wait", "--for=delete", name, "--timeout=30s")
}

func TestNothingIsReadableOrWritableBeyondRBAC(t *testing.T) {
	ns := namespace(t)
	proposal := stuckStatefulSet(t, ns, "db")
	nobody := userKubeconfig(t, "nobody")
	if output := kubectlFails(t, nobody, "get", "findings.srenix.io", "-n", ns); !strings.Contains(output, "Forbidden") {
		t.Errorf("reading without rights: %s", output)
	}
	kubectl(t, "create", "rolebinding", "nobody-views", "-n", ns, "--clusterrole=view", "--user=nobody")
	eventually(t, "view to include findings", func(ctx context.Context) (bool, string) {
		output, stderr, err := srenix.Plane.KubectlAs(ctx, nobody, "get", "findings.srenix.io", "-n", ns, "-o", "name")
		return err == nil && strings.Contains(output, proposal.Spec.Finding.Name), output + stderr
	})
	if output := kubectlFails(t, nobody, "get", "findings.srenix.io", "-A"); !strings.Contains(output, "Forbidden") {
		t.Errorf("reading all namespaces with rights in one: %s", output)
	}
	// The admin has every right, and still the kinds have no writing verbs.
	for _, arguments := range [][]string{
		{"delete", "finding.srenix.io", proposal.Spec.Finding.Name, "-n", ns},
		{"delete", "findings.srenix.io", "--all", "-n", ns},
		{"annotate", "proposal.srenix.io", proposal.Name, "-n", ns, "a=b"},
	} {
		if output := kubectlFails(t, srenix.Plane.Kubeconfig(), arguments...); !strings.Contains(output, "MethodNotAllowed") {
			t.Errorf("kubectl %v: %s", arguments, output)
		}
	}
}
