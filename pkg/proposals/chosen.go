// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"slices"
	"time"

	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
	"github.com/srenix/srenix/pkg/live"
)

// byFixer are the matchers behind the names that a model may choose. Each looks for
// itself whether the cluster is as its rationale says, whatever the finding is about,
// so that no choice can bring about what a rule would not stand for.
func byFixer(leftFor time.Duration) map[string]matcher {
	return map[string]matcher{
		fixers.ReplaceOutdatedPod:       freshKept(outdated.Shown, anyPod),
		fixers.ReplaceCrashingPod:       freshCrashed,
		fixers.RestartDeployment:        restartDeployment,
		fixers.RestartStuckRollout:      restartRollout,
		fixers.RemoveFailedPod:          leaving(leftBare, leftFor),
		fixers.RemoveFailedPodOfJob:     leaving(leftOfJob, leftFor),
		fixers.RenewCertificateRequest:  freshRequest,
		fixers.ServeCoveringCertificate: betterSecret,
	}
}

// withChosen adds the fix that a model chose for a finding to those of rules, if it fits
// and is another. It takes nothing away: what rules propose is as without a model.
func (p *proposer) withChosen(view *live.View, finding *v1alpha1.Finding, fixes []fix) []fix {
	investigation, exists := investigationOf(view, finding.Namespace, finding)
	if !exists || investigation.Status.Fix == nil || investigation.Status.Fix.Quarantined {
		return fixes
	}
	match, known := p.byFixer[investigation.Status.Fix.Fixer]
	if !known {
		return fixes
	}
	of, fits := match(view, finding)
	if !fits || slices.ContainsFunc(fixes, func(other fix) bool { return other.action == of.action && other.target == of.target }) {
		return fixes
	}
	of.source = v1alpha1.SourceLLM
	of.rationale = "A model chose this for the finding, out of the fixes that srenix knows. " + of.rationale
	return append(fixes, of)
}
