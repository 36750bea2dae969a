// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/live"
)

const (
	noAction  = "No action of srenix mends this. "
	toRelease = "; nothing executes it, and two people who may approve it have to release it: "
)

// runbooks are the fixes of a finding that consist of a text for people: the one that a
// rule has for it, and those that were drafted.
func runbooks(view *live.View, finding *v1alpha1.Finding) ([]fix, error) {
	var fixes []fix
	if title, text, has := vaultpathmissing.Runbook(&finding.Spec); has {
		sum, err := digest.Runbook(title, text)
		if err != nil {
			return nil, fmt.Errorf("taking the digest of the runbook for finding %s/%s: %w", finding.Namespace, finding.Name, err)
		}
		fixes = append(fixes, fix{
			action: v1alpha1.ActionRunbook, tier: v1alpha1.TierRunbook, source: v1alpha1.SourceRule,
			target:    finding.Spec.Subject,
			runbook:   &v1alpha1.RunbookReference{Title: title, Digest: sum},
			rationale: noAction + "There is a runbook for people" + toRelease + title,
		})
	}
	investigations := Investigations.ByIndex(view, byFinding, string(finding.UID))
	slices.SortFunc(investigations, func(a, b *opsv1alpha1.Investigation) int { return strings.Compare(a.Name, b.Name) })
	for _, investigation := range investigations {
		draft := investigation.Status.Runbook
		if draft == nil || investigation.Namespace != finding.Namespace || investigation.DeletionTimestamp != nil {
			continue
		}
		sum, err := digest.Runbook(draft.Title, draft.Text)
		if err != nil {
			return nil, fmt.Errorf("taking the digest of the runbook of Investigation %s/%s: %w", investigation.Namespace, investigation.Name, err)
		}
		source, origin := v1alpha1.SourceInvestigation, "There is a draft of a runbook for people"
		if draft.DraftedBy != "" {
			source, origin = v1alpha1.SourceLLM, "A model drafted a runbook for people, which nobody has tried"
		}
		fixes = append(fixes, fix{
			action: v1alpha1.ActionRunbook, tier: v1alpha1.TierRunbook, source: source,
			target:    finding.Spec.Subject,
			runbook:   &v1alpha1.RunbookReference{Title: draft.Title, Investigation: investigation.Name, Digest: sum},
			rationale: noAction + origin + toRelease + draft.Title,
		})
	}
	return fixes, nil
}

// RunbookOf returns the text that a proposal releases, as the view has it, and
// whether enough people have approved it; false if there is none with the
// proposal's digest.
func RunbookOf(engine *live.Engine, proposal *v1alpha1.Proposal) (*v1alpha1.ProposalRunbook, bool) {
	reference := proposal.Spec.Runbook
	if reference == nil {
		return nil, false
	}
	title, text, exists := textOf(engine, proposal.Namespace, proposal.Spec.Finding.Name, reference.Investigation)
	if !exists {
		return nil, false
	}
	if sum, err := digest.Runbook(title, text); err != nil || sum != reference.Digest {
		return nil, false
	}
	return &v1alpha1.ProposalRunbook{
		ObjectMeta: metav1.ObjectMeta{Namespace: proposal.Namespace, Name: proposal.Name},
		Spec: v1alpha1.ProposalRunbookSpec{
			Title: title, Text: text, Digest: reference.Digest,
			Released: proposal.Status.Phase == v1alpha1.ProposalReleased,
		},
	}, true
}

// textOf is what an Investigation has drafted, or, without one, what the rule says.
func textOf(engine *live.Engine, namespace, finding, investigation string) (title, text string, exists bool) {
	if investigation == "" {
		found, exists := live.Get(engine, analyzers.DetectedFindings, live.Key{Namespace: namespace, Name: finding})
		if !exists {
			return "", "", false
		}
		return vaultpathmissing.Runbook(&found.Spec)
	}
	of, exists := live.Get(engine, Investigations, live.Key{Namespace: namespace, Name: investigation})
	if !exists || of.Status.Runbook == nil {
		return "", "", false
	}
	return of.Status.Runbook.Title, of.Status.Runbook.Text, true
}
