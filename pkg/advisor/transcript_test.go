// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sashabaranov/go-openai"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/ai/investigator"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

// docs/reasoning.md shows what a model is told and answers, as it is here.
func TestTheTranscriptIsThatOfItsPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reasoning.md"))
	if err != nil {
		t.Fatal(err)
	}
	finding := newFinding("crash", srenix.SeverityCritical)
	finding.Spec.Subject = srenix.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	finding.Spec.Related = []srenix.RelatedObject{{ObjectReference: srenix.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-7d9c5-abcde"}, Relation: "pod that is in trouble"}}
	finding.Spec.Message = "Container app of Deployment web ends again and again. Container app of pod web-7d9c5-abcde ended with exit code 2."
	n := newNarrated(t, nil, finding)
	n.questions = []question{narration, choice}
	n.restartAll()
	n.result.RootCause = `Container app of Pod web-7d9c5-abcde ends because a host's name cannot be resolved: it logged "panic: dial tcp: lookup db on 10.0.0.10:53: no such host". There is no Service db in namespace shop.`
	n.result.Evidence = nil
	for _, read := range [][3]string{
		{"Object", "Pod/web-7d9c5-abcde", "phase Running; container app waits (CrashLoopBackOff), and before ended with exit code 2 (Error)"},
		{"Events", "Pod/web-7d9c5-abcde", "no warnings"},
		{"Log", "Pod/web-7d9c5-abcde container app before its last restart", "starting with DB_PASSWORD=[secret]\npanic: dial tcp: lookup db on 10.0.0.10:53: no such host"},
		{"Object", "Service/db", "does not exist"},
	} {
		n.result.Evidence = append(n.result.Evidence, opsv1alpha1.Evidence{Tool: opsv1alpha1.InvestigationTool(read[0]), Source: read[1], Said: read[2], At: metav1.NewTime(begin)})
	}
	var answers []string
	n.server.Reply(func(request openai.ChatCompletionRequest) string {
		answer := `{"fixer":"none"}`
		if asked := request.Messages[1].Content; !strings.Contains(asked, "\nfixers:\n") {
			_, after, _ := strings.Cut(asked, "- Deployment ")
			subject, _, _ := strings.Cut(after, " ")
			answer = `{"narrative":"The pods of ` + subject + ` end as soon as they look for their database, for the Service that they ask for does not exist. Nobody is served meanwhile. The Service was likely deleted or renamed.","related":["` + subject + `"]}`
		}
		answers = append(answers, answer)
		return answer
	})
	n.reconcile("crash")
	for range 3 {
		n.narrate(finding)
	}
	n.asked(3)
	status := n.stored(finding).Status
	shown := append([]string{status.Narrative}, answers...)
	told := func(nth int) string { return n.server.Requests()[nth].Chat.Messages[1].Content }
	// Of the second question and its control, what is other than in the first.
	const last = " ends\n"
	shown = append(shown, told(0), told(1)[strings.Index(told(1), "fixers:"):strings.Index(told(1), "data ")],
		told(2)[strings.Index(told(2), "data "):strings.Index(told(2), last)+len(last)])
	for _, text := range shown {
		if !strings.Contains(unwrapped(string(page)), unwrapped(text)) {
			t.Errorf("docs/reasoning.md does not show\n%s", text)
		}
	}
}

// So it does for a runbook.
func TestTheRunbookIsThatOfItsPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reasoning.md"))
	if err != nil {
		t.Fatal(err)
	}
	finding := newLacking("vault")
	finding.Spec.Message += " It has TOKEN, which may be what was meant."
	n := draftingWorld(t, finding, "")
	n.server.Reply(func(request openai.ChatCompletionRequest) string {
		asked := request.Messages[1].Content
		_, after, _ := strings.Cut(asked, "- ExternalSecret ")
		subject, after, _ := strings.Cut(after, " in namespace ")
		namespace, _, _ := strings.Cut(after, " ")
		return strings.NewReplacer("PATH", pathTold.FindString(asked), "SUBJECT", subject, "NAMESPACE", namespace).Replace(`{"steps":[
			{"do":"See which versions the secret has, and when the last one was written. A key may have been renamed since.","run":"vault kv metadata get PATH"},
			{"do":"If TOKEN is what was meant, correct the property in SUBJECT where it is kept, and stop here."},
			{"do":"If not, ask the owner for the token, and add it. The other keys stay.","run":"vault kv patch PATH token=${VALUE_TOKEN}"},
			{"do":"Wait until the next refresh, and see whether it is Ready.","run":"kubectl get externalsecret SUBJECT -n NAMESPACE"}]}`)
	})
	n.narrate(finding)
	n.asked(1)
	told := n.server.Requests()[0].Chat.Messages[1].Content
	draft := n.stored(finding).Status.Runbook
	if draft == nil {
		t.Fatal("there is no draft")
	}
	for _, text := range []string{finding.Spec.Message, told[strings.Index(told, "paths:"):strings.Index(told, "data ")], draft.Title, draft.Text} {
		if !strings.Contains(unwrapped(string(page)), unwrapped(text)) {
			t.Errorf("docs/reasoning.md does not show\n%s", text)
		}
	}
}

// unwrapped is a text whatever its lines are wrapped at.
func unwrapped(text string) string { return strings.Join(strings.Fields(text), " ") }

