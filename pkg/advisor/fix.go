// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"

	"k8s.io/klog/v2"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/tiers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
)

// choice asks for the fixer that would mend a finding. What is made of the answer is
// for the API server to say, which looks whether that fixer fits.
var choice = question{
	prompt: tiers.FixPrompt,
	open: func(_ *srenix.FindingSpec, status *opsv1alpha1.InvestigationStatus, hash string) bool {
		return status.Fix == nil || status.Fix.Hash != hash
	},
	ask: func(ctx context.Context, reasoner *tiers.Reasoner, about toldCase) (model.Record, func(*opsv1alpha1.InvestigationStatus, string), error) {
		var offered []tiers.Fixer
		for _, fixer := range fixers.All() {
			offered = append(offered, tiers.Fixer{Name: fixer.Name, Description: fixer.Description})
		}
		chosen, err := reasoner.Choose(ctx, about.Case, offered)
		var last model.Record
		if n := len(chosen.Records); n > 0 {
			last = chosen.Records[n-1]
		}
		if chosen.Quarantined {
			klog.FromContext(ctx).Info("What a model chose is not believed, because it chose something else when the texts from the cluster were scrambled",
				"analyzer", about.Finding.Analyzer, "reason", about.Finding.Reason, "answered", chosen.Answered, "control", chosen.Control)
		}
		return last, func(status *opsv1alpha1.InvestigationStatus, hash string) {
			status.Fix = &opsv1alpha1.ChosenFix{Fixer: chosen.Fixer, Quarantined: chosen.Quarantined, Answered: chosen.Answered, Control: chosen.Control, Hash: hash}
		}, err
	},
}
