// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sashabaranov/go-openai"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/srenix/srenix/pkg/ai/investigator"
	"github.com/srenix/srenix/pkg/ai/model"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

const (
	told  = "The pods of the shop crash. Nobody can pay until they run again."
	reply = `{"narrative":"` + told + `","related":[]}`
)

// narrated is a world whose advisor has a model.
type narrated struct {
	*world
	server    *scripted.Server
	options   model.Options
	questions []question
	n         *narrator
	time      *testingclock.FakeClock
}

func newNarrated(t *testing.T, change func(*model.Options), objects ...client.Object) *narrated {
	t.Helper()
	n := &narrated{world: newWorld(t, objects...), server: scripted.Start(reply), time: testingclock.NewFakeClock(begin), questions: []question{narration}}
	t.Cleanup(n.server.Close)
	// A pause that is not worth waiting for ends a call at its first attempt.
	n.options = model.Options{BaseURL: n.server.BaseURL(), Model: scripted.Name, Clock: n.time, LongestPause: 1}
	if change != nil {
		change(&n.options)
	}
	n.restartAll()
	return n
}

// restartAll makes the advisor anew, with nothing in its memory.
func (n *narrated) restartAll() {
	n.Helper()
	n.restart()
	asked, err := model.New(n.options)
	if err != nil {
		n.Fatal(err)
	}
	n.n = &narrator{
		cached: n.client, client: n.client, model: asked, name: scripted.Name, key: bytes.Repeat([]byte{7}, 32), questions: n.questions, texts: 8000, own: own, clock: n.options.Clock,
		buckets: newBuckets(n.client, n.options.Clock, n.r.metrics),
	}
}

// narrate returns after what time the model is to be asked again.
func (n *narrated) narrate(finding *srenix.Finding) time.Duration {
	n.Helper()
	key := client.ObjectKey{Namespace: finding.Namespace, Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)}
	result, err := n.n.Reconcile(n.Context(), reconcile.Request{NamespacedName: key})
	if err != nil {
		n.Fatal(err)
	}
	return result.RequeueAfter
}

func (n *narrated) asked(times int) {
	n.Helper()
	if have := len(n.server.Requests()); have != times {
		n.Errorf("the model was asked %d times, want %d", have, times)
	}
}

// ofTheModel is all that an Investigation has from a model.
var ofTheModel = cmpopts.IgnoreFields(opsv1alpha1.InvestigationStatus{}, "Narrative", "LookAt", "NarratedHash", "ModelInvestigation", "Fix", "Plan", "Calls", "DraftedHash")

func TestWhateverAModelDoesInvestigationsAreAsWithoutOne(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	without := newWorld(t, finding.DeepCopy())
	without.reconcile("crash")
	answers := []scripted.Behavior{scripted.Strict, scripted.Fenced, scripted.Prose, scripted.Parts, scripted.NoUsage, scripted.Gullible}
	noAnswers := []scripted.Behavior{
		scripted.WrongProtocol, scripted.NotJSON, scripted.InvalidUTF8, scripted.Huge, scripted.Endless, scripted.Slow, scripted.Reset, scripted.ResetHalfway,
		scripted.Unauthorized, scripted.NotFound, scripted.Redirect, scripted.RateLimited, scripted.RateLimitedFor, scripted.ServerError, scripted.UnavailableFor,
	}
	for _, behavior := range scripted.Behaviors() {
		t.Run(string(behavior), func(t *testing.T) {
			t.Parallel()
			n := newNarrated(t, func(o *model.Options) {
				if behavior == scripted.Slow {
					o.Clock, o.Timeout = clock.RealClock{}, 100*time.Millisecond
				}
			}, finding.DeepCopy())
			n.server.RetryAfter = "120"
			n.server.Script(behavior)
			n.reconcile("crash")
			wait := n.narrate(finding)
			n.asked(1)
			have := n.stored(finding)
			if diff := cmp.Diff(without.stored(finding).Status, have.Status, ofTheModel); diff != "" {
				t.Errorf("with a model that does this (-without +with):\n%s", diff)
			}
			calls := have.Status.Calls
			if len(calls) != 1 {
				t.Fatalf("the calls are %+v", calls)
			}
			outcome := model.Outcome(calls[0].Outcome)
			if slices.Contains(answers, behavior) {
				if have.Status.Narrative != told || outcome != model.OK || calls[0].AnswerHash == "" {
					t.Errorf("the narrative is %q, and the call %+v", have.Status.Narrative, calls[0])
				}
			} else if have.Status.Narrative != "" || outcome == model.OK || outcome == "" {
				t.Errorf("the narrative is %q, and the call %+v", have.Status.Narrative, calls[0])
			}
			if again := wait > 0; again != slices.Contains(noAnswers, behavior) || again == (have.Status.NarratedHash != "") {
				t.Errorf("after %s it is asked again in %s, and the hash is %q", outcome, wait, have.Status.NarratedHash)
			}
		})
	}
}

