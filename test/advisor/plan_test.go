// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sashabaranov/go-openai"
	"k8s.io/apimachinery/pkg/api/meta"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/fixers"
	scripted "github.com/srenix/srenix/test/model"
	"github.com/srenix/srenix/test/plane"
)

// configured is a workload that takes its environment from a ConfigMap.
const configured = `
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: shop}
data: {key: before}
---
apiVersion: apps/v1
kind: KIND
metadata: {name: NAME, namespace: shop}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {containers: [{name: app, image: "example/app:1", envFrom: [{configMapRef: {name: NAME}}]}]}
`

// numbered is a workload among the findings of a prompt.
var numbered = regexp.MustCompile(`(?m)^- (\d+): CrashLoop, \S+, of (Deployment|StatefulSet) \S+$`)

// statefulFirst has the pods of StatefulSets replaced before those of Deployments,
// whichever of their findings it is asked about; and narrates.
func statefulFirst(request openai.ChatCompletionRequest) string {
	told := request.Messages[1].Content
	if !strings.Contains(told, "\nfindings:\n") {
		return answer(request)
	}
	found := numbered.FindAllStringSubmatch(told, -1)
	slices.SortFunc(found, func(a, b []string) int { return strings.Compare(b[2], a[2]) })
	var steps []string
	for _, workload := range found {
		steps = append(steps, fmt.Sprintf(`{"finding":%s,"fixer":%q}`, workload[1], fixers.ReplaceCrashingPod))
	}
	return `{"steps":[` + strings.Join(steps, ",") + `]}`
}

// crashedOver has the pod of a workload crash, and changes what it takes its
// configuration from: a second or more later, because times are whole seconds.
func (s shop) crashedOver(kind, name string) {
	s.Helper()
	s.kubectl("rollout", "status", kind+"/"+name, "-n", "shop", "--timeout=30s")
	s.kubectl("annotate", "pods", "-n", "shop", "-l", "app="+name, "controlplane.srenix.io/waiting=CrashLoopBackOff")
	s.crashed(name, 2)
	ended := time.Now()
	s.eventually("a second to pass since "+name+" crashed", func() (bool, string) { return time.Since(ended) > 2*time.Second, "" })
	s.kubectl("patch", "configmap", name, "-n", "shop", "--type=merge", "-p", `{"data":{"key":"after"}}`)
}

var (
	madeNames = regexp.MustCompile(`\b(delete-pod-[a-z]+|Pod/[a-z]+|container-crashing-[a-z]+|plan)-[a-z0-9-]+`)
	ages      = regexp.MustCompile(`\b(?:\d+m)?\d+s\b`)
)

// pageOf is docs/reasoning.md, or output as it can stand there: what differs from one
// time to the next is left out.
func pageOf(text string) string {
	text = madeNames.ReplaceAllString(text, "$1")
	return strings.Join(strings.Fields(ages.ReplaceAllString(text, "")), " ")
}

// steps are the proposals of plans, by their number in it.
func (s shop) steps() map[int32]v1alpha1.Proposal {
	s.Helper()
	_, proposed := s.seen()
	steps := map[int32]v1alpha1.Proposal{}
	for _, proposal := range proposed {
		if plan := proposal.Spec.Plan; plan != nil {
			steps[plan.Step] = proposal
		}
	}
	return steps
}

