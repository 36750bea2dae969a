// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/tiers"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// preface is what every draft begins with, before what it is about. The message of the
// finding is not: it names keys, which somebody may have named like a step.
const preface = "A model drafted this, and nobody has tried it. It has no values: give each VALUE_ in your shell one of your own,\n" +
	"as by `read -rs VALUE_NAME`, so that it is in no history.\n\nIt is about "

// longestTitle is how many bytes the title of a runbook has at most.
const longestTitle = 200

// drafting asks for a runbook for trouble with Vault, if there is none. One that there
// is stays as long as the Investigation, whoever wrote it: people may be following it,
// and a finding says something else as soon as a part of it is mended.
var drafting = question{
	prompt: tiers.RunbookPrompt,
	open: func(finding *srenix.FindingSpec, status *opsv1alpha1.InvestigationStatus, hash string) bool {
		return commands[finding.Reason] != nil && finding.Analyzer == vaultpathmissing.Name && !inNamespace(finding) &&
			status.Runbook == nil && status.DraftedHash != hash
	},
	ask: func(ctx context.Context, reasoner *tiers.Reasoner, about toldCase) (model.Record, func(*opsv1alpha1.InvestigationStatus, string), error) {
		// Nothing that a program wrote about itself is of use here.
		about.Texts = slices.DeleteFunc(about.Texts, func(text tiers.Text) bool { return text.Label == labels[opsv1alpha1.ToolLog] })
		draft, err := reasoner.Draft(ctx, about.Case, []string{about.Finding.Discriminator}, commands[about.Finding.Reason])
		return draft.Record, func(status *opsv1alpha1.InvestigationStatus, hash string) {
			status.DraftedHash = hash
			if draft.Text != "" && status.Runbook == nil {
				status.Runbook = &opsv1alpha1.Runbook{Title: title(&about.Finding), Text: preface + about.Finding.Discriminator + ".\n\n" + draft.Text, DraftedBy: draft.Record.Model}
			}
		}, err
	},
}

// title is no text of a model: everybody reads it before the runbook is released.
func title(finding *srenix.FindingSpec) string {
	text := fmt.Sprintf("%s of %s %s/%s", finding.Reason, finding.Subject.Kind, finding.Subject.Namespace, finding.Subject.Name)
	return text[:min(len(text), longestTitle)]
}

// inNamespace tells whether a finding is about a namespace of Vault, of which a path
// alone says nothing to its commands.
func inNamespace(finding *srenix.FindingSpec) bool {
	return slices.ContainsFunc(finding.Remediation.Commands, func(command string) bool { return strings.Contains(command, " -namespace=") })
}

var (
	seal     = tiers.Command{Run: "vault status", Description: "tells whether Vault is sealed"}
	mounts   = tiers.Command{Run: "vault secrets list", Description: "lists what is mounted"}
	versions = tiers.Command{Run: "vault kv metadata get", Description: "shows when the versions of the secret at a path were made or deleted, and no values"}
	show     = tiers.Command{Run: "kubectl get", Description: "shows the state of an object by its kind, its name, -n and its namespace"}
	describe = tiers.Command{Run: "kubectl describe", Description: "shows an object and its Events, as kubectl get"}
)

// commands are what a runbook may have people run, by reason. None of them deletes
// anything or shows a value, and put, which replaces all keys, is for what is not there.
var commands = map[string][]tiers.Command{
	vaultpathmissing.PathMissing: {
		seal, mounts, versions,
		{Run: "vault kv undelete", Description: "takes back that a version was deleted, with -versions=${VALUE_VERSION} before the path", Writes: true},
		{Run: "vault kv put", Description: "writes a secret to a path that has none, with ${VALUE_KEY}=${VALUE_NAME} after the path for each key", Writes: true},
		show, describe,
	},
	vaultpathmissing.PropertyMissing: {
		seal, versions,
		{Run: "vault kv patch", Description: "adds keys to the secret at a path and keeps the others, with KEY=${VALUE_NAME} after the path for each", Writes: true},
		show, describe,
	},
}
