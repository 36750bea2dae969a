// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package advisor has findings looked into on a real control plane, by the advisor
// with the rights that it has in a cluster.
package advisor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const (
	deadline = time.Minute
	account  = "system:serviceaccount:" + harness.Namespace + ":srenix-advisor"

	configuration = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  CrashLoop: {options: {criticalRestarts: 3}}
  ImagePull: {grace: 1s}
  WorkloadStateDrift: {grace: 1s}
executor: {settleTime: 1s, verifyDeadline: 30s}
`
	// secret is in the log, and must be nowhere else.
	secret = "correct-horse-battery"
)

// workloads are two that crash, one whose image cannot be pulled, and one whose
// first pod is stuck.
const workloads = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: crash, namespace: shop}
spec:
  selector: {matchLabels: {app: crash}}
  template:
    metadata: {labels: {app: crash}, annotations: {checksum/config: new, controlplane.srenix.io/waiting: CrashLoopBackOff}}
    spec: {containers: [{name: app, image: "example/crash:1"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pull, namespace: shop}
spec:
  selector: {matchLabels: {app: pull}}
  template:
    metadata: {labels: {app: pull}, annotations: {controlplane.srenix.io/waiting: ImagePullBackOff}}
    spec: {containers: [{name: app, image: "registry.example.com/pull:2"}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: app, image: "example/db:1"}]}
`

// another is one more that crashes.
const another = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: shop}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}, annotations: {controlplane.srenix.io/waiting: CrashLoopBackOff}}
    spec: {containers: [{name: app, image: "example/crash:1"}]}
`

// shop is an installation with trouble in namespace shop.
type shop struct {
	*testing.T
	*plane.Plane
	srenix *harness.Srenix
}

func open(t *testing.T) shop { return openWith(t, configuration, nil) }

// openWith installs srenix with a configuration after what has to be there before.
func openWith(t *testing.T, configuration string, before func(*plane.Plane)) shop {
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
	if before != nil {
		before(p)
	}
	srenix, err := harness.Install(t.Context(), p, harness.Options{Configuration: configuration, Advisor: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srenix.Close(); err != nil {
			t.Error(err)
		}
	})
	return shop{t, p, srenix}
}

func (s shop) kubectl(arguments ...string) string {
	s.Helper()
	stdout, stderr, err := s.Kubectl(s.Context(), arguments...)
	if err != nil {
		s.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, stderr)
	}
	return strings.TrimSpace(stdout)
}

// given runs kubectl as somebody with an input, and returns its output of both kinds.
func (s shop) given(kubeconfig, input string, arguments ...string) (output string, ok bool) {
	s.Helper()
	command := s.KubectlCommand(s.Context(), kubeconfig, arguments...)
	command.Stdin = strings.NewReader(input)
	both, err := command.CombinedOutput()
	return string(both), err == nil
}

func (s shop) apply(manifest string) {
	s.Helper()
	if output, ok := s.given(s.Kubeconfig(), manifest, "apply", "-f", "-"); !ok {
		s.Fatalf("applying: %s\n%s", output, manifest)
	}
}

func (s shop) eventually(what string, condition func() (bool, string)) {
	s.Helper()
	var last string
	err := wait.PollUntilContextTimeout(s.Context(), 100*time.Millisecond, deadline, true, func(context.Context) (ok bool, _ error) {
		ok, last = condition()
		return ok, nil
	})
	if err != nil {
		s.Fatalf("waiting for %s: %v; last seen: %s", what, err, last)
	}
}

// person returns the kubeconfig of somebody with a ClusterRole in namespace shop.
func (s shop) person(name, role string) string {
	s.Helper()
	s.kubectl("create", "rolebinding", name, "-n", "shop", "--clusterrole="+role, "--user="+name)
	kubeconfig, err := s.UserKubeconfig(s.Context(), name)
	if err != nil {
		s.Fatal(err)
	}
	return kubeconfig
}

// seen returns all findings and proposals of the namespace, by name.
func (s shop) seen() (map[string]v1alpha1.Finding, map[string]v1alpha1.Proposal) {
	s.Helper()
	findings, proposals := &v1alpha1.FindingList{}, &v1alpha1.ProposalList{}
	for resource, list := range map[string]any{"findings": findings, "proposals": proposals} {
		if err := json.Unmarshal([]byte(s.kubectl("get", resource+".srenix.io", "-n", "shop", "-o", "json")), list); err != nil {
			s.Fatal(err)
		}
	}
	foundBy, proposedBy := map[string]v1alpha1.Finding{}, map[string]v1alpha1.Proposal{}
	for _, finding := range findings.Items {
		foundBy[finding.Name] = finding
	}
	for _, proposal := range proposals.Items {
		proposedBy[proposal.Name] = proposal
	}
	return foundBy, proposedBy
}

// of returns the finding about something, once there is one.
func (s shop) of(subject string) v1alpha1.Finding {
	s.Helper()
	var of v1alpha1.Finding
	s.eventually("the finding about "+subject, func() (bool, string) {
		findings, _ := s.seen()
		for _, finding := range findings {
			if finding.Spec.Subject.Name == subject {
				of = finding
				return true, ""
			}
		}
		return false, fmt.Sprint(findings)
	})
	return of
}

// rootCause waits until the finding about something has a root cause that says so.
func (s shop) rootCause(subject, says string) v1alpha1.Finding {
	s.Helper()
	var finding v1alpha1.Finding
	s.eventually("the root cause of "+subject, func() (bool, string) {
		finding = s.of(subject)
		return strings.Contains(finding.Status.RootCause, says), fmt.Sprintf("%q", finding.Status.RootCause)
	})
	return finding
}

// event stores what a kubelet says about the pod of a workload.
func (s shop) event(app, reason, message string) {
	s.Helper()
	pod := strings.Fields(s.kubectl("get", "pods", "-n", "shop", "-l", "app="+app, "-o", "jsonpath={.items[0].metadata.name} {.items[0].metadata.uid}"))
	s.apply(fmt.Sprintf(`
