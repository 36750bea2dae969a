// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// InvestigatedFinding names the finding that is looked into, in the namespace of
// the investigation.
type InvestigatedFinding struct {
	// name of the finding.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the finding: another incarnation of its subject is another finding.
	UID types.UID `json:"uid"`
}

// InvestigationSpec says what is looked into.
type InvestigationSpec struct {
	// finding is what is looked into.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an investigation stays with its finding"
	Finding InvestigatedFinding `json:"finding"`
}

// Runbook is a text for people. Nothing ever executes it.
type Runbook struct {
	// title says in a line what it is for.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Title string `json:"title"`
	// text is what people follow, with placeholders as ${VALUE_...} for secrets.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	Text string `json:"text"`
}

// InvestigationStatus is what came out.
type InvestigationStatus struct {
	// runbook is a draft that two people have to approve before it is released.
	// Whoever may read investigations reads it; srenix gives that right to nobody
	// but its own programs.
	// +optional
	Runbook *Runbook `json:"runbook,omitempty"`
}

// Investigation is what srenix found out about a finding beyond detecting it.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=srenix,shortName=inv
// +kubebuilder:printcolumn:name="Finding",type=string,JSONPath=`.spec.finding.name`
// +kubebuilder:printcolumn:name="Runbook",type=string,JSONPath=`.status.runbook.title`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Investigation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what is looked into.
	Spec InvestigationSpec `json:"spec"`
	// status is what came out.
	// +optional
	Status InvestigationStatus `json:"status,omitzero"`
}

// InvestigationList is a list of investigations.
// +kubebuilder:object:root=true
type InvestigationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Investigation `json:"items"`
}