// So it does for an investigation by the model, from what rules have read to its end.
func TestTheInvestigationIsThatOfItsPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reasoning.md"))
	if err != nil {
		t.Fatal(err)
	}
	finding := newFinding("crash", srenix.SeverityCritical)
	finding.Spec.Subject = srenix.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web"}
	finding.Spec.Related = []srenix.RelatedObject{{ObjectReference: srenix.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-7d9c5-abcde"}, Relation: "pod that is in trouble"}}
	finding.Spec.Message = "Container app of Deployment web ends again and again. Container app of pod web-7d9c5-abcde ended with exit code 2."
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}}
	n := newNarrated(t, nil, finding, service)
	rules := investigator.New(investigator.Options{Reader: n.client, Logs: tails("starting\nlost postgres://db/shop: connect: connection refused"), Clock: n.clock})
	n.questions = []question{inquiring(rules.Explore, scripted.Name)}
	n.restartAll()
	n.result.Evidence = []opsv1alpha1.Evidence{
		{Tool: opsv1alpha1.ToolObject, Source: "Pod/web-7d9c5-abcde", Said: "phase Running; container app waits (CrashLoopBackOff), and before ended with exit code 2 (Error)", At: metav1.NewTime(begin)},
		{Tool: opsv1alpha1.ToolLog, Source: "Pod/web-7d9c5-abcde container app before its last restart", Said: "does not exist", At: metav1.NewTime(begin)},
	}
	n.result.RootCause = "Insufficient data: there is no log of Pod/web-7d9c5-abcde container app before its last restart."
	n.reconcile("crash")
	answers := []string{`{"tool":"read-previous-log","target":3}`, `{"tool":"read-state","target":4}`, ""}
	nth := 0
	n.server.Reply(func(request openai.ChatCompletionRequest) string {
		if nth++; nth <= 2 {
			return answers[nth-1]
		}
		_, after, _ := strings.Cut(request.Messages[1].Content, "\n4. Service ")
		service, _, _ := strings.Cut(after, " ")
		answers[2] = `{"rootCause":"The program ends because ` + service + ` refuses its connections, and that Service has no ready endpoint."}`
		return answers[2]
	})
	n.narrate(finding)
	n.asked(3)
	found := n.stored(finding).Status.ModelInvestigation
	if found == nil || found.RootCause == "" {
		t.Fatalf("have %+v", found)
	}
	told := func(nth int) string { return n.server.Requests()[nth].Chat.Messages[1].Content }
	last := told(2)
	shown := append([]string{told(0)[strings.Index(told(0), "tools:"):strings.Index(told(0), "data ")], found.RootCause}, answers...)
	shown = append(shown, last[strings.Index(last, "targets:"):strings.Index(last, "data ")])
	// What it chose stands after what it began with.
	_, began, _ := strings.Cut(told(0), "\ndata ")
	_, since, _ := strings.Cut(last, began)
	shown = append(shown, since)
	for _, text := range shown {
		if !strings.Contains(unwrapped(string(page)), unwrapped(text)) {
			t.Errorf("docs/reasoning.md does not show\n%s", text)
		}
	}
}

// So it does for a plan.
func TestThePlanIsThatOfItsPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reasoning.md"))
	if err != nil {
		t.Fatal(err)
	}
	crashing := func(kind, name, pod string) *srenix.Finding {
		finding := newFinding("container-crashing-"+name, srenix.SeverityCritical)
		finding.Spec.Subject = srenix.ObjectReference{APIVersion: "apps/v1", Kind: kind, Namespace: "shop", Name: name}
		finding.Spec.Related = []srenix.RelatedObject{{ObjectReference: srenix.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: pod}, Relation: "pod that is in trouble"}}
		finding.Spec.Message = fmt.Sprintf("Container app of %s %s ends again and again. Container app of pod %s ended with exit code 2.", kind, name, pod)
		return finding
	}
	finding := crashing("Deployment", "web", "web-7d9c5-abcde")
	n := newNarrated(t, nil, finding, crashing("StatefulSet", "db", "db-0"))
	n.questions = []question{planning}
	n.restartAll()
	n.result.RootCause = `Container app of Pod web-7d9c5-abcde ends because what it connects to refuses the connection: it logged "lost db: connect: connection refused".`
	n.result.Evidence = []opsv1alpha1.Evidence{{
		Tool: opsv1alpha1.ToolLog, Source: "Pod/web-7d9c5-abcde container app before its last restart", Said: "lost db: connect: connection refused", At: metav1.NewTime(begin),
	}}
	n.reconcile(finding.Name)
	const answer = `{"steps":[{"finding":2,"fixer":"replace-crashing-pod"},{"finding":1,"fixer":"replace-crashing-pod"}]}`
	n.server.Reply(func(openai.ChatCompletionRequest) string { return answer })
	n.narrate(finding)
	n.asked(2)
	if plan := n.stored(finding).Status.Plan; plan == nil || len(plan.Steps) != 2 || plan.Steps[0].Finding.Name != "container-crashing-db" {
		t.Fatalf("planned is %+v", plan)
	}
	told := func(nth int) string { return n.server.Requests()[nth].Chat.Messages[1].Content }
	known, after, _ := strings.Cut(told(0), "fixers:")
	_, tainted, _ := strings.Cut(after, "\ndata ")
	_, scrambled, _ := strings.Cut(told(1), "\ndata ")
	shown := []string{answer, known, "data " + tainted, "data " + scrambled}
	for _, text := range shown {
		if !strings.Contains(unwrapped(string(page)), unwrapped(text)) {
			t.Errorf("docs/reasoning.md does not show\n%s", text)
		}
	}
}
