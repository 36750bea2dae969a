// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sashabaranov/go-openai"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/ai/model"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
	scripted "github.com/srenix/srenix/test/model"
)

const plan = `{"steps":[{"finding":2,"fixer":"restart-deployment"},{"finding":1,"fixer":"replace-crashing-pod"}]}`

func TestAModelPutsFixesInOrder(t *testing.T) {
	ignoreHash := cmpopts.IgnoreFields(opsv1alpha1.ChosenPlan{}, "Hash")
	crash, drift := newFinding("crash", srenix.SeverityCritical), newFinding("drift", srenix.SeverityWarning)
	drift.UID = "drift-uid"
	named := func(f *srenix.Finding) opsv1alpha1.InvestigatedFinding {
		return opsv1alpha1.InvestigatedFinding{Name: f.Name, UID: f.UID}
	}
	both := &opsv1alpha1.ChosenPlan{Steps: []opsv1alpha1.ChosenStep{
		{Finding: named(drift), Fixer: fixers.RestartDeployment}, {Finding: named(crash), Fixer: fixers.ReplaceCrashingPod},
	}}
	nothing := &opsv1alpha1.ChosenPlan{}
	for name, test := range map[string]struct {
		answer   string
		behavior scripted.Behavior
		want     *opsv1alpha1.ChosenPlan
		calls    int
	}{
		"an order":                {plan, scripted.Strict, both, 2},
		"an order in prose":       {plan, scripted.Prose, both, 2},
		"none":                    {`{"steps":[]}`, scripted.Strict, nothing, 2},
		"a finding that is none":  {`{"steps":[{"finding":3,"fixer":"restart-deployment"},{"finding":1,"fixer":"restart-deployment"}]}`, scripted.Strict, nothing, 1},
		"a fixer that it made up": {`{"steps":[{"finding":2,"fixer":"reboot-all-nodes"},{"finding":1,"fixer":"restart-deployment"}]}`, scripted.Strict, nothing, 1},
		"wrong types":             {`{"steps":[{"finding":"2","fixer":"restart-deployment"},{"finding":1,"fixer":"restart-deployment"}]}`, scripted.Strict, nothing, 1},
		"nothing, for it fails":   {plan, scripted.ServerError, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNarrated(t, nil, crash.DeepCopy(), drift.DeepCopy())
			n.questions = []question{planning}
			n.restartAll()
			n.server.Reply(func(openai.ChatCompletionRequest) string { return test.answer })
			n.server.Script(test.behavior)
			n.reconcile("crash")
			n.narrate(crash)
			have := n.stored(crash).Status
			if diff := cmp.Diff(test.want, have.Plan, ignoreHash); diff != "" {
				t.Errorf("the plan (-want +have):\n%s", diff)
			}
			n.restartAll()
			n.narrate(crash)
			n.asked(test.calls)
			// What is found beside it is a part of what is asked.
			if test.want == both {
				if err := n.client.Delete(t.Context(), drift.DeepCopy()); err != nil {
					t.Fatal(err)
				}
				n.narrate(crash)
				n.asked(test.calls)
			}
		})
	}
}

func TestAFindingAloneIsNotPlanned(t *testing.T) {
	crash := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, crash)
	n.questions = []question{planning}
	n.restartAll()
	n.reconcile("crash")
	n.narrate(crash)
	n.asked(0)
	if have := n.stored(crash).Status.Plan; have != nil {
		t.Errorf("planned is %+v", have)
	}
}

// Whatever a model does in either of the two calls, the Investigation is as without one.
func TestWhateverAModelDoesWhenAskedForAPlanInvestigationsAreAsWithoutOne(t *testing.T) {
	crash, drift := newFinding("crash", srenix.SeverityCritical), newFinding("drift", srenix.SeverityWarning)
	without := newWorld(t, crash.DeepCopy(), drift.DeepCopy())
	without.reconcile("crash")
	want := without.stored(crash).Status
	well := []scripted.Behavior{scripted.Strict, scripted.Fenced, scripted.Prose, scripted.Parts, scripted.NoUsage, scripted.Gullible}
	// Where the control ends so, it differs from the answer.
	others := []model.Outcome{model.Malformed, model.WrongType}
	for _, behavior := range scripted.Behaviors() {
		for call := 1; call <= 2; call++ {
			t.Run(fmt.Sprintf("%s in call %d", behavior, call), func(t *testing.T) {
				t.Parallel()
				n := newNarrated(t, func(o *model.Options) {
					if behavior == scripted.Slow {
						o.Clock, o.Timeout = clock.RealClock{}, 100*time.Millisecond
					}
				}, crash.DeepCopy(), drift.DeepCopy())
				n.questions = []question{planning}
				n.restartAll()
				n.server.RetryAfter = "120"
				n.server.Reply(func(openai.ChatCompletionRequest) string { return plan })
				n.server.Script(scripted.Strict, append(slices.Repeat([]scripted.Behavior{scripted.Strict}, call-1), behavior)...)
				n.reconcile("crash")
				wait := n.narrate(crash)
				have := n.stored(crash).Status
				if diff := cmp.Diff(want, have, ofTheModel); diff != "" {
					t.Errorf("with a model that does this (-without +with):\n%s", diff)
				}
				if slices.Contains(well, behavior) {
					n.asked(2)
					if have.Plan == nil || len(have.Plan.Steps) != 2 || wait != 0 {
						t.Errorf("it is asked again in %s, and planned is %+v", wait, have.Plan)
					}
					return
				}
				n.asked(call)
				if len(have.Calls) != call || have.Calls[call-1].Outcome == "OK" || have.Calls[call-1].Outcome == "" {
					t.Fatalf("the calls are %+v", have.Calls)
				}
				if of := have.Plan; of != nil && len(of.Steps) > 0 {
					t.Errorf("planned is %+v", of)
				}
				if (wait > 0) != (have.Plan == nil) {
					t.Errorf("it is asked again in %s, and planned is %+v", wait, have.Plan)
				}
				outcome := model.Outcome(have.Calls[call-1].Outcome)
				if of := have.Plan; (of != nil && of.Quarantined) != (call == 2 && slices.Contains(others, outcome)) {
					t.Errorf("after %s planned is %+v", outcome, of)
				}
			})
		}
	}
}
