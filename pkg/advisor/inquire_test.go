// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sashabaranov/go-openai"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/ai/investigator"
	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/tiers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

// tails are the same log of each container.
type tails string

func (t tails) Tail(context.Context, string, string, string, bool) (string, error) {
	return string(t), nil
}

// inquired is a world whose model is let look further, of one finding about Pod web.
func inquired(t *testing.T, log string, change func(*model.Options)) (*narrated, *srenix.Finding) {
	t.Helper()
	finding := newFinding("crash", srenix.SeverityCritical)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       corev1.PodSpec{NodeName: "worker-1", Containers: []corev1.Container{{Name: "cashier", Image: "example/web:1"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	n := newNarrated(t, change, finding, pod)
	rules := investigator.New(investigator.Options{Reader: n.client, Logs: tails(log), Clock: n.clock})
	n.questions = []question{inquiring(rules.Explore, scripted.Name)}
	n.restartAll()
	n.reconcile("crash")
	return n, finding
}

// inTurn answers one after the other, the last for good.
func inTurn(answers ...string) func(openai.ChatCompletionRequest) string {
	next := 0
	return func(openai.ChatCompletionRequest) string {
		next++
		return answers[min(next, len(answers))-1]
	}
}

// The targets are the pod, and then its container.
const (
	readPod  = `{"tool":"read-state","target":1}`
	readLog  = `{"tool":"read-previous-log","target":2}`
	theCause = `{"rootCause":"It does not find the Service that it asks for."}`
)

const dbLog = "starting with DB_PASSWORD=correct-horse-battery\npanic: dial tcp: lookup billing on 10.0.0.10:53: no such host"

func TestAModelLooksFurther(t *testing.T) {
	n, finding := inquired(t, dbLog, nil)
	n.server.Reply(inTurn(readPod, readLog, `{"tool":"read-state","target":3}`, theCause))
	before := n.stored(finding).Status
	if wait := n.narrate(finding); wait != 0 {
		t.Errorf("it waits for %s", wait)
	}
	n.asked(4)
	have := n.stored(finding).Status
	if diff := cmp.Diff(before, have, ofTheModel); diff != "" {
		t.Errorf("what rules found is another (-before +after):\n%s", diff)
	}
	found := have.ModelInvestigation
	if found == nil || found.RootCause != "It does not find the Service that it asks for." {
		t.Fatalf("have %+v", found)
	}
	var read []string
	for _, evidence := range found.Evidence {
		read = append(read, string(evidence.Tool)+" "+evidence.Source)
	}
	if diff := cmp.Diff([]string{"Object Pod/web", "Log Pod/web container cashier before its last restart", "Object Service/billing"}, read); diff != "" {
		t.Errorf("evidence (-want +have):\n%s", diff)
	}
	for i, call := range have.Calls {
		if call.Prompt != tiers.InvestigatePrompt || call.Outcome != "OK" || call.By != onItsOwn || call.About != have.Calls[0].About || i > 0 && call.PromptHash == have.Calls[i-1].PromptHash {
			t.Errorf("call %d is %+v", i, call)
		}
	}
	if n := len(have.Calls); n != 4 {
		t.Errorf("%d calls are noted", n)
	}
	for _, request := range n.server.Requests() {
		for _, name := range []string{"correct-horse", "shop", "billing", "cashier", "10.0.0.10", " web", "worker-1"} {
			if told := request.Chat.Messages[1].Content; strings.Contains(told, name) {
				t.Errorf("%q is in\n%s", name, told)
			}
		}
	}
	// The same is not looked into again: not by this advisor, not by the next, not later.
	for range 3 {
		n.restartAll()
		n.time.Step(time.Hour)
		n.narrate(finding)
	}
	n.ask(finding)
	n.reconcile("crash")
	n.narrate(finding)
	n.asked(4)
	// Of what has changed since it is told nothing.
	n.result.Evidence[0].Said = "phase Failed"
	n.ask(finding)
	n.reconcile("crash")
	if have := n.stored(finding).Status.ModelInvestigation; have != nil {
		t.Errorf("of what was there before there is %+v", have)
	}
}

// Whatever a model does in whichever round, the Investigation is as without one.
func TestWhateverAModelDoesInAnyRoundInvestigationsAreAsWithoutOne(t *testing.T) {
	without := newWorld(t, newFinding("crash", srenix.SeverityCritical))
	without.reconcile("crash")
	want := without.stored(newFinding("crash", srenix.SeverityCritical)).Status
	well := []scripted.Behavior{scripted.Strict, scripted.Fenced, scripted.Prose, scripted.Parts, scripted.NoUsage, scripted.Gullible}
	for _, behavior := range scripted.Behaviors() {
		if slices.Contains(well, behavior) || behavior == scripted.Slow { // of which TestAnInvestigationEndsInTime is
			continue
		}
		for round := 1; round <= 3; round++ {
			t.Run(fmt.Sprintf("%s in round %d", behavior, round), func(t *testing.T) {
				t.Parallel()
				n, finding := inquired(t, dbLog, nil)
				n.server.RetryAfter = "120"
				n.server.Reply(inTurn(readPod, readLog, theCause))
				n.server.Script(scripted.Strict, append(slices.Repeat([]scripted.Behavior{scripted.Strict}, round-1), behavior)...)
				n.narrate(finding)
				n.asked(round)
				have := n.stored(finding).Status
				if diff := cmp.Diff(want, have, ofTheModel); diff != "" {
					t.Errorf("with a model that does this (-without +with):\n%s", diff)
				}
				if of := have.ModelInvestigation; of != nil && (of.RootCause != "" || len(of.Evidence) > 0) || len(have.Calls) != round || have.Calls[round-1].Outcome == "OK" {
					t.Errorf("have %+v, and calls %+v", of, have.Calls)
				}
				// It is begun again only if it had not its say: then later.
				n.time.Step(time.Hour)
				n.restartAll()
				n.narrate(finding)
				again := len(n.server.Requests()) > round
				said := round > 1 || have.Calls[round-1].AnswerHash != "" || slices.Contains([]string{"Empty", "Refused"}, have.Calls[round-1].Outcome)
				if again == said || said != (have.ModelInvestigation != nil) {
					t.Errorf("after %s it is begun again: %t", have.Calls[round-1].Outcome, again)
				}
			})
		}
	}
}

// The advisor may end between two rounds.
func TestAnInvestigationThatWasInterruptedIsNotBegunAgain(t *testing.T) {
	n, finding := inquired(t, dbLog, nil)
	n.server.Reply(inTurn(readPod, theCause))
	n.narrate(finding)
	n.asked(2)
	stored := n.stored(finding)
	stored.Status.ModelInvestigation, stored.Status.Calls = nil, stored.Status.Calls[:1]
	if err := n.client.Status().Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n.restartAll()
		n.narrate(finding)
		n.time.Step(time.Hour)
	}
	n.asked(2)
}

func TestAnInvestigationBeginsOnlyWithRoomForAllItsCalls(t *testing.T) {
	n, finding := inquired(t, dbLog, nil)
	n.server.Reply(inTurn(theCause))
	stored := n.stored(finding)
	for i := range opsv1alpha1.MaximumCalls - tiers.MaximumReads {
		stored.Status.Calls = append(stored.Status.Calls, opsv1alpha1.ModelCall{
			ID: fmt.Sprintf("5f0c6f3e-8a43-4b7e-9d55-%012d", i), By: "ben", At: metav1.NewTime(begin.Add(time.Duration(i) * time.Minute)), Model: "other", Prompt: "narrate/1", Attempts: 1, Outcome: "OK",
		})
	}
	if err := n.client.Status().Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	n.time.SetTime(begin.Add(50 * time.Minute))
	if wait := n.narrate(finding); wait != 10*time.Minute {
		t.Errorf("it waits for %s", wait)
	}
	n.asked(0)
	n.time.Step(10 * time.Minute)
	n.narrate(finding)
	n.asked(1)
}

func TestAllRoundsAreOneInvestigationOfTheBudget(t *testing.T) {
	n := newNarrated(t, nil)
	rules := investigator.New(investigator.Options{Reader: n.client, Logs: tails(dbLog), Clock: n.clock})
	n.questions = []question{inquiring(rules.Explore, scripted.Name)}
	n.restartAll()
	n.server.Reply(func(request openai.ChatCompletionRequest) string {
		if strings.Contains(request.Messages[1].Content, "was read") {
			return theCause
		}
		return readPod
	})
	for i, finding := range n.troubles("CrashLoop", inquiriesPerHour+1) {
		n.restartAll()
		if wait := n.narrate(finding); wait > 0 != (i == inquiriesPerHour) {
			t.Errorf("finding %d waits for %s", i, wait)
		}
	}
	n.asked(2 * inquiriesPerHour)
}