apiVersion: v1
kind: Event
metadata: {name: %[1]s.1, namespace: shop}
involvedObject: {apiVersion: v1, kind: Pod, namespace: shop, name: %[1]s, uid: %[2]s}
type: Warning
reason: %[3]s
message: %[4]q
firstTimestamp: %[5]q
lastTimestamp: %[5]q
`, pod[0], pod[1], reason, message, time.Now().UTC().Format(time.RFC3339)))
}

// crashed says how the container of a workload's pod ended.
func (s shop) crashed(app string, exitCode int) {
	s.Helper()
	var pod string
	s.eventually("the pod of "+app+" to wait", func() (bool, string) {
		state := s.kubectl("get", "pods", "-n", "shop", "-l", "app="+app, "-o", "jsonpath={.items[0].metadata.name} {.items[0].status.containerStatuses[0].state.waiting.reason}")
		name, reason, _ := strings.Cut(state, " ")
		pod = name
		return reason == "CrashLoopBackOff", state
	})
	image := s.kubectl("get", "pod", pod, "-n", "shop", "-o", "jsonpath={.spec.containers[0].image}")
	at := time.Now().UTC().Format(time.RFC3339)
	s.kubectl("patch", "pod", pod, "-n", "shop", "--subresource=status", "--type=merge", "-p", fmt.Sprintf(
		`{"status":{"containerStatuses":[{"name":"app","image":%q,"imageID":"","ready":false,"restartCount":12,"state":{"waiting":{"reason":"CrashLoopBackOff"}},
		"lastState":{"terminated":{"exitCode":%d,"reason":"Error","startedAt":%q,"finishedAt":%q}}}]}}`, image, exitCode, at, at))
}

// investigated is how many investigations an advisor has made since it started.
func (s shop) investigated(advisor *harness.Process) (total int) {
	s.Helper()
	response, err := http.Get("http://" + advisor.Metrics + "/metrics")
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "srenix_advisor_investigations_total{") {
			continue
		}
		var count float64
		if _, err := fmt.Sscan(lines.Text()[strings.LastIndex(lines.Text(), " "):], &count); err != nil {
			s.Fatal(err)
		}
		total += int(count)
	}
	if err := lines.Err(); err != nil {
		s.Fatal(err)
	}
	return total
}

// inTrouble makes the trouble that findings and a proposal are about, and returns them.
func (s shop) inTrouble() (findings map[string]v1alpha1.Finding, proposals map[string]v1alpha1.Proposal) {
	s.Helper()
	s.apply(workloads)
	s.serveLogs(map[string]string{
		"shop/crash-/app": "starting with DB_PASSWORD=" + secret + "\npanic: dial tcp: lookup db on 10.0.0.10:53: no such host\n",
		"shop/again-/app": "FATAL: disk quota exceeded\n",
	})
	s.crashed("crash", 2)
	s.eventually("the first pod of the StatefulSet to run", func() (bool, string) {
		phase, _, _ := s.Kubectl(s.Context(), "get", "pod", "db-0", "-n", "shop", "-o", "jsonpath={.status.phase}")
		return phase == "Running", phase
	})
	s.kubectl("annotate", "pod", "db-0", "-n", "shop", "controlplane.srenix.io/ready=false")
	s.eventually("the pod to be pulled for", func() (bool, string) {
		state, _, _ := s.Kubectl(s.Context(), "get", "pods", "-n", "shop", "-l", "app=pull", "-o", "jsonpath={.items[*].status.containerStatuses[0].state.waiting.reason}")
		return state == "ImagePullBackOff", state
	})
	s.event("pull", "Failed", `Failed to pull image "registry.example.com/pull:2": rpc error: code = NotFound desc = manifest unknown`)
	s.eventually("three findings and a proposal", func() (bool, string) {
		findings, proposals = s.seen()
		ready := len(findings) == 3 && len(proposals) == 1
		for _, finding := range findings {
			ready = ready && (finding.Spec.Subject.Name != "pull" || finding.Spec.Reason == "ImageNotFound") &&
				(finding.Spec.Subject.Name != "crash" || finding.Spec.Severity == v1alpha1.SeverityCritical) &&
				(finding.Spec.Subject.Name != "db" || len(finding.Status.Proposals) == 1)
		}
		return ready, fmt.Sprint(findings, proposals)
	})
	return findings, proposals
}

// approves has the one proposal approved and carried out.
func (s shop) approves(proposals map[string]v1alpha1.Proposal) {
	s.Helper()
	s.kubectl("create", "role", "fixer", "-n", "shop", "--verb=delete", "--resource=pods")
	s.kubectl("create", "rolebinding", "fixer", "-n", "shop", "--role=fixer", "--user=anna")
	anna := s.person("anna", "srenix-approver")
	var name string
	for name = range proposals {
	}
	if output, ok := s.given(anna, "", "create", "approval", "--proposal", name, "-n", "shop", "--yes"); !ok {
		s.Fatalf("approving: %s", output)
	}
	s.eventually("the approval to succeed", func() (bool, string) {
		phase := s.kubectl("get", "approvals", "-n", "shop", "-o", "jsonpath={.items[*].status.phase}")
		return phase == "Succeeded", phase
	})
}

// without leaves out what changes with each list, and what an investigation adds.
var without = cmp.Options{
	cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion"),
	cmpopts.IgnoreFields(v1alpha1.FindingStatus{}, "Investigation", "RootCause", "Evidence", "Narrative", "LookAt"),
}

func TestTheAdvisorLooksIntoFindings(t *testing.T) {
	s := open(t)
	findings, proposals := s.inTrouble()
	viewer, olga := s.person("vera", "view"), s.person("olga", "srenix-investigator")

	advisor, err := s.srenix.NewAdvisor(t.Context(), "srenix-advisor-0")
	if err != nil {
		t.Fatal(err)
	}
	start := func() {
		t.Helper()
		if err := advisor.Start(); err != nil {
			t.Fatal(err)
		}
	}
	stop := func() {
		t.Helper()
		if err := advisor.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	defer stop()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(advisor.LogTail())
		}
	})

	crash := s.rootCause("crash", `it logged "panic: dial tcp: lookup db on 10.0.0.10:53: no such host". There is no Service db in namespace shop.`)
	described, ok := s.given(viewer, "", "describe", "finding.srenix.io", crash.Name, "-n", "shop")
	for _, part := range []string{"Root Cause:", "There is no Service db", "Evidence:", "ended with exit code 2", "before its last restart: its log was read", "Investigation:"} {
		if !ok || !strings.Contains(described, part) {
			t.Errorf("kubectl describe does not say %q:\n%s", part, described)
		}
	}
	stored := s.kubectl("get", "investigations", "-n", "shop", "-o", "yaml")
	if strings.Contains(stored+described, secret) || !strings.Contains(stored, "DB_PASSWORD=[secret]") {
		t.Errorf("a secret of the log is there, or its line is not:\n%s", stored)
	}
	if output, ok := s.given(viewer, "", "get", "investigations", "-n", "shop"); ok {
		t.Errorf("who views the namespace reads Investigations:\n%s", output)
	}

	after, proposed := s.seen()
	if diff := cmp.Diff(findings, after, without); diff != "" {
		t.Errorf("with the advisor findings are others (-without +with):\n%s", diff)
	}
	if diff := cmp.Diff(proposals, proposed, without); diff != "" {
		t.Errorf("with the advisor proposals are others (-without +with):\n%s", diff)
	}

	t.Run("others are looked into when somebody asks", func(t *testing.T) {
		pull := s.of("pull")
		if pull.Spec.Severity != v1alpha1.SeverityWarning || pull.Status.Investigation != "" {
			t.Fatalf("nobody has asked about it: %+v", pull)
		}
		path := "/apis/srenix.io/v1alpha1/namespaces/shop/findings/" + pull.Name + "/investigate"
		const body = `{"apiVersion":"srenix.io/v1alpha1","kind":"FindingInvestigation"}`
		if output, ok := s.given(viewer, body, "create", "--raw", path, "-f", "-"); ok || !strings.Contains(output, "findings/investigate") {
			t.Errorf("who only views is not refused: %s", output)
		}
		output, ok := s.given(olga, body, "create", "--raw", path, "-f", "-")
		if name := opsv1alpha1.InvestigationName(pull.Name, pull.UID); !ok || !strings.Contains(output, name) {
			t.Fatalf("the answer does not name %s: %s", name, output)
		}
		s.rootCause("pull", "the registry has no such image or tag. The node says: ")
		if by := s.kubectl("get", "investigations", "-n", "shop", "-o", `jsonpath={.items[*].spec.requests[*].by}`); by != "olga" {
			t.Errorf("it was asked for by %q", by)
		}
		if missing, ok := s.given(olga, body, "create", "--raw", strings.Replace(path, pull.Name, "gone", 1), "-f", "-"); ok {
			t.Errorf("one of no finding is taken: %s", missing)
		}
	})

	t.Run("it may do nothing else", s.mayDoNothingElse)

	t.Run("a restart asks nothing again", func(t *testing.T) {
		stop()
		start()
		s.apply(strings.ReplaceAll(another, "NAME", "again"))
		s.crashed("again", 1)
		s.rootCause("again", "a disk is full")
		// It was looked into once or, while how it ended was not known yet, twice.
		if n := s.investigated(advisor); n < 1 || n > 2 {
			t.Errorf("%d investigations since the restart, want those of the new finding", n)
		}
		if requests := s.kubectl("get", "investigations", "-n", "shop", "-o", "name"); len(strings.Fields(requests)) != 3 {
			t.Errorf("there are %s", requests)
		}
	})

	stop()
	t.Run("without it everything else goes on", func(t *testing.T) {
		s.approves(proposals)
		if have := s.of("crash").Status; have.RootCause != crash.Status.RootCause {
			t.Errorf("what was found is forgotten: %+v", have)
		}
		s.kubectl("delete", "namespace", "shop", "--timeout=60s")
	})
}

func (s shop) mayDoNothingElse(t *testing.T) {
	for _, right := range []string{
		"get secrets", "list secrets", "watch secrets", "create pods", "delete pods", "update pods", "patch pods", "create pods/exec", "create pods/eviction",
		"patch deployments.apps", "delete jobs.batch", "delete certificaterequests.cert-manager.io", "patch ingresses.networking.k8s.io", "list pods", "get configmaps",
		"create serviceaccounts/token", "impersonate users", "create approvals.ops.srenix.io", "update approvals.ops.srenix.io/status", "create auditevents.ops.srenix.io",
		"create proposals.srenix.io/token", "create proposals.srenix.io/approve", "get proposals.srenix.io/runbook", "create findings.srenix.io/investigate",
		"update investigations.ops.srenix.io", "patch investigations.ops.srenix.io", "create silences.ops.srenix.io", "create roles.rbac.authorization.k8s.io",
	} {
		words := strings.Fields(right)
		resource, subresource, _ := strings.Cut(words[1], "/")
		arguments := []string{"auth", "can-i", words[0], resource, "--as=" + account, "-n", "shop"}
		if subresource != "" {
			arguments = append(arguments, "--subresource="+subresource)
		}
		// Before the answer there may be a warning, as of a kind that is not installed.
		if output, _ := s.given(s.Kubeconfig(), "", arguments...); strings.TrimSpace(output) != "no" && !strings.HasSuffix(output, "\nno\n") {
			t.Errorf("may it %s? %s", right, output)
		}
	}
	// As it is, and not as somebody says it is.
	kubeconfig, err := s.srenix.ServiceAccountKubeconfig(t.Context(), "srenix-advisor")
	if err != nil {
		t.Fatal(err)
	}
	s.kubectl("create", "secret", "generic", "db", "-n", "shop", "--from-literal=password="+secret)
	for name, arguments := range map[string][]string{
		"read a Secret":      {"get", "secret", "db", "-n", "shop", "-o", "yaml"},
		"list Secrets":       {"get", "secrets", "-A"},
		"delete a pod":       {"delete", "pod", "db-0", "-n", "shop", "--wait=false"},
		"restart a rollout":  {"rollout", "restart", "deployment/crash", "-n", "shop"},
		"read a signing key": {"get", "secret", "srenix-signing-keys", "-n", harness.Namespace},
		"run in a container": {"exec", "db-0", "-n", "shop", "--", "true"},
	} {
		if output, ok := s.given(kubeconfig, "", arguments...); ok || !strings.Contains(output, "orbidden") {
			t.Errorf("it may %s: %s", name, output)
		}
	}
}
