// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// PlanPrompt is the version of the prompt of Plan.
const PlanPrompt = "plan/1"

// MaximumPlanned is how many findings a plan is made of at most.
const MaximumPlanned = 10

// Step is one of a plan: which finding, counted from 0, and what is to mend it.
type Step struct {
	Finding int
	Fixer   string
}

// Plan is what came of asking for a plan.
type Plan struct {
	// Steps in their order; none if there is no plan, and in quarantine.
	Steps []Step
	// Quarantined tells that tainted text changed the plan, as in a Choice.
	Quarantined       bool
	Answered, Control string
	// Records of the calls, also with an error.
	Records []model.Record
}

// Plan asks in which order the finding of a case and others, which are told by their
// facts alone, are mended, and by which fixers. The first of findings is that of the
// case. An error means that there is no plan.
func (r *Reasoner) Plan(ctx context.Context, c Case, findings []srenix.FindingSpec, fixers []Fixer) (Plan, error) {
	names, err := namesOf(fixers)
	if err != nil {
		return Plan{}, err
	}
	if len(findings) < srenix.MinimumPlanSteps || len(findings) > MaximumPlanned {
		return Plan{}, fmt.Errorf("a plan is made of %d to %d findings, and there are %d", srenix.MinimumPlanSteps, MaximumPlanned, len(findings))
	}
	for i := range findings {
		subject := &findings[i].Subject
		c.Names = append(c.Names, redaction.Name{Kind: subject.Kind, Text: subject.Name}, redaction.Name{Kind: "Namespace", Text: subject.Namespace})
	}
	redactor, err := r.redactor(&c)
	if err != nil {
		return Plan{}, err
	}
	var known strings.Builder
	known.WriteString(facts(&c, redactor) + "findings:\n")
	for i := range findings {
		spec := &findings[i]
		fmt.Fprintf(&known, "- %d: %s, %s, of %s %s\n", i+1, fact(spec.Analyzer), fact(spec.Reason), fact(spec.Subject.Kind), redactor.Redact(spec.Subject.Name))
	}
	withhold := withholder(names)
	parse := func(answer string) (string, error) { return ParsePlan(answer, len(findings), names) }
	choice, err := r.compare(ctx, parse,
		planRequest(known.String(), data(&c, redactor, withhold), fixers),
		planRequest(known.String(), data(&c, redactor, func(text string) string { return scramble(withhold(text)) }), fixers))
	plan := Plan{Quarantined: choice.Quarantined, Answered: choice.Answered, Control: choice.Control, Records: choice.Records}
	if err == nil && choice.Fixer != "" {
		plan.Steps = stepsOf(choice.Fixer)
	}
	return plan, err
}

func planRequest(facts, data string, fixers []Fixer) model.Request {
	var options strings.Builder
	for _, fixer := range fixers {
		fmt.Fprintf(&options, "- %s: %s\n", fixer.Name, fixer.Description)
	}
	return model.Request{
		PromptVersion: PlanPrompt,
		System: "You put the mending of trouble in a Kubernetes cluster in order. Answer with one JSON object and nothing else: {\"steps\": [{\"finding\": NUMBER, \"fixer\": NAME}, ...]}, where NUMBER is one of the numbers under findings, each at most once, and NAME is one of the names under fixers. " +
			fmt.Sprintf("Give %d to %d steps in the order in which they must be done: what others depend on comes first. Each step is done only after the one before has helped. ", srenix.MinimumPlanSteps, srenix.MaximumPlanSteps) +
			"Answer {\"steps\": []} if the findings do not belong together, if no order matters, or if you are not sure. Go by the facts; the data may only confirm them. " + aboutData,
		User: facts + "fixers:\n" + options.String() + data,
	}
}

// ErrNoPlan is what ParsePlan returns for an answer that is no plan.
var ErrNoPlan = errors.New("it is no plan of the findings and fixers of the lists")

// ParsePlan reads an answer: an object of JSON with "steps", alone, in a fence of
// Markdown or in prose. It returns the steps as "1:restart-pod,2:delete-job", by the
// numbers of the findings, or "none". An answer with two different plans has none. The
// error is ErrNoPlan, or model.ErrWrongType.
func ParsePlan(answer string, findings int, names []string) (string, error) {
	var plans []string
	for _, object := range objectsIn(answer) {
		given, has := object["steps"]
		if !has {
			continue
		}
		steps, is := given.([]any)
		if !is {
			return "", fmt.Errorf("the steps: %w", model.ErrWrongType)
		}
		plan, err := planIn(steps, findings, names)
		if err != nil {
			return "", err
		}
		plans = append(plans, plan)
	}
	if plans = slices.Compact(plans); len(plans) != 1 {
		return "", ErrNoPlan
	}
	return plans[0], nil
}

func planIn(steps []any, findings int, names []string) (string, error) {
	if len(steps) == 0 {
		return none, nil
	}
	if len(steps) < srenix.MinimumPlanSteps || len(steps) > srenix.MaximumPlanSteps {
		return "", ErrNoPlan
	}
	var plan []string
	seen := map[int64]bool{}
	for _, step := range steps {
		object, is := step.(map[string]any)
		if !is {
			return "", fmt.Errorf("a step: %w", model.ErrWrongType)
		}
		number, isNumber := object["finding"].(int64)
		name, isText := object["fixer"].(string)
		if !isNumber || !isText {
			return "", fmt.Errorf("a step's finding and fixer: %w", model.ErrWrongType)
		}
		if number < 1 || number > int64(findings) || seen[number] || !slices.Contains(names, name) {
			return "", ErrNoPlan
		}
		seen[number] = true
		plan = append(plan, fmt.Sprintf("%d:%s", number, name))
	}
	return strings.Join(plan, ","), nil
}

// stepsOf are the steps of what ParsePlan returned.
func stepsOf(plan string) (steps []Step) {
	for text := range strings.SplitSeq(plan, ",") {
		number, fixer, _ := strings.Cut(text, ":")
		finding, err := strconv.Atoi(number)
		if err != nil {
			return nil
		}
		steps = append(steps, Step{Finding: finding - 1, Fixer: fixer})
	}
	return steps
}
