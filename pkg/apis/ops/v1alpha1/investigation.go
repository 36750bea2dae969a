// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// KindClusterFinding is the kind of clusterfindings.
const KindClusterFinding = "ClusterFinding"

// InvestigatedFinding names the finding that is looked into: one in the namespace of
// the investigation, or a clusterfinding, whose investigation is in the namespace that
// srenix runs in.
type InvestigatedFinding struct {
	// kind is Finding, or ClusterFinding; empty is Finding.
	// +optional
	// +kubebuilder:validation:Enum=Finding;ClusterFinding
	Kind string `json:"kind,omitempty"`
	// name of the finding.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the finding: another incarnation of its subject is another finding.
	UID types.UID `json:"uid"`
}

// MaximumRequests is how many requests an investigation remembers.
const MaximumRequests = 50

// InvestigationRequest is that somebody asked for an investigation.
type InvestigationRequest struct {
	// by is who asked, as kube-apiserver authenticated them.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by"`
	// at is when.
	At metav1.MicroTime `json:"at"`
}

// InvestigationSpec says what is looked into.
type InvestigationSpec struct {
	// finding is what is looked into.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an investigation stays with its finding"
	Finding InvestigatedFinding `json:"finding"`
	// requests are the last one, and those of the hour before it, in the order in which
	// they came. Another one has the finding looked into anew.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Requests []InvestigationRequest `json:"requests,omitempty"`
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
	// draftedBy is the model that drafted it; empty of what people wrote.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	DraftedBy string `json:"draftedBy,omitempty"`
}

// InvestigationTool is one of the closed set of tools that an investigation reads
// with.
// +kubebuilder:validation:Enum=Object;Events;Log;Host
type InvestigationTool string

const (
	// ToolObject reads one object of the API, or those that it controls.
	ToolObject InvestigationTool = "Object"
	// ToolEvents reads the Events about an object.
	ToolEvents InvestigationTool = "Events"
	// ToolLog reads the end of a container's log.
	ToolLog InvestigationTool = "Log"
	// ToolHost resolves a host's name, or looks at its certificate.
	ToolHost InvestigationTool = "Host"
)

// Bounds of what is kept of an investigation, in bytes where they are of text.
const (
	MaximumEvidence     = 16
	MaximumEvidenceText = 1024
	MaximumRootCause    = 512
	// MaximumCalls is how many calls of a model there are at most within an hour.
	MaximumCalls = 32
	// MaximumModelEvidence is how often a model may have something read.
	MaximumModelEvidence = 6
)

// Evidence is one thing that was read, and what it said.
type Evidence struct {
	// tool is what it was read with.
	Tool InvestigationTool `json:"tool"`
	// source is what was read, as "Pod/web-0" or "Pod/web-0 container app".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=600
	Source string `json:"source"`
	// said is what it said, or why it could not be read. What looks like a secret is
	// masked.
	// +kubebuilder:validation:MaxLength=1024
	Said string `json:"said"`
	// at is when it was read.
	At metav1.Time `json:"at"`
}

// InvestigationTrigger is why a finding was looked into.
// +kubebuilder:validation:Enum=Severity;Request
type InvestigationTrigger string

const (
	// TriggerSeverity is a finding of a severity that is always looked into.
	TriggerSeverity InvestigationTrigger = "Severity"
	// TriggerRequest is a person, or a program, who asked.
	TriggerRequest InvestigationTrigger = "Request"
)

// Conditions of investigations.
const (
	// ConditionCompleted is True once the finding has been looked into. Its reason is
	// one of those below.
	ConditionCompleted = "Completed"
	// ConditionFindingStands is False once the finding is gone. Some time after the
	// investigation goes too.
	ConditionFindingStands = "FindingStands"
)

// Reasons of ConditionCompleted.
const (
	// ReasonRootCauseFound means that status.rootCause has it.
	ReasonRootCauseFound = "RootCauseFound"
	// ReasonInsufficientData means that what could be read does not tell.
	ReasonInsufficientData = "InsufficientData"
)

