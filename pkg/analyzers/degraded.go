// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"fmt"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// ReasonDegraded is a finding about an analyzer that cannot see what it needs:
// unknown is not healthy.
const ReasonDegraded = "AnalyzerDegraded"

// DegradedRule makes a clusterfinding of every rule that is degraded.
func DegradedRule() live.Rule {
	return live.Rule{
		Name: ReasonDegraded, Group: "srenix", Subject: live.Statuses().Ref(),
		Outputs: []live.KindRef{DetectedClusterFindings.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			status, exists := live.Statuses().Get(view, subject)
			if !exists || status.State != live.Degraded {
				return nil, nil
			}
			return []live.Output{emit(v1alpha1.FindingSpec{
				Analyzer: status.Group, Reason: ReasonDegraded, Severity: v1alpha1.SeverityWarning,
				Subject: v1alpha1.ObjectReference{
					APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Analyzer", Name: status.Group,
				},
				Discriminator: status.Rule,
				Message:       fmt.Sprintf("%s cannot see all that it needs (%s): %s. Its findings stay as they were.", status.Rule, status.Reason, status.Message),
				Remediation: v1alpha1.Remediation{
					Text:     "Grant what the message names, or mend what it says. It heals by itself afterwards. This is what srenix may read:",
					Commands: []string{"kubectl get clusterrole srenix-apiserver-reader -o yaml"},
				},
				Since: status.Since,
			})}, nil
		},
	}
}
