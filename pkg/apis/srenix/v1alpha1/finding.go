// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Severity says how soon a person should look.
// +enum
type Severity string

const (
	// SeverityCritical is trouble that hurts users now or will soon.
	SeverityCritical Severity = "Critical"
	// SeverityWarning is trouble that should be mended within days.
	SeverityWarning Severity = "Warning"
	// SeverityInfo is worth knowing and urgent for nobody.
	SeverityInfo Severity = "Info"
)

// ObjectReference names one object exactly. UID pins the incarnation; it is
// empty only where the object does not exist (a missing Secret).
type ObjectReference struct {
	// apiVersion is the group and version, as "apps/v1".
	APIVersion string `json:"apiVersion"`
	// kind is the object's kind, as "StatefulSet".
	Kind string `json:"kind"`
	// namespace is empty for cluster-scoped objects.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// name is the object's name.
	Name string `json:"name"`
	// uid is the incarnation that was seen.
	// +optional
	UID types.UID `json:"uid,omitempty"`
}

// RelatedObject is an object that a reader of a finding should look at too.
type RelatedObject struct {
	ObjectReference `json:",inline"`
	// relation says what the object is to the subject, as "controls" or "stuck pod".
	Relation string `json:"relation"`
}

// Remediation says how to mend a finding by hand.
type Remediation struct {
	// text explains the commands.
	Text string `json:"text"`
	// commands are complete: they can be pasted as they stand.
	// +optional
	// +listType=atomic
	Commands []string `json:"commands,omitempty"`
}

// ReasonAnalyzerDegraded is that of a clusterfinding about an analyzer that cannot
// see what it needs: unknown is not healthy.
const ReasonAnalyzerDegraded = "AnalyzerDegraded"

// ReasonAnalyzerOff is that of a clusterfinding about an analyzer that is switched off.
const ReasonAnalyzerOff = "AnalyzerOff"

// FindingSpec is what is wrong.
type FindingSpec struct {
	// analyzer is the name of the analyzer that found it, as "WorkloadStateDrift".
	Analyzer string `json:"analyzer"`
	// reason is a CamelCase word for the trouble, unique within the analyzer.
	Reason string `json:"reason"`
	// severity says how soon a person should look.
	Severity Severity `json:"severity"`
	// subject is the thing that a person would fix.
	Subject ObjectReference `json:"subject"`
	// discriminator tells apart several findings of one reason on one subject.
	// +optional
	Discriminator string `json:"discriminator,omitempty"`
	// related are other objects to look at.
	// +optional
	// +listType=atomic
	Related []RelatedObject `json:"related,omitempty"`
	// message tells in a sentence what is wrong. It holds no ages or counters.
	Message string `json:"message"`
	// remediation says how to mend it by hand.
	// +optional
	Remediation Remediation `json:"remediation,omitzero"`
	// since is when the trouble began, as far as the cluster can tell.
	Since metav1.Time `json:"since"`
}

// FindingStatus is what was added to a finding after it was detected.
type FindingStatus struct {
	// narrative tells what happened in a few sentences; written by a model where one is configured.
	// +optional
	Narrative string `json:"narrative,omitempty"`
	// lookAt are objects that the model would look at, as KIND/NAME, in its order.
	// +optional
	// +listType=atomic
	LookAt []string `json:"lookAt,omitempty"`
	// investigation is the name of the investigation in ops.srenix.io.
	// +optional
	Investigation string `json:"investigation,omitempty"`
	// rootCause says in a line what is behind the finding, as the investigation found
	// without any model, or that the data are insufficient and which are lacking.
	// +optional
	RootCause string `json:"rootCause,omitempty"`
	// modelRootCause says in a line what a model takes for the cause that was let look
	// further, or that the data are insufficient. It decides nothing.
	// +optional
	ModelRootCause string `json:"modelRootCause,omitempty"`
	// evidence is what the investigation read, and what that said, each in a line.
	// +optional
	// +listType=atomic
	Evidence []string `json:"evidence,omitempty"`
	// silencedBy is the name of the silence that matches.
	// +optional
	SilencedBy string `json:"silencedBy,omitempty"`
	// proposals are the names of the proposals that would mend this finding.
	// +optional
	// +listType=set
	Proposals []string `json:"proposals,omitempty"`
}

// +genclient
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true

// Finding is trouble with a namespaced subject. It is computed, never stored.
type Finding struct {
	metav1.TypeMeta `json:",inline"`
	// metadata.creationTimestamp equals spec.since.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what is wrong.
	Spec FindingSpec `json:"spec"`
	// status is what was added later.
	// +optional
	Status FindingStatus `json:"status,omitzero"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// FindingList is a list of findings.
type FindingList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Finding `json:"items"`
}

// +genclient
// +genclient:nonNamespaced
// +genclient:onlyVerbs=get,list,watch
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true

// ClusterFinding is trouble with a cluster-scoped subject. It is computed, never stored.
type ClusterFinding struct {
	metav1.TypeMeta `json:",inline"`
	// metadata.creationTimestamp equals spec.since.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what is wrong.
	Spec FindingSpec `json:"spec"`
	// status is what was added later.
	// +optional
	Status FindingStatus `json:"status,omitzero"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ClusterFindingList is a list of clusterfindings.
type ClusterFindingList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterFinding `json:"items"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true

// FindingInvestigation is posted to findings/NAME/investigate or to
// clusterfindings/NAME/investigate, which has the advisor look into the finding. What
// comes out is shown in the status of the finding.
type FindingInvestigation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// status is what the server answers.
	// +optional
	Status FindingInvestigationStatus `json:"status,omitzero"`
}

// FindingInvestigationStatus says what was stored.
type FindingInvestigationStatus struct {
	// investigation is the name of the Investigation in ops.srenix.io.
	// +optional
	Investigation string `json:"investigation,omitempty"`
	// requestedAt is when the request was stored; empty on a dry run.
	// +optional
	RequestedAt metav1.Time `json:"requestedAt,omitzero"`
}