func TestTheSameIsAskedOnce(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, finding)
	n.reconcile("crash")
	writes := n.writes
	for range 3 {
		n.narrate(finding)
		n.restartAll()
		n.time.Step(time.Hour)
	}
	n.asked(1)
	if n.writes != writes+3 { // the call before and after, and the narrative
		t.Errorf("%d writes", n.writes-writes)
	}
	// An answer that is of no use is not asked for again either.
	n.server.Script(scripted.CutJSON)
	n.result.Evidence[0].Said = "phase Failed"
	n.ask(finding)
	n.reconcile("crash")
	if have := n.stored(finding).Status.Narrative; have != "" {
		t.Errorf("of what was there before it is told %q", have)
	}
	for range 3 {
		n.narrate(finding)
		n.restartAll()
		n.time.Step(time.Hour)
	}
	n.asked(2)
	have := n.stored(finding).Status
	if have.Narrative != "" || len(have.Calls) != 2 || have.Calls[0].By != onItsOwn || have.Calls[1].By != "anna" {
		t.Errorf("have %q, and calls %+v", have.Narrative, have.Calls)
	}
	// Another model may say more.
	n.n.name = "other"
	n.server.Script(scripted.Strict)
	n.narrate(finding)
	n.asked(3)
}

func TestAModelThatGaveNoAnswerIsAskedAgainLater(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, finding)
	n.server.Script(scripted.Strict, scripted.ServerError)
	n.reconcile("crash")
	if wait := n.narrate(finding); wait != again {
		t.Errorf("it waits for %s", wait)
	}
	n.time.Step(again / 2)
	n.restartAll()
	if wait := n.narrate(finding); wait != again/2 {
		t.Errorf("it waits for %s", wait)
	}
	n.asked(1)
	n.time.Step(again / 2)
	if wait := n.narrate(finding); wait != 0 || n.stored(finding).Status.Narrative != told {
		t.Errorf("it waits for %s, and tells %q", wait, n.stored(finding).Status.Narrative)
	}
	n.asked(2)
}

func TestTheBudgetOfAnHourHoldsAcrossRestarts(t *testing.T) {
	first, second := newFinding("a", srenix.SeverityCritical), newFinding("b", srenix.SeverityCritical)
	n := newNarrated(t, func(o *model.Options) { o.PromptTokens, o.AnswerTokens, o.HourlyTokens = 4000, 500, 5000 }, first, second)
	n.server.Script(scripted.NoUsage) // so that the most counts
	n.reconcile("a")
	n.reconcile("b")
	n.narrate(first)
	used := n.stored(first).Status.Calls[0]
	if !used.Estimated || used.AnswerTokens != 500 {
		t.Fatalf("it used %+v", used)
	}
	// What the first has left is less than the second may use.
	n.options.HourlyTokens = int(used.PromptTokens+used.AnswerTokens) + 600
	n.restartAll()
	wait := n.narrate(second)
	n.asked(1)
	if calls := n.stored(second).Status.Calls; len(calls) != 1 || calls[0].Attempts != 0 || calls[0].PromptTokens+calls[0].AnswerTokens != 0 || wait != time.Hour {
		t.Errorf("it waits for %s; of a call that was not made there is %+v", wait, calls)
	}
	// What it notes brings it to the model again, which must not become a circle.
	writes := n.writes
	if wait := n.narrate(second); wait != again || n.writes != writes {
		t.Errorf("it waits for %s, and has written %d times", wait, n.writes-writes)
	}
	n.time.Step(time.Hour)
	n.restartAll()
	n.narrate(second)
	n.asked(2)
}

func TestACallIsNotedBeforeItIsMade(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, finding)
	var during []opsv1alpha1.ModelCall
	n.server.Reply(func(openai.ChatCompletionRequest) string {
		during = n.stored(finding).Status.Calls
		return reply
	})
	n.reconcile("crash")
	n.narrate(finding)
	after := n.stored(finding).Status.Calls
	if len(during) != 1 || len(after) != 1 || during[0].Outcome != "" || during[0].PromptTokens != 24_000 || during[0].AnswerTokens != 3_000 || !during[0].Estimated {
		t.Fatalf("during the call there was %+v", during)
	}
	if during[0].ID != after[0].ID || during[0].PromptHash != after[0].PromptHash || after[0].Outcome != "OK" || after[0].PromptTokens >= 24_000 {
		t.Errorf("it was %+v, and is %+v", during, after)
	}
	asking := &noted{model: n.n.model, by: "anna", change: func(context.Context, func(*opsv1alpha1.InvestigationStatus)) error { return errors.New("not now") }}
	if _, err := asking.Ask(t.Context(), model.Request{PromptVersion: "narrate/1"}); err == nil {
		t.Error("a call is made that cannot be noted")
	}
	n.asked(1)
}

