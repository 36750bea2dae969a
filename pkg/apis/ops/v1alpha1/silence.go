// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// SilencedSubject names an object of the silence's namespace, or the namespace itself.
type SilencedSubject struct {
	// kind of the object, as "StatefulSet".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// name of the object, in full; there are no patterns.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// SilenceMatch says which findings of the silence's namespace are silenced. All
// fields that are given must match, each by any of its values.
type SilenceMatch struct {
	// analyzers by name; every one if empty. As "WorkloadStateDrift".
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Analyzers []string `json:"analyzers,omitempty"`
	// reasons by name; every one if empty. As "OrdinalZeroNotReady".
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Reasons []string `json:"reasons,omitempty"`
	// severities; every one if empty. As "Info".
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:Enum=Critical;Warning;Info
	Severities []srenix.Severity `json:"severities,omitempty"`
	// subjects by kind and full name; every one if empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Subjects []SilencedSubject `json:"subjects,omitempty"`
	// selector over the labels of findings; every one if empty.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// SilenceSpec says what is silenced, by whom, why, and until when.
type SilenceSpec struct {
	// owner is a person or a team that answers for the silence.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="must name somebody who answers for the silence"
	Owner string `json:"owner"`
	// reason tells why nobody needs to see these findings for now.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="must tell why nobody needs to see these findings"
	Reason string `json:"reason"`
	// expires is when the silence ends. Every silence does.
	Expires metav1.Time `json:"expires"`
	// match says which findings of this namespace are silenced: those that match every
	// field that is given, each by any of its values. A field that is left out or empty
	// matches every finding, and so does an empty match.
	Match SilenceMatch `json:"match"`
}

// Silence marks findings of its own namespace as known, so that nobody is
// bothered and nothing is proposed for them. They stay readable.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=srenix,shortName=sil
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Silence struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what is silenced, by whom, why, and until when.
	Spec SilenceSpec `json:"spec"`
}

// SilenceList is a list of silences.
// +kubebuilder:object:root=true
type SilenceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Silence `json:"items"`
}
