// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/live"
)

// runbooks are the fixes of a finding that consist of a text for people.
func runbooks(view *live.View, finding *v1alpha1.Finding) ([]fix, error) {
	investigations := Investigations.ByIndex(view, byFinding, string(finding.UID))
	slices.SortFunc(investigations, func(a, b *opsv1alpha1.Investigation) int { return strings.Compare(a.Name, b.Name) })
	var fixes []fix
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
			rationale: "No action of srenix mends this. " + origin + "; nothing executes it, and two people who may approve it have to release it: " + draft.Title,
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
	investigation, exists := live.Get(engine, Investigations, live.Key{Namespace: proposal.Namespace, Name: reference.Investigation})
	if !exists || investigation.Status.Runbook == nil {
		return nil, false
	}
	draft := investigation.Status.Runbook
	if sum, err := digest.Runbook(draft.Title, draft.Text); err != nil || sum != reference.Digest {
		return nil, false
	}
	return &v1alpha1.ProposalRunbook{
		ObjectMeta: metav1.ObjectMeta{Namespace: proposal.Namespace, Name: proposal.Name},
		Spec: v1alpha1.ProposalRunbookSpec{
			Title: draft.Title, Text: draft.Text, Digest: reference.Digest,
			Released: proposal.Status.Phase == v1alpha1.ProposalReleased,
		},
	}, true
}
