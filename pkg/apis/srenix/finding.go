// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package srenix

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Severity says how soon a person should look.
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
	APIVersion string
	// kind is the object's kind, as "StatefulSet".
	Kind string
	// namespace is empty for cluster-scoped objects.
	Namespace string
	// name is the object's name.
	Name string
	// uid is the incarnation that was seen.
	UID types.UID
}

// RelatedObject is an object that a reader of a finding should look at too.
type RelatedObject struct {
	ObjectReference
	// relation says what the object is to the subject, as "controls" or "stuck pod".
	Relation string
}

// Remediation says how to mend a finding by hand.
type Remediation struct {
	// text explains the commands.
	Text string
	// commands are complete: they can be pasted as they stand.
	Commands []string
}

// FindingSpec is what is wrong.
type FindingSpec struct {
	// analyzer is the name of the analyzer that found it, as "WorkloadStateDrift".
	Analyzer string
	// reason is a CamelCase word for the trouble, unique within the analyzer.
	Reason string
	// severity says how soon a person should look.
	Severity Severity
	// subject is the thing that a person would fix.
	Subject ObjectReference
	// discriminator tells apart several findings of one reason on one subject.
	Discriminator string
	// related are other objects to look at.
	Related []RelatedObject
	// message tells in a sentence what is wrong. It holds no ages or counters.
	Message string
	// remediation says how to mend it by hand.
	Remediation Remediation
	// since is when the trouble began, as far as the cluster can tell.
	Since metav1.Time
}

// FindingStatus is what was added to a finding after it was detected.
type FindingStatus struct {
	// narrative tells what happened in a few sentences; written by a model where one is configured.
	Narrative string
	// lookAt are objects that the model would look at, as KIND/NAME, in its order.
	LookAt []string
	// investigation is the name of the investigation in ops.srenix.io: in the namespace of
	// the finding, or, of a clusterfinding, in that in which srenix runs.
	Investigation string
	// rootCause says in a line what is behind the finding, as the investigation found
	// without any model, or that the data are insufficient and which are lacking.
	RootCause string
	// modelRootCause says in a line what a model takes for the cause that was let look
	// further, or that the data are insufficient. It decides nothing.
	ModelRootCause string
	// evidence is what the investigation read, and what that said, each in a line.
	Evidence []string
	// silencedBy is the name of the silence that matches.
	SilencedBy string
	// proposals are the names of the proposals that would mend this finding.
	Proposals []string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Finding is trouble with a namespaced subject. It is computed, never stored.
type Finding struct {
	metav1.TypeMeta
	// metadata.creationTimestamp equals spec.since.
	metav1.ObjectMeta
	// spec is what is wrong.
	Spec FindingSpec
	// status is what was added later.
	Status FindingStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// FindingList is a list of findings.
type FindingList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []Finding
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ClusterFinding is trouble with a cluster-scoped subject. It is computed, never stored.
type ClusterFinding struct {
	metav1.TypeMeta
	// metadata.creationTimestamp equals spec.since.
	metav1.ObjectMeta
	// spec is what is wrong.
	Spec FindingSpec
	// status is what was added later.
	Status FindingStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ClusterFindingList is a list of clusterfindings.
type ClusterFindingList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []ClusterFinding
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// FindingInvestigation is posted to findings/NAME/investigate or to
// clusterfindings/NAME/investigate, which has the advisor look into the finding. What
// comes out is shown in the status of the finding.
type FindingInvestigation struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// status is what the server answers.
	Status FindingInvestigationStatus
}

// FindingInvestigationStatus says what was stored.
type FindingInvestigationStatus struct {
	// investigation is the name of the Investigation in ops.srenix.io.
	Investigation string
	// requestedAt is when the request was stored; empty on a dry run.
	RequestedAt metav1.Time
}
