// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// ApprovalPhase sums up where an approval is on its way.
// +kubebuilder:validation:Enum=Pending;AwaitingSecondApproval;Executing;Succeeded;Failed;Denied;Expired;Superseded;Released
type ApprovalPhase string

const (
	// PhasePending has been accepted by admission and waits for the executor.
	PhasePending ApprovalPhase = "Pending"
	// PhaseAwaitingSecondApproval counts, and another person has to approve too.
	PhaseAwaitingSecondApproval ApprovalPhase = "AwaitingSecondApproval"
	// PhaseExecuting is claimed by an executor, which may have acted already.
	PhaseExecuting ApprovalPhase = "Executing"
	// PhaseSucceeded has acted; whether it helped is the condition Verified.
	PhaseSucceeded ApprovalPhase = "Succeeded"
	// PhaseFailed could not act, or could not tell whether it had.
	PhaseFailed ApprovalPhase = "Failed"
	// PhaseDenied is a person's no, or was refused by policy before acting.
	PhaseDenied ApprovalPhase = "Denied"
	// PhaseExpired was not acted on before its token expired.
	PhaseExpired ApprovalPhase = "Expired"
	// PhaseSuperseded named a digest that the proposal no longer has.
	PhaseSuperseded ApprovalPhase = "Superseded"
	// PhaseReleased approved a runbook, which people may now read.
	PhaseReleased ApprovalPhase = "Released"
)

// Finished tells whether nothing more will be executed for an approval in this phase.
func (p ApprovalPhase) Finished() bool {
	switch p {
	case "", PhasePending, PhaseAwaitingSecondApproval, PhaseExecuting:
		return false
	}
	return true
}

const (
	// ConditionAccepted is True once the executor has claimed the approval under policy.
	ConditionAccepted = "Accepted"
	// ConditionExecuted is True once the action was carried out.
	ConditionExecuted = "Executed"
	// ConditionVerified is True once the finding has cleared, what comes in the place of old
	// pods is Ready, and both stayed so.
	ConditionVerified = "Verified"
)

// ProposalReference names the proposal that was decided on, exactly.
type ProposalReference struct {
	// name of the proposal, in the approval's namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the proposal.
	UID types.UID `json:"uid"`
	// digest of the proposal when it was decided on.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
}

// ApprovalSpec is a person's decision.
type ApprovalSpec struct {
	// decision is Approve or Deny.
	// +kubebuilder:validation:Enum=Approve;Deny
	Decision srenix.Decision `json:"decision"`
	// proposal is what was decided on.
	Proposal ProposalReference `json:"proposal"`
	// snapshot is the proposal's spec as the approver saw it.
	Snapshot srenix.ProposalSpec `json:"snapshot"`
	// token is the signed token that binds approver, proposal and digest.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	Token string `json:"token"`
	// reason is the approver's own words.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
}

// ExecutionRecord is what the executor did.
type ExecutionRecord struct {
	// executor is the identity (pod name and a random part) that claimed it.
	Executor string `json:"executor"`
	// claimedAt is when.
	ClaimedAt metav1.MicroTime `json:"claimedAt"`
	// intent is the name of the audit event that was written before acting.
	// +optional
	Intent string `json:"intent,omitempty"`
	// controller makes another of the object that is deleted, which must be Ready for the
	// action to be verified; absent where nobody does.
	// +optional
	Controller *srenix.ObjectReference `json:"controller,omitempty"`
	// readyBefore is how many pods of the controller were Ready before; absent where it
	// does not count.
	// +optional
	ReadyBefore *int32 `json:"readyBefore,omitempty"`
	// actedAt is when the API server confirmed the action.
	// +optional
	ActedAt *metav1.MicroTime `json:"actedAt,omitempty"`
	// summary tells in a sentence what was done.
	// +optional
	Summary string `json:"summary,omitempty"`
	// evidence is what the API server answered, as "resourceVersion" or "uid" of the object acted on.
	// +optional
	Evidence map[string]string `json:"evidence,omitempty"`
}

// ApprovalStatus is what became of a decision.
type ApprovalStatus struct {
	// phase sums it up.
	// +optional
	Phase ApprovalPhase `json:"phase,omitempty"`
	// approver is the user name in the token, as the API server authenticated it.
	// +optional
	Approver string `json:"approver,omitempty"`
	// message tells why it is in this phase.
	// +optional
	Message string `json:"message,omitempty"`
	// execution is set from the claim on.
	// +optional
	Execution *ExecutionRecord `json:"execution,omitempty"`
	// clearedAt is since when the finding has been gone, while verifying.
	// +optional
	ClearedAt *metav1.Time `json:"clearedAt,omitempty"`
	// completedAt is when the approval was finished, verification included.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// auditEvents are the names of the audit events about it, in order.
	// +optional
	// +listType=atomic
	AuditEvents []string `json:"auditEvents,omitempty"`
	// conditions are Accepted, Executed and Verified.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Approval is a stored decision on a proposal. It can be applied from Git. Its
// spec is immutable, and its name is derived from its token, so that the API
// server itself lets each token through once.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=srenix,shortName=appr
// +kubebuilder:printcolumn:name="Proposal",type=string,JSONPath=`.spec.proposal.name`
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.snapshot.actionKind`
// +kubebuilder:printcolumn:name="Decision",type=string,JSONPath=`.spec.decision`
// +kubebuilder:printcolumn:name="Approver",type=string,JSONPath=`.status.approver`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Verified",type=string,JSONPath=`.status.conditions[?(@.type=="Verified")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Kind",type=string,priority=1,JSONPath=`.spec.snapshot.target.kind`
// +kubebuilder:printcolumn:name="Target",type=string,priority=1,JSONPath=`.spec.snapshot.target.name`
// +kubebuilder:printcolumn:name="Accepted",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Executed",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Executed")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.message`
type Approval struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the decision.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an approval cannot be changed: create a new one"
	Spec ApprovalSpec `json:"spec"`
	// status is what became of it.
	// +optional
	Status ApprovalStatus `json:"status,omitzero"`
}

// ApprovalList is a list of approvals.
// +kubebuilder:object:root=true
type ApprovalList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Approval `json:"items"`
}
