// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/tiers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
)

// planning asks in which order a finding and others of its namespace are mended. Whether
// the fixers fit, and so whether anything is proposed, is for the API server to say.
var planning = question{
	prompt: tiers.PlanPrompt, plans: true,
	open: func(_ *srenix.FindingSpec, status *opsv1alpha1.InvestigationStatus, hash string) bool {
		return status.Plan == nil || status.Plan.Hash != hash
	},
	ask: func(ctx context.Context, reasoner *tiers.Reasoner, about toldCase) (model.Record, func(*opsv1alpha1.InvestigationStatus, string), error) {
		var offered []tiers.Fixer
		for _, fixer := range fixers.All() {
			offered = append(offered, tiers.Fixer{Name: fixer.Name, Description: fixer.Description})
		}
		var specs []srenix.FindingSpec
		for i := range about.all {
			specs = append(specs, about.all[i].Spec)
		}
		plan, err := reasoner.Plan(ctx, about.Case, specs, offered)
		var last model.Record
		if n := len(plan.Records); n > 0 {
			last = plan.Records[n-1]
		}
		if plan.Quarantined {
			klog.FromContext(ctx).Info("What a model planned is not believed, because it planned something else when the texts from the cluster were scrambled",
				"analyzer", about.Finding.Analyzer, "reason", about.Finding.Reason, "answered", plan.Answered, "control", plan.Control)
		}
		return last, func(status *opsv1alpha1.InvestigationStatus, hash string) {
			status.Plan = &opsv1alpha1.ChosenPlan{Quarantined: plan.Quarantined, Hash: hash}
			for _, step := range plan.Steps {
				of := &about.all[step.Finding]
				status.Plan.Steps = append(status.Plan.Steps, opsv1alpha1.ChosenStep{
					Finding: opsv1alpha1.InvestigatedFinding{Name: of.Name, UID: of.UID}, Fixer: step.Fixer,
				})
			}
		}, err
	},
}

// beside are a finding and others of its namespace, which a plan can be made of: the
// finding first, and the others by their names.
func (n *narrator) beside(ctx context.Context, finding *srenix.Finding) ([]srenix.Finding, error) {
	list := &srenix.FindingList{}
	if err := n.cached.List(ctx, list, client.InNamespace(finding.Namespace)); err != nil {
		return nil, fmt.Errorf("listing what else is found in namespace %s: %w", finding.Namespace, err)
	}
	others := slices.DeleteFunc(list.Items, func(other srenix.Finding) bool { return other.UID == finding.UID || other.Status.SilencedBy != "" })
	slices.SortFunc(others, func(a, b srenix.Finding) int { return strings.Compare(a.Name, b.Name) })
	return append([]srenix.Finding{*finding}, others[:min(len(others), tiers.MaximumPlanned-1)]...), nil
}

// identities are what a plan is made of, as a part of what a model is asked.
func identities(findings []srenix.Finding) string {
	var all []string
	for i := range findings {
		all = append(all, findings[i].Name+" "+string(findings[i].UID))
	}
	return strings.Join(all, "\x00")
}
