// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sashabaranov/go-openai"

	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

// newLacking is a finding about a secret of Vault that lacks a key.
func newLacking(name string) *srenix.Finding {
	finding := newFinding(name, srenix.SeverityCritical)
	finding.Spec.Analyzer, finding.Spec.Reason = vaultpathmissing.Name, vaultpathmissing.PropertyMissing
	finding.Spec.Subject = srenix.ObjectReference{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Namespace: "shop", Name: "db"}
	finding.Spec.Discriminator = "secret/shop/db"
	finding.Spec.Message = "The secret at secret/shop/db in Vault lacks properties that ExternalSecret db refers to: token."
	return finding
}

var pathTold = regexp.MustCompile(`path-[0-9a-f]{12}`)

// drafts answers with a runbook that writes a key of the path that it was told.
func drafts(value string) func(openai.ChatCompletionRequest) string {
	return func(request openai.ChatCompletionRequest) string {
		return `{"steps":[{"do":"Write the key that is missing.","run":"vault kv patch ` + pathTold.FindString(request.Messages[1].Content) + ` token=` + value + `"}]}`
	}
}

// draftingWorld is one whose model is asked for runbooks alone.
func draftingWorld(t *testing.T, finding *srenix.Finding, value string) *narrated {
	t.Helper()
	n := newNarrated(t, nil, finding)
	n.questions = []question{drafting}
	n.restartAll()
	n.server.Reply(drafts(value))
	n.reconcile(finding.Name)
	return n
}

func TestAModelDraftsARunbookForTroubleWithVault(t *testing.T) {
	finding := newLacking("vault")
	n := draftingWorld(t, finding, "${VALUE_TOKEN}")
	n.narrate(finding)
	n.asked(1)
	want := &opsv1alpha1.Runbook{
		Title:     "VaultPropertyMissing of ExternalSecret shop/db",
		Text:      preface + "secret/shop/db.\n\n1. Write the key that is missing.\n\n       vault kv patch secret/shop/db token=${VALUE_TOKEN}\n\n",
		DraftedBy: scripted.Name,
	}
	status := n.stored(finding).Status
	if diff := cmp.Diff(want, status.Runbook); diff != "" {
		t.Errorf("the runbook (-want +have):\n%s", diff)
	}
	if len(status.Calls) != 1 || status.Calls[0].Outcome != "OK" || status.Calls[0].Prompt != "runbook/1" {
		t.Errorf("the calls are %+v", status.Calls)
	}
	n.restartAll()
	n.narrate(finding)
	n.asked(1)
}

func TestADraftThatIsScreenedOrFailsLeavesEverythingAsItIs(t *testing.T) {
	for name, test := range map[string]struct {
		value    string
		behavior scripted.Behavior
		outcome  string
		again    bool
	}{
		"a value":     {"hunter2", scripted.Strict, "Screened", false},
		"half of one": {"${VALUE_TOKEN}", scripted.CutJSON, "Malformed", false},
		"a failure":   {"${VALUE_TOKEN}", scripted.ServerError, "ServerError", true},
	} {
		t.Run(name, func(t *testing.T) {
			finding := newLacking("vault")
			without := newWorld(t, finding.DeepCopy())
			without.reconcile("vault")
			n := draftingWorld(t, finding, test.value)
			n.server.Script(test.behavior)
			wait := n.narrate(finding)
			status := n.stored(finding).Status
			if diff := cmp.Diff(without.stored(finding).Status, status, ofTheModel); diff != "" {
				t.Errorf("with a model that does this (-without +with):\n%s", diff)
			}
			if len(status.Calls) != 1 || status.Calls[0].Outcome != test.outcome || (wait > 0) != test.again {
				t.Errorf("it is asked again in %s, and the calls are %+v", wait, status.Calls)
			}
			n.narrate(finding)
			n.asked(1)
		})
	}
}

func TestOnlyForTroubleWithVaultARunbookIsDrafted(t *testing.T) {
	for name, change := range map[string]func(*srenix.FindingSpec){
		"another analyzer":      func(f *srenix.FindingSpec) { f.Analyzer = "CrashLoop" },
		"paths that are hidden": func(f *srenix.FindingSpec) { f.Reason = vaultpathmissing.PathsHidden },
		"a namespace of Vault": func(f *srenix.FindingSpec) {
			f.Remediation.Commands = []string{"vault kv metadata get -namespace=team -mount=secret shop/db"}
		},
	} {
		finding := newLacking("vault")
		change(&finding.Spec)
		n := draftingWorld(t, finding, "${VALUE_TOKEN}")
		n.narrate(finding)
		if n.asked(0); n.stored(finding).Status.Runbook != nil {
			t.Errorf("%s: there is a runbook", name)
		}
	}
}

func TestWhatPeopleWroteIsNotDraftedOver(t *testing.T) {
	written := &opsv1alpha1.Runbook{Title: "Ours", Text: "Ask the operators of Vault."}
	write := func(n *narrated, finding *srenix.Finding) {
		err := changeStatus(t.Context(), n.client, n.stored(finding), func(status *opsv1alpha1.InvestigationStatus) { status.Runbook = written })
		if err != nil {
			t.Error(err)
		}
	}
	finding := newLacking("vault")
	n := draftingWorld(t, finding, "${VALUE_TOKEN}")
	// Somebody writes while the model is asked.
	draft := drafts("${VALUE_TOKEN}")
	n.server.Reply(func(request openai.ChatCompletionRequest) string {
		write(n, finding)
		return draft(request)
	})
	n.narrate(finding)
	n.asked(1)
	finding.Spec.Message += " It has none."
	if err := n.client.Update(t.Context(), finding); err != nil {
		t.Fatal(err)
	}
	n.ask(finding)
	n.reconcile("vault")
	n.narrate(finding)
	n.asked(1)
	if diff := cmp.Diff(written, n.stored(finding).Status.Runbook); diff != "" {
		t.Errorf("the runbook (-want +have):\n%s", diff)
	}
}

// People may be following a draft, and what it mends changes the finding.
func TestADraftStaysWhateverTheFindingSaysThen(t *testing.T) {
	finding := newLacking("vault")
	n := draftingWorld(t, finding, "${VALUE_TOKEN}")
	n.narrate(finding)
	first := n.stored(finding).Status
	n.server.Reply(drafts("${VALUE_ANOTHER}"))
	finding.Spec.Message = "The secret at secret/shop/db in Vault lacks properties that ExternalSecret db refers to: token, user."
	if err := n.client.Update(t.Context(), finding); err != nil {
		t.Fatal(err)
	}
	n.ask(finding)
	n.reconcile("vault")
	n.narrate(finding)
	n.asked(1)
	have := n.stored(finding).Status
	if diff := cmp.Diff(first.Runbook, have.Runbook); diff != "" || have.FindingHash == first.FindingHash {
		t.Errorf("the runbook (-first +have):\n%s", diff)
	}
	// Who may write Investigations can have another one drafted.
	if err := changeStatus(t.Context(), n.client, n.stored(finding), func(status *opsv1alpha1.InvestigationStatus) { status.Runbook = nil }); err != nil {
		t.Fatal(err)
	}
	n.narrate(finding)
	n.asked(2)
	if have := n.stored(finding).Status.Runbook; have == nil || !strings.Contains(have.Text, "VALUE_ANOTHER") {
		t.Errorf("the runbook is %+v", have)
	}
}
