// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// OffRule makes a clusterfinding of every analyzer that is switched off, so that what
// is not looked for is not taken for healthy. Off has by what each is, as "variable X".
func OffRule(off map[string]string) live.Rule {
	var names []string
	for name := range off {
		names = append(names, name)
	}
	slices.Sort(names)
	return live.Rule{
		Name: v1alpha1.ReasonAnalyzerOff, Group: "srenix", Subject: live.Statuses().Ref(),
		Outputs: []live.KindRef{DetectedClusterFindings.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			// One status is enough to hang them on, and the own one is always there.
			if status, exists := live.Statuses().Get(view, subject); !exists || status.Rule != v1alpha1.ReasonAnalyzerOff {
				return nil, nil
			}
			var outputs []live.Output
			for _, name := range names {
				outputs = append(outputs, emit(v1alpha1.FindingSpec{
					Analyzer: name, Reason: v1alpha1.ReasonAnalyzerOff, Severity: v1alpha1.SeverityInfo,
					Subject: v1alpha1.ObjectReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Analyzer", Name: name},
					Message: fmt.Sprintf("%s is switched off, by %s. What it would find is not looked for.", name, off[name]),
					Remediation: v1alpha1.Remediation{
						Text: "Nothing, if that is meant. Else take it out of the configuration or the environment of the apiserver.",
					},
					Since: metav1.NewTime(view.FirstObserved(name)),
				}))
			}
			return outputs, nil
		},
	}
}
