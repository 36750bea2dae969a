// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sashabaranov/go-openai"
	"k8s.io/apimachinery/pkg/api/meta"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
	scripted "github.com/srenix/srenix/test/model"
)

// configured is a Deployment that takes its environment from a ConfigMap.
const configured = `
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: shop}
data: {key: before}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: shop}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {containers: [{name: app, image: "example/app:1", envFrom: [{configMapRef: {name: NAME}}]}]}
`

// numbered is a Deployment among the findings of a prompt.
var numbered = regexp.MustCompile(`(?m)^- (\d+): ConfigDrift, \S+, of Deployment (\S+)$`)

// byName has all Deployments restarted in the order of their pseudonyms, whichever of
// their findings it is asked about; and narrates.
func byName(request openai.ChatCompletionRequest) string {
	told := request.Messages[1].Content
	if !strings.Contains(told, "\nfindings:\n") {
		return answer(request)
	}
	found := numbered.FindAllStringSubmatch(told, -1)
	slices.SortFunc(found, func(a, b []string) int { return strings.Compare(a[2], b[2]) })
	var steps []string
	for _, deployment := range found {
		steps = append(steps, fmt.Sprintf(`{"finding":%s,"fixer":%q}`, deployment[1], fixers.RestartDeployment))
	}
	return `{"steps":[` + strings.Join(steps, ",") + `]}`
}

// changed changes the ConfigMap of a Deployment a second or more after its pod started,
// because times are whole seconds.
func (s shop) changed(name string) {
	s.Helper()
	s.kubectl("rollout", "status", "deployment/"+name, "-n", "shop", "--timeout=30s")
	s.eventually("a second to pass since the pod of "+name+" started", func() (bool, string) {
		at := s.kubectl("get", "pods", "-n", "shop", "-l", "app="+name, "-o", "jsonpath={.items[0].status.startTime}")
		started, err := time.Parse(time.RFC3339, at)
		return err == nil && time.Since(started) > 2*time.Second, at
	})
	s.kubectl("patch", "configmap", name, "-n", "shop", "--type=merge", "-p", `{"data":{"key":"after"}}`)
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
	s := openWith(t, strings.Replace(configuration, "analyzers:", "analyzers:\n  ConfigDrift: {grace: 1s}", 1), nil)
	s.kubectl("create", "namespace", "shop")
	s.apply(strings.ReplaceAll(configured, "NAME", "front") + "---" + strings.ReplaceAll(configured, "NAME", "back"))
	s.changed("front")
	s.changed("back")
	s.eventually("two findings, and what rules propose", func() (bool, string) {
		findings, proposed := s.seen()
		return len(findings) == 2 && len(proposed) == 2, fmt.Sprint(findings, proposed)
	})
	_, byRules := s.seen()

	server := scripted.Start("")
	defer server.Close()
	server.Reply(byName)
	stop := s.advisorWith(t, "srenix-advisor-0", server.BaseURL(), "planning", key, "--automatic-severity=Info", "--model-makes-plans")
	defer stop()
	var first, second v1alpha1.Proposal
	s.eventually("the steps of a plan", func() (bool, string) {
		steps := s.steps()
		first, second = steps[1], steps[2]
		return len(steps) == 2 && first.Status.Phase == v1alpha1.ProposalOpen && second.Status.Phase == v1alpha1.ProposalBlocked, fmt.Sprint(steps, s.calls("planning"))
	})
	for _, step := range []v1alpha1.Proposal{first, second} {
		if step.Spec.Source != v1alpha1.SourceLLM || step.Spec.Tier != v1alpha1.TierPlan || step.Spec.Plan.Digest != first.Spec.Plan.Digest || step.Spec.ActionKind != v1alpha1.ActionPatchDeploymentAnnotation {
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
	for of, name := range map[string]string{"1/2": first.Name, "2/2": second.Name} {
		if !slices.ContainsFunc(strings.Split(wide, "\n"), func(line string) bool {
			return strings.HasPrefix(line, name+" ") && slices.Contains(strings.Fields(line), of)
		}) {
			t.Errorf("%s is not shown as %s:\n%s", name, of, wide)
		}
	}

	// Who may do both by hand may not approve the second before the first.
	petra := s.person("petra", "srenix-approver")
	s.kubectl("create", "role", "restarts", "-n", "shop", "--verb=get,patch", "--resource=deployments.apps")
	s.kubectl("create", "rolebinding", "restarts", "-n", "shop", "--role=restarts", "--user=petra")
	approve := func(of *v1alpha1.Proposal) (string, bool) {
		return s.given(petra, "", "create", "approval", "--proposal", of.Name, "-n", "shop", "--yes")
	}
	if output, ok := approve(&second); ok || !strings.Contains(output, "step 1, proposal "+first.Name+", is not approved yet") {
		t.Errorf("approving the second step before the first says %s", output)
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

	for _, step := range []*v1alpha1.Proposal{&first, &second} {
		if output, ok := approve(step); !ok {
			t.Fatalf("approving step %d: %s", step.Spec.Plan.Step, output)
		}
		approval := s.verified(step)
		if approval.Spec.Proposal.Digest != step.Spec.Digest || approval.Spec.Snapshot.Plan == nil || approval.Spec.Snapshot.Plan.Digest != first.Spec.Plan.Digest || approval.Status.Approver != "petra" {
			t.Errorf("what was approved is %+v, by %s", approval.Spec, approval.Status.Approver)
		}
		if step == &second {
			break
		}
		if at := s.restartedAt(&second); at != "" {
			t.Errorf("the second step was done at %s", at)
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
		if s.restartedAt(step) == "" {
			t.Errorf("step %d is verified, and Deployment %s was not restarted", step.Spec.Plan.Step, step.Spec.Target.Name)
		}
	}
	if output := s.kubectl("srenix", "audit", "verify"); !strings.Contains(output, "verified") {
		t.Errorf("the chain does not verify: %s", output)
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
				return approval.Status.Phase == opsv1alpha1.PhaseSucceeded && meta.IsStatusConditionTrue(approval.Status.Conditions, opsv1alpha1.ConditionVerified), fmt.Sprintf("%+v", approval.Status)
			}
		}
		return false, output
	})
	return approval
}

// restartedAt is when the Deployment of a proposal was restarted; empty if it was not.
func (s shop) restartedAt(of *v1alpha1.Proposal) string {
	s.Helper()
	return s.kubectl("get", "deployment", of.Spec.Target.Name, "-n", "shop", "-o", `jsonpath={.spec.template.metadata.annotations.kubectl\.kubernetes\.io/restartedAt}`)
}
