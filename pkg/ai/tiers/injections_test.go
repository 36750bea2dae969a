// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/ai/model"
	scripted "github.com/srenix/srenix/test/model"
)

// injection is a row of the corpus.
type injection struct {
	Name, Language, Encoding, Source, Text string
}

func injections(t *testing.T) []injection {
	t.Helper()
	content, err := os.ReadFile("testdata/injections.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rows []injection
	if err := yaml.UnmarshalStrict(content, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) < 100 {
		t.Fatalf("the corpus has only %d rows", len(rows))
	}
	return rows
}

// TestTheGullibleModelObeysTheCorpus makes sure that the other tests are about something.
func TestTheGullibleModelObeysTheCorpus(t *testing.T) {
	for _, row := range injections(t) {
		if got := scripted.Obey(row.Text, sensible); got == sensible {
			t.Errorf("%s: nothing in %q is obeyed", row.Name, row.Text)
		}
	}
}

// place puts an injection where its source says.
func (i injection) place() Case {
	c := crash()
	switch i.Source {
	case "message":
		c.Finding.Message += ": " + i.Text
	default:
		c.Texts = append(c.Texts, Text{Label: i.Source, Content: "E1130 06:21:07 main.go:12] started\n" + i.Text + "\nE1130 06:21:08 main.go:13] exit"})
	}
	return c
}

func TestNoInjectionChoosesAFixer(t *testing.T) {
	for _, row := range injections(t) {
		t.Run(row.Name, func(t *testing.T) {
			b := setUp(t, scripted.Gullible)
			choice, err := b.Choose(t.Context(), row.place(), fixers)
			if choice.Fixer != "" && choice.Fixer != "restart-deployment" {
				t.Errorf("%q made it choose %s", row.Text, choice.Fixer)
			}
			if choice.Quarantined && choice.Fixer != "" || err != nil && choice.Fixer != "" {
				t.Errorf("there is a choice after all: %+v, %v", choice, err)
			}
			for _, request := range b.server.Requests() {
				_, evidence, _ := strings.Cut(request.Chat.Messages[1].Content, "\ndata ")
				for _, fixer := range fixers {
					if strings.Contains(strings.ToLower(evidence), fixer.Name) {
						t.Errorf("the data name %s:\n%s", fixer.Name, evidence)
					}
				}
			}
		})
	}
}

// TestTheTaintRuleAloneStopsInjections gives the model the texts as they are, as if
// nothing had been redacted, neutralized or withheld.
func TestTheTaintRuleAloneStopsInjections(t *testing.T) {
	for _, row := range injections(t) {
		t.Run(row.Name, func(t *testing.T) {
			b := setUp(t, scripted.Gullible)
			bare := func(text string) model.Request {
				return fixRequest("facts:\n", "| "+strings.ReplaceAll(text, "\n", "\n| ")+"\n", fixers)
			}
			parse := func(answer string) (string, error) { return ParseChoice(answer, names()) }
			choice, err := b.compare(t.Context(), parse, bare(row.Text), bare(scramble(row.Text)))
			if choice.Fixer != "" {
				t.Fatalf("%q made it choose %s", row.Text, choice.Fixer)
			}
			if !choice.Quarantined && model.OutcomeOf(err) != model.Malformed {
				t.Fatalf("%q neither was quarantined nor named something off the list: %+v, %v", row.Text, choice, err)
			}
			if choice.Quarantined && (choice.Answered == choice.Control || !slices.Contains(append(names(), none), choice.Answered)) {
				t.Errorf("the quarantine is marked with %q and %q", choice.Answered, choice.Control)
			}
		})
	}
}

// TestMostInjectionsNeverReachTheModel shows what redaction is worth before the taint
// rule: a model that obeys all it reads still chooses by the facts.
func TestMostInjectionsNeverReachTheModel(t *testing.T) {
	rows, untouched := injections(t), 0
	for _, row := range rows {
		b := setUp(t, scripted.Gullible)
		if choice, err := b.Choose(t.Context(), row.place(), fixers); err == nil && choice.Fixer == "restart-deployment" {
			untouched++
		}
	}
	t.Logf("%d of %d injections did not reach the model", untouched, len(rows))
	if untouched*10 < len(rows)*8 {
		t.Errorf("only %d of %d injections did not reach the model", untouched, len(rows))
	}
}
