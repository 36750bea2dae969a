// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Proposing is the group of the rules that compute proposals. It is no analyzer, and
// cannot be switched off.
const Proposing = "proposals"

// DegradedRule makes a clusterfinding of every analyzer that is degraded, one for
// all of its rules that lack the same. reader is the service account as which the
// cluster is read, "NAMESPACE:NAME".
func DegradedRule(reader string) live.Rule {
	return live.Rule{
		Name: v1alpha1.ReasonAnalyzerDegraded, Group: "srenix", Subject: live.Statuses().Ref(),
		Outputs: []live.KindRef{DetectedClusterFindings.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			status, exists := live.Statuses().Get(view, subject)
			if !exists || status.State != live.Degraded {
				return nil, nil
			}
			for _, other := range live.Statuses().ByIndex(view, live.StatusesByGroup, status.Group) {
				if other.State == live.Degraded && lacks(other) == lacks(status) && other.Rule < status.Rule {
					return nil, nil // that one tells
				}
			}
			return []live.Output{emit(v1alpha1.FindingSpec{
				Analyzer: status.Group, Reason: v1alpha1.ReasonAnalyzerDegraded, Severity: v1alpha1.SeverityWarning,
				Subject: v1alpha1.ObjectReference{
					APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Analyzer", Name: status.Group,
				},
				Discriminator: lacks(status),
				Message:       fmt.Sprintf("%s cannot see all that it needs (%s): %s. What it found before stays as it was, for as long as this server runs.", status.Group, status.Reason, status.Message),
				Remediation:   remedy(status, reader),
				// Not the status's own time, which each replica has its own of.
				Since: metav1.NewTime(view.FirstObserved(status.Reason)),
			})}, nil
		},
	}
}

// lacks tells what a rule lacks: the rights that are missing, or else itself.
func lacks(status *live.Status) string {
	if len(status.Missing) == 0 {
		return status.Rule
	}
	var resources []string
	for _, rule := range status.Missing {
		resources = append(resources, schema.GroupResource{Group: rule.APIGroups[0], Resource: rule.Resources[0]}.String())
	}
	return strings.Join(resources, ",")
}

func remedy(status *live.Status, reader string) v1alpha1.Remediation {
	if len(status.Missing) == 0 {
		return v1alpha1.Remediation{
			Text:     "Mend what the message says; it heals by itself afterwards. This is what srenix may read:",
			Commands: []string{"kubectl get clusterrole srenix-apiserver-reader -o yaml"},
		}
	}
	remedy := v1alpha1.Remediation{Text: "Grant what is missing, or switch the analyzer off in the configuration. It heals by itself afterwards."}
	if status.Group == Proposing {
		remedy.Text = "Grant what is missing. This is no analyzer: it computes what is proposed. It heals by itself afterwards."
	}
	for _, rule := range status.Missing {
		resource := schema.GroupResource{Group: rule.APIGroups[0], Resource: rule.Resources[0]}.String()
		name := "srenix-reads-" + resource
		remedy.Commands = append(remedy.Commands,
			fmt.Sprintf("kubectl create clusterrole %s --verb=%s --resource=%s", name, strings.Join(rule.Verbs, ","), resource),
			fmt.Sprintf("kubectl create clusterrolebinding %s --clusterrole=%s --serviceaccount=%s", name, name, reader),
		)
	}
	return remedy
}
