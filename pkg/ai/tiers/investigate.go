// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// InvestigatePrompt is the version of the prompts of Investigate.
const InvestigatePrompt = "investigate/1"

const (
	// MaximumReads is how often a model may have something read in one investigation.
	MaximumReads = 6
	// InvestigationTimeout is how long one takes at most, with all calls and reads.
	InvestigationTimeout = 20 * time.Second

	// mostTargets is how many a model may choose from.
	mostTargets = 32
	// mostOfCause is how many Unicode code points a root cause has at most, with and
	// without the names put back in.
	mostOfCause = 400
	// insufficient is what a model answers that cannot tell.
	insufficient = "insufficient data"
)

// Tool is one that a model may have used.
type Tool struct {
	// Name in lower case with dashes, as "read-events".
	Name string
	// Description tells in a few words what it reads. It is part of the code, as Name is:
	// nothing of the cluster may stand in it.
	Description string
}

// Target is what tools can be used on.
type Target struct {
	// Object is one of the API, or of kind Host.
	Object srenix.ObjectReference
	// Container is one of Object; empty for the object itself.
	Container string
	// Tools are the names of those that can be.
	Tools []string
}

// Explorer reads what is around a finding. It decides what there is to read: a model
// chooses, and names nothing.
type Explorer interface {
	// Targets are what can be read. What was read may add some at the end, and takes away
	// none. Those beyond the 32nd are not offered.
	Targets() []Target
	// Read uses a tool on the target of an index. It returns what that said, which is
	// tainted, and the names in it. What cannot be read says so.
	Read(ctx context.Context, tool string, target int) (Text, []redaction.Name)
}

// Cause is what came of letting a model look into a finding.
type Cause struct {
	// RootCause is a line of at most 400 code points; empty if there is none.
	RootCause string
	// Sufficient tells whether RootCause is one; else it says that the data are not.
	Sufficient bool
	// Records of the calls, in their order, also with an error.
	Records []model.Record
}

// Investigate has a model choose what is read, one thing after the other, until it says
// what the root cause is. It ends with an error, which means that there is none, at the
// first answer that is of no use: one that is on no list, that was chosen before, or
// that is one too many.
func (r *Reasoner) Investigate(ctx context.Context, c Case, tools []Tool, explorer Explorer) (Cause, error) {
	names, err := namesOfTools(tools)
	if err != nil {
		return Cause{}, err
	}
	within, cancel := context.WithTimeout(ctx, InvestigationTimeout)
	defer cancel()
	c.Texts, c.Names = slices.Clone(c.Texts), slices.Clone(c.Names)
	i := inquest{Case: c, tools: tools, names: names, withhold: withholder(append(names, "root-cause"))}
	var cause Cause
	for {
		if within.Err() != nil {
			return cause, overdue(ctx)
		}
		i.offer(explorer.Targets())
		answered, record, err := i.ask(within, r)
		if record != nil {
			cause.Records = append(cause.Records, *record)
		}
		switch {
		case err != nil && within.Err() != nil:
			return cause, overdue(ctx)
		case err != nil:
			return cause, err
		case answered.rootCause != "":
			cause.RootCause, cause.Sufficient = answered.rootCause, answered.sufficient
			return cause, nil
		}
		said, named := explorer.Read(within, answered.tool, answered.target)
		i.Texts, i.Names, i.done = append(i.Texts, said), append(i.Names, named...), append(i.done, answered.use)
	}
}

// overdue is why an investigation ends whose time is over, or whose caller gave up.
func overdue(ctx context.Context) error {
	if ctx.Err() != nil {
		return &model.Error{Outcome: model.Canceled}
	}
	return &model.Error{Outcome: model.Timeout}
}

// namesOfTools checks the list: names without a dash could not be withheld.
func namesOfTools(tools []Tool) ([]string, error) {
	var names []string
	for _, tool := range tools {
		if !fixerName.MatchString(tool.Name) || slices.Contains(names, tool.Name) {
			return nil, fmt.Errorf("the tool %q needs a name of its own in lower case with a dash, as read-events", tool.Name)
		}
		names = append(names, tool.Name)
	}
	if len(names) == 0 {
		return nil, errors.New("a model that is to investigate needs a tool")
	}
	return names, nil
}

// use is that a tool is used on the target of an index.
type use struct {
	tool   string
	target int
}

// inquest is one investigation, as far as it has come.
type inquest struct {
	Case
	tools    []Tool
	names    []string
	withhold func(string) string
	targets  []Target
	done     []use
}

// offer takes up targets that were not there before.
func (i *inquest) offer(targets []Target) {
	targets = targets[:min(len(targets), mostTargets)]
	for _, target := range targets[len(i.targets):] {
		i.Names = append(i.Names,
			redaction.Name{Kind: target.Object.Kind, Text: target.Object.Name},
			redaction.Name{Kind: "Namespace", Text: target.Object.Namespace},
			redaction.Name{Kind: "Container", Text: target.Container})
	}
	i.targets = targets
}

// left is how often something may be read yet.
func (i *inquest) left() int { return MaximumReads - len(i.done) }

// open are the tools that may be used on a target.
func (i *inquest) open(target int) []string {
	if i.left() <= 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(i.targets[target].Tools), func(tool string) bool {
		return !slices.Contains(i.names, tool) || slices.Contains(i.done, use{tool, target})
	})
}

