// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sashabaranov/go-openai"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
	scripted "github.com/srenix/srenix/test/model"
)

// choosing is a world whose model is asked for fixes alone.
func choosing(t *testing.T, finding *srenix.Finding, answer func(told string) string) *narrated {
	t.Helper()
	n := newNarrated(t, nil, finding)
	n.questions = []question{choice}
	n.restartAll()
	n.server.Reply(func(request openai.ChatCompletionRequest) string { return answer(request.Messages[1].Content) })
	n.reconcile("crash")
	return n
}

func always(answer string) func(string) string { return func(string) string { return answer } }

func TestAModelChoosesAFixerOfTheList(t *testing.T) {
	ignoreHash := cmpopts.IgnoreFields(opsv1alpha1.ChosenFix{}, "Hash")
	for name, test := range map[string]struct {
		answer   func(string) string
		behavior scripted.Behavior
		want     *opsv1alpha1.ChosenFix
		calls    int
	}{
		"one of them":              {always(`{"fixer":"restart-deployment"}`), scripted.Strict, &opsv1alpha1.ChosenFix{Fixer: fixers.RestartDeployment}, 2},
		"one of them alone":        {always(`{"fixer":"restart-deployment"}`), scripted.BareName, &opsv1alpha1.ChosenFix{Fixer: fixers.RestartDeployment}, 2},
		"none":                     {always(`{"fixer":"none"}`), scripted.Strict, &opsv1alpha1.ChosenFix{}, 2},
		"one that it makes up":     {always(`{"fixer":"restart-deployment"}`), scripted.Hallucinated, &opsv1alpha1.ChosenFix{}, 1},
		"something of wrong types": {always(`{"fixer":"restart-deployment"}`), scripted.WrongTypes, &opsv1alpha1.ChosenFix{}, 1},
		"nothing, for it fails":    {always(`{"fixer":"restart-deployment"}`), scripted.ServerError, nil, 1},
		"one that the data decide": {func(told string) string {
			if strings.Contains(told, "It is refused") {
				return `{"fixer":"remove-failed-pod"}`
			}
			return `{"fixer":"none"}`
		}, scripted.Strict, &opsv1alpha1.ChosenFix{Quarantined: true, Answered: fixers.RemoveFailedPod, Control: "none"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			finding := newFinding("crash", srenix.SeverityCritical)
			n := choosing(t, finding, test.answer)
			n.server.Script(test.behavior)
			wait := n.narrate(finding)
			have := n.stored(finding).Status
			if diff := cmp.Diff(test.want, have.Fix, ignoreHash); diff != "" {
				t.Errorf("what is chosen (-want +have):\n%s", diff)
			}
			if len(have.Calls) != test.calls || (wait > 0) != (test.want == nil) {
				t.Errorf("it is asked again in %s, and the calls are %+v", wait, have.Calls)
			}
			n.restartAll()
			n.narrate(finding)
			n.asked(test.calls)
		})
	}
}

// answering narrates, and chooses a restart.
func answering(request openai.ChatCompletionRequest) string {
	if strings.Contains(request.Messages[1].Content, "fixers:") {
		return `{"fixer":"restart-deployment"}`
	}
	return reply
}

func TestQuestionsAreAskedOneAfterTheOther(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, finding)
	n.questions = []question{narration, choice}
	n.restartAll()
	n.server.Reply(answering)
	n.reconcile("crash")
	for range 4 {
		n.narrate(finding)
	}
	n.asked(3)
	if have := n.stored(finding).Status; have.Narrative != told || have.Fix == nil || have.Fix.Fixer != fixers.RestartDeployment {
		t.Errorf("have %+v", have)
	}
	// While one gets no answer, the other may.
	n.server.Script(scripted.Strict, scripted.ServerError)
	n.result.Evidence[0].Said = "phase Failed"
	n.ask(finding)
	n.reconcile("crash")
	if have := n.stored(finding).Status; have.Fix != nil {
		t.Errorf("what was chosen for something else stays: %+v", have.Fix)
	}
	for range 2 {
		n.narrate(finding)
	}
	if have := n.stored(finding).Status; have.Narrative != "" || have.Fix == nil {
		t.Errorf("have %+v", have)
	}
}