func TestThePlanOfAModelIsApprovedStepByStep(t *testing.T) {
	s := open(t)
	s.kubectl("create", "namespace", "shop")
	s.apply(strings.NewReplacer("KIND", "Deployment", "NAME", "web").Replace(configured) + "---" + strings.NewReplacer("KIND", "StatefulSet", "NAME", "db").Replace(configured))
	s.serveLogs(map[string]string{"shop/web-/app": "lost db: connect: connection refused\n", "shop/db-/app": "FATAL: no such setting\n"})
	s.crashedOver("deployment", "web")
	s.crashedOver("statefulset", "db")
	s.eventually("two findings, and what rules propose", func() (bool, string) {
		findings, proposed := s.seen()
		return len(findings) == 2 && len(proposed) == 2, fmt.Sprint(findings, proposed)
	})
	_, byRules := s.seen()

	server := scripted.Start("")
	defer server.Close()
	server.Reply(statefulFirst)
	stop := s.advisorWith(t, "srenix-advisor-0", server.BaseURL(), "planning", key, "--model-makes-plans")
	defer stop()
	var first, second v1alpha1.Proposal
	s.eventually("the steps of a plan", func() (bool, string) {
		steps := s.steps()
		first, second = steps[1], steps[2]
		return len(steps) == 2 && first.Status.Phase == v1alpha1.ProposalOpen && second.Status.Phase == v1alpha1.ProposalBlocked, fmt.Sprint(steps, s.calls("planning"))
	})
	for _, step := range []v1alpha1.Proposal{first, second} {
		if step.Spec.Source != v1alpha1.SourceLLM || step.Spec.Tier != v1alpha1.TierPlan || step.Spec.Plan.Digest != first.Spec.Plan.Digest || step.Spec.ActionKind != v1alpha1.ActionDeletePod {
			t.Errorf("a step is %+v", step.Spec)
		}
	}
	_, proposed := s.seen()
	for name := range byRules {
		if _, still := proposed[name]; !still {
			t.Errorf("what a rule proposes is gone: %s", name)
		}
	}
	wide := s.kubectl("get", "proposals.srenix.io", "-n", "shop", "-o", "wide")
	rows := strings.Split(wide, "\n")
	for of, name := range map[string]string{"1/2": first.Name, "2/2": second.Name} {
		if !slices.ContainsFunc(rows, func(line string) bool {
			return strings.HasPrefix(line, name+" ") && slices.Contains(strings.Fields(line), of)
		}) {
			t.Errorf("%s is not shown as %s:\n%s", name, of, wide)
		}
	}

	// Who may do both by hand may not approve the second before the first.
	petra := s.person("petra", "srenix-approver")
	s.kubectl("create", "role", "replaces", "-n", "shop", "--verb=get,delete", "--resource=pods")
	s.kubectl("create", "rolebinding", "replaces", "-n", "shop", "--role=replaces", "--user=petra")
	approve := func(of *v1alpha1.Proposal) (string, bool) {
		return s.given(petra, "", "create", "approval", "--proposal", of.Name, "-n", "shop", "--yes")
	}
	output, ok := approve(&second)
	_, refusal, refused := strings.Cut(output, "Error from server (Forbidden): ")
	if ok || !refused || !strings.Contains(refusal, "step 1, proposal "+first.Name+", is not approved yet") {
		t.Errorf("approving the second step before the first says %s", output)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reasoning.md"))
	if err != nil {
		t.Fatal(err)
	}
	refusal, _, _ = strings.Cut(refusal, "\n")
	for _, shown := range append(rows, refusal) {
		if !strings.Contains(pageOf(string(page)), pageOf(shown)) {
			t.Errorf("docs/reasoning.md does not show\n%s", shown)
		}
	}
	// Nor by a token that is minted meanwhile, and brought in as GitOps does.
	manifest, stderr, err := s.KubectlAs(t.Context(), petra, "create", "approval", "--proposal", second.Name, "-n", "shop", "--dry-run=client", "-o", "yaml")
	if err != nil {
		t.Fatalf("minting a token for the second step: %v\n%s", err, stderr)
	}
	if output, ok := s.given(s.Kubeconfig(), manifest, "create", "-f", "-"); ok || !strings.Contains(output, "step 1, proposal "+first.Name+", is not approved yet") {
		t.Errorf("storing an Approval with a token of the second step says %s", output)
	}
	if approvals := s.kubectl("get", "approvals", "-n", "shop", "-o", "name"); approvals != "" {
		t.Fatalf("there is %s", approvals)
	}

	s.forged(approve, &first, &second)
	for _, step := range []*v1alpha1.Proposal{&first, &second} {
		if step == &second {
			if output, ok := approve(step); !ok {
				t.Fatalf("approving the second step: %s", output)
			}
		}
		approval := s.verified(step)
		if approval.Spec.Proposal.Digest != step.Spec.Digest || approval.Spec.Snapshot.Plan == nil || approval.Spec.Snapshot.Plan.Digest != first.Spec.Plan.Digest || approval.Status.Approver != "petra" {
			t.Errorf("what was approved is %+v, by %s", approval.Spec, approval.Status.Approver)
		}
		if step == &second {
			break
		}
		if !s.stands(&second) {
			t.Error("the second step was done with the first")
		}
		s.eventually("the second step to open", func() (bool, string) {
			steps := s.steps()
			opened := steps[2]
			if opened.Name != "" && (opened.UID != second.UID || opened.Spec.Digest != second.Spec.Digest) {
				t.Fatalf("the second step was %+v, and is %+v", second, opened)
			}
			return opened.Status.Phase == v1alpha1.ProposalOpen, fmt.Sprint(steps)
		})
	}
	for _, step := range []*v1alpha1.Proposal{&first, &second} {
		if s.stands(step) {
			t.Errorf("step %d is verified, and pod %s is still there", step.Spec.Plan.Step, step.Spec.Target.Name)
		}
	}
	if output := s.kubectl("srenix", "audit", "verify"); !strings.Contains(output, "verified") {
		t.Errorf("the chain does not verify: %s", output)
	}
}

// forged approves the first step, and has its Approval say that it is verified before
// anything is done, where srenix's policy for that is gone.
func (s shop) forged(approve func(*v1alpha1.Proposal) (string, bool), first, second *v1alpha1.Proposal) {
	s.Helper()
	if err := s.srenix.Executor.Pause(); err != nil {
		s.Fatal(err)
	}
	if output, ok := approve(first); !ok {
		s.Fatalf("approving the first step: %s", output)
	}
	name := s.kubectl("get", "approvals", "-n", "shop", "-o", "jsonpath={.items[*].metadata.name}")
	forge := func() (string, bool) {
		return s.given(s.Kubeconfig(), "", "patch", "approval", name, "-n", "shop", "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Succeeded","approver":"petra","completedAt":"2026-03-01T12:00:00Z",
			"conditions":[{"type":"Verified","status":"True","reason":"Forged","message":"trust me","lastTransitionTime":"2026-03-01T12:00:00Z"}]}}`)
	}
	if output, ok := forge(); ok || !strings.Contains(output, "srenix-approval-status") {
		s.Errorf("forging a status says %s", output)
	}
	root, err := plane.Root()
	if err != nil {
		s.Fatal(err)
	}
	file := filepath.Join(root, "artifacts", "kustomize", "base", "policies", "approval-status.yaml")
	s.kubectl("delete", "-f", file)
	s.eventually("a status that nobody refuses", func() (bool, string) {
		output, ok := forge()
		return ok, output
	})
	// What is shown goes by what is stored; what is let pass, by the audit chain.
	s.eventually("the second step to look open", func() (bool, string) {
		steps := s.steps()
		return steps[2].Status.Phase == v1alpha1.ProposalOpen, fmt.Sprint(steps)
	})
	if output, ok := approve(second); ok || !strings.Contains(output, "step 1, proposal "+first.Name+", is approved and not verified yet") {
		s.Errorf("approving the second step after a forged status says %s", output)
	}
	s.kubectl("apply", "-f", file)
	if err := errors.Join(s.srenix.Executor.Kill(), s.srenix.Executor.Start()); err != nil {
		s.Fatal(err)
	}
}

// verified waits until the approval of a proposal is carried out and verified.
func (s shop) verified(of *v1alpha1.Proposal) (approval opsv1alpha1.Approval) {
	s.Helper()
	s.eventually("the approval of "+of.Name+" to be verified", func() (bool, string) {
		all := &opsv1alpha1.ApprovalList{}
		output := s.kubectl("get", "approvals", "-n", "shop", "-o", "json")
		if err := json.Unmarshal([]byte(output), all); err != nil {
			s.Fatal(err)
		}
		for _, approval = range all.Items {
			if approval.Spec.Proposal.UID == of.UID {
				in := s.kubectl("get", "auditevents", "-l", audit.LabelType+"="+string(opsv1alpha1.AuditVerified)+","+audit.LabelProposalUID+"="+string(of.UID), "-o", "name")
				return in != "" && approval.Status.Phase == opsv1alpha1.PhaseSucceeded && meta.IsStatusConditionTrue(approval.Status.Conditions, opsv1alpha1.ConditionVerified), fmt.Sprintf("%+v", approval.Status)
			}
		}
		return false, output
	})
	return approval
}

// stands tells whether the pod of a proposal is there.
func (s shop) stands(of *v1alpha1.Proposal) bool {
	s.Helper()
	return slices.Contains(strings.Fields(s.kubectl("get", "pods", "-n", "shop", "-o", "jsonpath={.items[*].metadata.uid}")), string(of.Spec.Target.UID))
}
