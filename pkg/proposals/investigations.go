// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Investigations are what was found out about findings. While they cannot be read,
// findings are served with what was read last.
var Investigations = live.NewInput(opsv1alpha1.SchemeGroupVersion.WithResource("investigations"), live.InputOptions[*opsv1alpha1.Investigation]{
	Optional: true, Advisory: true,
	Trim: trimInvestigation,
	Indexes: map[string]func(*opsv1alpha1.Investigation) []string{
		byFinding: func(i *opsv1alpha1.Investigation) []string { return []string{string(i.Spec.Finding.UID)} },
		byPlanned: func(i *opsv1alpha1.Investigation) []string {
			if i.Status.Plan == nil {
				return nil
			}
			var findings []string
			for _, step := range i.Status.Plan.Steps {
				findings = append(findings, string(step.Finding.UID))
			}
			return findings
		},
	},
})

// trimInvestigation keeps what is shown, proposed and audited.
func trimInvestigation(in *opsv1alpha1.Investigation) *opsv1alpha1.Investigation {
	out := &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: in.Namespace, Name: in.Name, UID: in.UID, ResourceVersion: in.ResourceVersion, Labels: in.Labels, DeletionTimestamp: in.DeletionTimestamp},
		Spec:       opsv1alpha1.InvestigationSpec{Finding: in.Spec.Finding},
		Status: opsv1alpha1.InvestigationStatus{
			RootCause: in.Status.RootCause, Narrative: in.Status.Narrative, LookAt: in.Status.LookAt, ModelInvestigation: in.Status.ModelInvestigation,
			Fix: in.Status.Fix, Plan: in.Status.Plan, Runbook: in.Status.Runbook, Calls: in.Status.Calls,
		},
	}
	for _, evidence := range in.Status.Evidence {
		out.Status.Evidence = append(out.Status.Evidence, opsv1alpha1.Evidence{Tool: evidence.Tool, Source: evidence.Source, Said: evidence.Said})
	}
	return out
}

// investigationOf returns the investigation of a finding, in the namespace of its
// investigations: that of its name, for others may store some for the sake of a runbook.
func investigationOf(view *live.View, namespace string, finding *v1alpha1.Finding) (*opsv1alpha1.Investigation, bool) {
	key := live.Key{Namespace: namespace, Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)}
	investigation, exists := Investigations.Get(view, key)
	if !exists || investigation.DeletionTimestamp != nil || investigation.Spec.Finding.UID != finding.UID {
		return nil, false
	}
	return investigation, true
}

// investigated adds to a finding what its investigation found, which is in a namespace.
// What logs say is left out beside the line that the root cause quotes: who reads
// findings need not read logs.
func investigated(view *live.View, namespace string, finding *v1alpha1.Finding) {
	investigation, exists := investigationOf(view, namespace, finding)
	if !exists {
		return
	}
	finding.Status.Investigation, finding.Status.RootCause = investigation.Name, investigation.Status.RootCause
	finding.Status.Narrative = investigation.Status.Narrative
	for _, object := range investigation.Status.LookAt {
		finding.Status.LookAt = append(finding.Status.LookAt, object.Kind+"/"+object.Name)
	}
	read := investigation.Status.Evidence
	if of := investigation.Status.ModelInvestigation; of != nil {
		finding.Status.ModelRootCause = of.RootCause
		read = slices.Concat(read, of.Evidence)
	}
	for _, evidence := range read {
		said := evidence.Said
		if evidence.Tool == opsv1alpha1.ToolLog {
			said = "its log was read"
		}
		finding.Status.Evidence = append(finding.Status.Evidence, evidence.Source+": "+said)
	}
}
