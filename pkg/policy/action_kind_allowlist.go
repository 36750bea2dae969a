// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// actionKindAllowlist is layer 1: the closed list of what can be done, which
// configuration can shorten; and the tier must be the one that the kind has.
func actionKindAllowlist(f *facts) v1alpha1.Verdict {
	if f.actsOnNothing() {
		return noAction()
	}
	spec := &f.Proposal.Spec
	if !slices.Contains(config.BuiltInActionKinds(), spec.ActionKind) {
		return denied(fmt.Sprintf("%q is not an action that srenix can do", spec.ActionKind), "only these exist: "+list(config.BuiltInActionKinds()))
	}
	if only := f.Config.AllowedActionKinds; only != nil && !slices.Contains(only, spec.ActionKind) {
		return denied(fmt.Sprintf("%s is not allowed in this cluster", spec.ActionKind), "an administrator can add it to policy.allowedActionKinds")
	}
	if problem := tierProblem(spec); problem != "" {
		return denied(problem, "this is a defect of the proposal: report it")
	}
	return allowed(string(spec.ActionKind) + " is allowed")
}

func tierProblem(spec *v1alpha1.ProposalSpec) string {
	switch spec.Tier {
	case v1alpha1.TierFix, v1alpha1.TierPlan:
		if spec.ActionKind == v1alpha1.ActionRunbook {
			return "a Runbook is of tier T3, and this one says " + string(spec.Tier)
		}
		if (spec.Tier == v1alpha1.TierPlan) != (spec.Plan != nil) {
			return "tier T2 is for steps of a plan, and only for them"
		}
	case v1alpha1.TierRunbook:
		if spec.ActionKind != v1alpha1.ActionRunbook {
			return fmt.Sprintf("tier T3 is for runbooks, and this is a %s", spec.ActionKind)
		}
	default:
		return fmt.Sprintf("unknown tier %q", spec.Tier)
	}
	return ""
}

func list[S ~string](items []S) string {
	var text string
	for i, item := range items {
		if i > 0 {
			text += ", "
		}
		text += string(item)
	}
	return text
}