func TestACallThatNobodyMakesAnyMoreIsInterrupted(t *testing.T) {
	crashed, finding := newFinding("a", srenix.SeverityCritical), newFinding("b", srenix.SeverityCritical)
	n := newNarrated(t, func(o *model.Options) { o.HourlyTokens = 27_500 }, crashed, finding)
	n.reconcile("a")
	n.reconcile("b")
	investigation := n.stored(crashed)
	investigation.Status.Calls = []opsv1alpha1.ModelCall{{
		ID: "5f0c6f3e-8a43-4b7e-9d55-0c0c6a1f2b3d", By: onItsOwn, At: metav1.NewTime(begin), Model: scripted.Name, Prompt: "narrate/1", PromptTokens: 24_000, AnswerTokens: 3_000,
	}}
	if err := n.client.Status().Update(t.Context(), investigation); err != nil {
		t.Fatal(err)
	}
	n.restartAll()
	n.narrate(crashed)
	want := investigation.Status.Calls[0]
	want.Outcome = opsv1alpha1.OutcomeInterrupted
	if diff := cmp.Diff([]opsv1alpha1.ModelCall{want}, n.stored(crashed).Status.Calls, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("calls (-want +have):\n%s", diff)
	}
	// It counts in the budget, and is made again when such a one is.
	if n.narrate(finding); n.stored(finding).Status.Calls[0].Outcome != string(model.Budget) {
		t.Error("the budget does not know of it")
	}
	n.asked(0)
	if wait := n.narrate(crashed); wait != again {
		t.Errorf("it waits for %s", wait)
	}
	n.time.Step(time.Hour)
	n.narrate(crashed)
	n.asked(1)
}

func TestAFindingThatKeepsChangingIsNotAskedAboutAllTheTime(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, finding)
	var wait time.Duration
	for i := range opsv1alpha1.MaximumCalls + 4 {
		n.result.Evidence[0].Said = fmt.Sprint("phase ", i)
		n.ask(finding)
		n.reconcile("crash")
		wait = n.narrate(finding)
		n.time.Step(time.Minute)
	}
	n.asked(opsv1alpha1.MaximumCalls)
	if want := time.Hour - (opsv1alpha1.MaximumCalls+3)*time.Minute; wait != want {
		t.Errorf("it waits for %s, want %s", wait, want)
	}
	n.time.Step(wait)
	n.narrate(finding)
	n.asked(opsv1alpha1.MaximumCalls + 1)
	if have := len(n.stored(finding).Status.Calls); have != opsv1alpha1.MaximumCalls {
		t.Errorf("%d calls are kept", have)
	}
}

func TestNothingOfTheClusterIsInWhatAModelIsTold(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	finding.Spec.Subject.Name, finding.Spec.Related = "checkout", []srenix.RelatedObject{{ObjectReference: srenix.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "checkout-7c9-x2x4z"}, Relation: "pod"}}
	other := newFinding("other", srenix.SeverityWarning)
	other.Spec.Subject.Name = "ledger"
	n := newNarrated(t, nil, finding, other)
	n.result.RootCause = `Container app of Pod checkout-7c9-x2x4z ends: it logged "lookup billing.shop.svc on 10.0.0.10:53: no such host". There is no Service billing in namespace shop.`
	n.result.Evidence = []opsv1alpha1.Evidence{
		{Tool: opsv1alpha1.ToolObject, Source: "Pod/checkout-7c9-x2x4z", Said: "phase Running; on Node worker-seven", At: metav1.NewTime(begin)},
		{Tool: opsv1alpha1.ToolLog, Source: "Pod/checkout-7c9-x2x4z container app", Said: "ledger is there\nconnecting to db.corp.example.com as user shop_rw with DB_PASSWORD=[secret]", At: metav1.NewTime(begin)},
		{Tool: opsv1alpha1.ToolObject, Source: "Service/billing", Said: "does not exist", At: metav1.NewTime(begin)},
	}
	n.reconcile("crash")
	n.narrate(finding)
	n.asked(1)
	prompt := n.server.Requests()[0].Chat.Messages[1].Content
	for _, name := range []string{"checkout", "shop", "billing", "ledger", "10.0.0.10", "corp.example", "shop_rw", "worker-seven"} {
		if strings.Contains(prompt, name) {
			t.Errorf("%q is in\n%s", name, prompt)
		}
	}
	for _, part := range []string{"no such host", "does not exist", "phase Running", "(rules)", "(log)", "(object)", "analyzer: CrashLoop"} {
		if !strings.Contains(prompt, part) {
			t.Errorf("%q is not in\n%s", part, prompt)
		}
	}
}

func TestAFindingThatIsNotAsItWasLookedIntoWaitsForTheRules(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, finding)
	n.reconcile("crash")
	finding.Spec.Message = "It crashes otherwise."
	if err := n.client.Update(t.Context(), finding); err != nil {
		t.Fatal(err)
	}
	n.narrate(finding)
	n.asked(0)
	n.clock.SetTime(begin.Add(settle))
	n.reconcile("crash")
	n.narrate(finding)
	n.asked(1)
	if have := n.stored(finding).Status; have.Narrative != told || have.FindingHash != investigator.FindingHash(finding) {
		t.Errorf("have %+v", have)
	}
}
