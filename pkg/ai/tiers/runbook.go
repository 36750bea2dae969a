// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
)

// RunbookPrompt is the version of the prompt of Draft.
const RunbookPrompt = "runbook/1"

// mostSteps is how many a draft has at most.
const mostSteps = 12

// Command is one that a step of a draft may have people run.
type Command struct {
	// Run are the words that it begins with, as "vault kv list".
	Run string
	// Description tells in a sentence what it does, and what may follow. It is part of
	// the code, as Run is: nothing of the cluster may stand in it.
	Description string
	// Writes tells that KEY=${VALUE_NAME} may follow.
	Writes bool
}

// Draft is a runbook that a model would have people follow.
type Draft struct {
	// Text are numbered steps, each with a command at most, in which the only values are
	// ${VALUE_NAME}. It is empty with an error.
	Text string
	// Record of the call, also with an error.
	Record model.Record
}

// Draft asks for a runbook. Paths are what its commands may name beside the objects of
// the case. An error means that there is none: so it is of every draft that does not
// pass the screen, as a whole.
func (r *Reasoner) Draft(ctx context.Context, c Case, paths []string, commands []Command) (Draft, error) {
	for _, path := range paths {
		c.Names = append(c.Names, redaction.Name{Kind: "Path", Text: path})
	}
	redactor, err := r.redactor(&c)
	if err != nil {
		return Draft{}, err
	}
	known := facts(&c, redactor) + offer(redactor, paths, commands)
	screen := newScreen(&c, redactor, known, paths, commands)
	var draft Draft
	answer, err := r.asker.Ask(ctx, model.Request{
		PromptVersion: RunbookPrompt,
		System: "You draft a runbook for trouble with HashiCorp Vault. People read it before they follow it. Answer with one JSON object and nothing else: {\"steps\": [{\"do\": TEXT, \"run\": COMMAND}, ...]}, with at most 12 steps. " +
			"TEXT says in one or two plain English sentences, with at most 250 characters, what to do and what to expect. It has no links, quotes, code or commands. " +
			"COMMAND may be left out. It begins with one under commands. After that it has only words under objects and paths, -n before a namespace, and ${VALUE_NAME} for every value, with a NAME in capitals. " +
			"You know no values: write no password, token, key or other value, and no example of one. KEY=${VALUE_NAME} may name a key that the message names. " +
			aboutData,
		User: known + data(&c, redactor, func(text string) string { return text }),
		Check: func(answer string) (err error) {
			draft.Text, err = screen.read(answer)
			return err
		},
	})
	if err != nil {
		return Draft{Record: answer.Record}, err
	}
	draft.Record = answer.Record
	return draft, nil
}

// offer says what commands may consist of.
func offer(redactor *redaction.Redactor, paths []string, commands []Command) string {
	var out strings.Builder
	if len(paths) > 0 {
		out.WriteString("paths:\n")
		for _, path := range paths {
			fmt.Fprintf(&out, "- %s\n", redactor.Redact(path))
		}
	}
	out.WriteString("commands:\n")
	for _, command := range commands {
		fmt.Fprintf(&out, "- %s: %s\n", command.Run, command.Description)
	}
	return out.String()
}

// read reads an answer, and returns the steps with names put back in.
func (s *screen) read(answer string) (string, error) {
	objects := objectsIn(answer)
	if len(objects) != 1 || len(objects[0]) != 1 || objects[0]["steps"] == nil {
		return "", errors.New("it is not one object with steps")
	}
	steps, is := objects[0]["steps"].([]any)
	if !is {
		return "", fmt.Errorf("the steps: %w", model.ErrWrongType)
	}
	if len(steps) == 0 || len(steps) > mostSteps {
		return "", fmt.Errorf("it has not 1 to %d steps", mostSteps)
	}
	var out strings.Builder
	for i, given := range steps {
		do, run, err := stepOf(given)
		if err != nil {
			return "", err
		}
		if do, err = s.prose(do); err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%d. %s\n", i+1, s.redactor.Restore(do))
		if run == "" {
			continue
		}
		if run, err = s.command(run); err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "\n       %s\n\n", s.redactor.Restore(run))
	}
	return out.String(), nil
}

// stepOf returns what a step says and what it runs; the latter is empty if it is nothing.
func stepOf(given any) (do, run string, err error) {
	step, is := given.(map[string]any)
	if !is {
		return "", "", fmt.Errorf("a step: %w", model.ErrWrongType)
	}
	for field, value := range step {
		text, is := value.(string)
		switch {
		case field != "do" && field != "run":
			return "", "", errors.New("a step has another field than do and run")
		case value == nil && field == "run":
		case !is:
			return "", "", fmt.Errorf("a step: %w", model.ErrWrongType)
		case field == "do":
			do = text
		default:
			run = strings.TrimSpace(text)
		}
	}
	if strings.TrimSpace(do) == "" {
		return "", "", errors.New("a step says nothing")
	}
	return do, run, nil
}