// answer is one that is of use: what to read next, or what the cause is.
type answer struct {
	use
	rootCause  string
	sufficient bool
}

// ask asks once.
func (i *inquest) ask(ctx context.Context, r *Reasoner) (answer, *model.Record, error) {
	redactor, err := r.redactor(&i.Case)
	if err != nil {
		return answer{}, nil, err
	}
	known := facts(&i.Case, redactor) + i.choices(redactor)
	var read answer
	given, err := r.asker.Ask(ctx, model.Request{
		PromptVersion: InvestigatePrompt,
		System: "You look for the root cause of trouble in a Kubernetes cluster. Rules have looked first; what they made of it and what they read is in the data. You may have more read, one thing at a time, and are asked again with what it said. " +
			"Answer with one JSON object and nothing else: {\"tool\": TOOL, \"target\": NUMBER}, with the NUMBER of a line under targets and a TOOL that stands in that line; or, as soon as you can tell, {\"rootCause\": TEXT}. " +
			"TEXT is one sentence of at most 250 characters in plain prose that says what is behind the trouble, without links, commands, lists or code; or \"" + insufficient + "\" if what was read does not tell. " +
			aboutData,
		User: known + data(&i.Case, redactor, i.withhold),
		Check: func(text string) (err error) {
			read, err = i.read(text, known, redactor)
			return err
		},
	})
	return read, &given.Record, err
}

// choices say what can be read, and what was.
func (i *inquest) choices(redactor *redaction.Redactor) string {
	var out strings.Builder
	out.WriteString("tools:\n")
	for _, tool := range i.tools {
		fmt.Fprintf(&out, "- %s: %s\n", tool.Name, tool.Description)
	}
	out.WriteString("targets:\n")
	for n, target := range i.targets {
		fmt.Fprintf(&out, "%d. ", n+1)
		if target.Container != "" {
			fmt.Fprintf(&out, "Container %s of ", redactor.Redact(target.Container))
		}
		fmt.Fprintf(&out, "%s %s", fact(target.Object.Kind), redactor.Redact(target.Object.Name))
		if target.Object.Namespace != "" {
			fmt.Fprintf(&out, " in namespace %s", redactor.Redact(target.Object.Namespace))
		}
		tools := strings.Join(i.open(n), ", ")
		if tools == "" {
			tools = "nothing more to read"
		}
		fmt.Fprintf(&out, ": %s\n", tools)
	}
	for _, done := range i.done {
		fmt.Fprintf(&out, "was read: %s of %d\n", done.tool, done.target+1)
	}
	fmt.Fprintf(&out, "reads left: %d\n", i.left())
	return out.String()
}

// read reads an answer.
func (i *inquest) read(text, known string, redactor *redaction.Redactor) (answer, error) {
	objects := slices.DeleteFunc(objectsIn(text), func(object map[string]any) bool {
		return object["tool"] == nil && object["rootCause"] == nil
	})
	if len(objects) != 1 {
		return answer{}, errors.New("it is not one object with a tool or a root cause")
	}
	tool, cause := objects[0]["tool"], objects[0]["rootCause"]
	if tool != nil && cause != nil {
		return answer{}, errors.New("it has both a tool and a root cause")
	}
	if cause != nil {
		return readCause(cause, known, redactor)
	}
	name, is := tool.(string)
	number, counts := objects[0]["target"].(int64)
	switch {
	case !is || !counts:
		return answer{}, fmt.Errorf("the tool or its target: %w", model.ErrWrongType)
	case i.left() <= 0:
		return answer{}, fmt.Errorf("it would have more read than %d times", MaximumReads)
	case number < 1 || number > int64(len(i.targets)):
		return answer{}, errors.New("it names no target of the list")
	}
	chosen := use{name, int(number) - 1}
	if !slices.Contains(i.open(chosen.target), name) {
		return answer{}, errors.New("it names no tool of its target, or one that was used on it")
	}
	return answer{use: chosen}, nil
}

// readCause screens a root cause as a narrative is.
func readCause(given any, known string, redactor *redaction.Redactor) (answer, error) {
	text, is := given.(string)
	switch {
	case !is:
		return answer{}, fmt.Errorf("the root cause: %w", model.ErrWrongType)
	case strings.ContainsFunc(text, hidden):
		return answer{}, errors.New("the root cause holds characters that nobody sees")
	case redactor.Foreign(text):
		return answer{}, errors.New("the root cause makes up a pseudonym")
	}
	text = redactor.Redact(text) // what the model was not told does not come from the cluster
	if err := acceptable(text, known, redactor); err != nil {
		return answer{}, err
	}
	text = strings.Join(strings.Fields(text), " ")
	if strings.EqualFold(strings.TrimRight(text, "."), insufficient) {
		return answer{rootCause: "Insufficient data."}, nil
	}
	if !sentenceEnd.MatchString(text) {
		return answer{}, errors.New("the root cause is no sentence")
	}
	restored := redactor.Restore(text)
	if max(utf8.RuneCountInString(text), utf8.RuneCountInString(restored)) > mostOfCause {
		return answer{}, fmt.Errorf("the root cause has more than %d characters", mostOfCause)
	}
	return answer{rootCause: restored, sufficient: true}, nil
}