// InvestigationStatus is what came out.
type InvestigationStatus struct {
	// conditions: Completed and FindingStands.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation of the spec that was looked into last.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// trigger is why it was looked into.
	// +optional
	Trigger InvestigationTrigger `json:"trigger,omitempty"`
	// startedAt is when it was last looked into.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// completedAt is when that was done.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// rootCause says in a line what is behind the finding, or that the data are
	// insufficient, and which are lacking.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	RootCause string `json:"rootCause,omitempty"`
	// cause is a CamelCase word for it, as "ConnectionRefused" or "LogNotReadable".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Cause string `json:"cause,omitempty"`
	// evidence is what was read, in that order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Evidence []Evidence `json:"evidence,omitempty"`
	// findingHash is the SHA-256 of what the finding said when it was looked into, in
	// hexadecimal. While it says the same, it is not looked into again by itself.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	FindingHash string `json:"findingHash,omitempty"`
	// evidenceHash is the SHA-256 of the evidence without its times, in hexadecimal.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	EvidenceHash string `json:"evidenceHash,omitempty"`
	// narrative tells in two to four sentences what happened, why it matters and what
	// the likely cause is, as a model says. It decides nothing.
	// +optional
	// +kubebuilder:validation:MaxLength=500
	Narrative string `json:"narrative,omitempty"`
	// lookAt are objects of the finding that the model would look at, in its order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	LookAt []srenix.ObjectReference `json:"lookAt,omitempty"`
	// narratedHash is the SHA-256, in hexadecimal, of what a model was asked to narrate
	// and has answered about, whether its answer was of use or not. The same is not
	// asked again.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	NarratedHash string `json:"narratedHash,omitempty"`
	// modelInvestigation is what a model found that was let look further. It stands beside
	// what rules found, and decides nothing.
	// +optional
	ModelInvestigation *ModelInvestigation `json:"modelInvestigation,omitempty"`
	// fix is which fixer a model would have mend the finding.
	// +optional
	Fix *ChosenFix `json:"fix,omitempty"`
	// plan is in which order a model would have the finding, and others that belong to
	// it, mended.
	// +optional
	Plan *ChosenPlan `json:"plan,omitempty"`
	// calls of a model are those of the last hour at least, in their order. The API
	// server appends each to the audit chain once it is over.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=32
	Calls []ModelCall `json:"calls,omitempty"`
	// runbook is a draft that two people have to approve before it is released.
	// Whoever may read investigations reads it; srenix gives that right to nobody
	// but its own programs.
	// +optional
	Runbook *Runbook `json:"runbook,omitempty"`
	// draftedHash is the SHA-256, in hexadecimal, of what a model was asked to draft a
	// runbook for and has answered about, whether its draft was of use or not. The same
	// is not asked again.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	DraftedHash string `json:"draftedHash,omitempty"`
}

// Investigation is what srenix found out about a finding beyond detecting it.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=srenix,shortName=inv
// +kubebuilder:printcolumn:name="Finding",type=string,JSONPath=`.spec.finding.name`
// +kubebuilder:printcolumn:name="Cause",type=string,JSONPath=`.status.cause`
// +kubebuilder:printcolumn:name="Runbook",type=string,JSONPath=`.status.runbook.title`,priority=1
// +kubebuilder:printcolumn:name="Root-Cause",type=string,JSONPath=`.status.rootCause`,priority=1
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

// InvestigationName returns the name of the investigation of a finding, the same
// for everybody who makes one, so that there is one for each.
func InvestigationName(finding string, uid types.UID) string {
	const hash, longest = 10, 253 // characters; of a name: RFC 1123 subdomain
	sum := sha256.Sum256([]byte(uid))
	readable := strings.Trim(finding[:min(len(finding), longest-hash-1)], "-.")
	return readable + "-" + hex.EncodeToString(sum[:])[:hash]
}
