// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/srenix/srenix/pkg/ai/investigator"
	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
	"github.com/srenix/srenix/pkg/ai/tiers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// explore begins to read around a finding beside what rules have read.
type explore func(finding *srenix.Finding, sources []string) *investigator.Exploration

// inquiring has a model, of a name, look into a finding itself, with the tools that
// rules read with. What it says stands beside what rules found.
func inquiring(explore explore, name string) question {
	return question{
		prompt: tiers.InvestigatePrompt,
		calls:  tiers.MaximumReads + 1,
		open: func(_ *srenix.FindingSpec, status *opsv1alpha1.InvestigationStatus, hash string) bool {
			if was := status.ModelInvestigation; was != nil && was.Hash == hash {
				return false
			}
			// One whose program ended in between is not begun again: it would ask the same.
			return !slices.ContainsFunc(status.Calls, func(call opsv1alpha1.ModelCall) bool {
				return call.Prompt == tiers.InvestigatePrompt && call.Model == name && call.About == aboutOf(status) && answered(&call) &&
					status.CompletedAt != nil && !call.At.Before(status.CompletedAt)
			})
		},
		ask: func(ctx context.Context, reasoner *tiers.Reasoner, about toldCase) (model.Record, func(*opsv1alpha1.InvestigationStatus, string), error) {
			about.Texts = beginning(about.Texts)
			finding := &srenix.Finding{Spec: about.Finding}
			if finding.Namespace = about.Finding.Subject.Namespace; about.Finding.Subject.Kind == "Namespace" {
				finding.Namespace = about.Finding.Subject.Name // where people see it
			}
			chosen := &chosenReads{Exploration: explore(finding, sourcesOf(about.Texts))}
			cause, err := reasoner.Investigate(ctx, about.Case, tools(), chosen)
			var last model.Record
			if n := len(cause.Records); n > 0 {
				last = cause.Records[n-1]
			}
			var failed *model.Error
			if errors.As(err, &failed) && len(cause.Records) > 1 && ctx.Err() == nil {
				err = nil // It had its say, and would be asked the same again.
			}
			return last, func(status *opsv1alpha1.InvestigationStatus, hash string) {
				status.ModelInvestigation = &opsv1alpha1.ModelInvestigation{Hash: hash}
				if cause.RootCause != "" {
					status.ModelInvestigation.RootCause, status.ModelInvestigation.Evidence = cause.RootCause, chosen.evidence
				}
			}, err
		},
	}
}

// tools are those that rules read with, in the words of a prompt.
func tools() []tiers.Tool {
	var all []tiers.Tool
	for _, tool := range investigator.Tools() {
		all = append(all, tiers.Tool{Name: tool.Name, Description: tool.Description})
	}
	return all
}

// mostBeginning is with how many bytes of texts a model begins that is to have room for
// what it has read: half of what is read by rules at most.
const mostBeginning = opsv1alpha1.MaximumEvidence * opsv1alpha1.MaximumEvidenceText / 4

// beginning are the first texts, as many as leave room.
func beginning(texts []tiers.Text) []tiers.Text {
	left := mostBeginning
	return slices.DeleteFunc(slices.Clone(texts), func(text tiers.Text) bool {
		left -= len(text.Content)
		return left < 0
	})
}

// sourcesOf are what rules have read, as caseOf begins its texts.
func sourcesOf(texts []tiers.Text) []string {
	var all []string
	for _, text := range texts {
		if source, _, is := strings.Cut(text.Content, ": "); is && text.Label != rulesLabel {
			all = append(all, source)
		}
	}
	return all
}

// chosenReads implements tiers.Explorer. It keeps what was read.
type chosenReads struct {
	*investigator.Exploration
	evidence []opsv1alpha1.Evidence
}

// Targets implements tiers.Explorer.
func (r *chosenReads) Targets() []tiers.Target {
	var all []tiers.Target
	for _, target := range r.Exploration.Targets() {
		all = append(all, tiers.Target{Object: target.Object, Container: target.Container, Tools: target.Tools})
	}
	return all
}

// Read implements tiers.Explorer.
func (r *chosenReads) Read(ctx context.Context, tool string, target int) (tiers.Text, []redaction.Name) {
	evidence := r.Exploration.Read(ctx, tool, target)
	r.evidence = append(r.evidence, evidence)
	text := textOf(&evidence)
	return text, namesIn(text.Content)
}
