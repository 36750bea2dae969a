// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// AuditType says what an audit event records.
// +kubebuilder:validation:Enum=ChainStarted;TokenMinted;ApprovalAccepted;ApprovalDenied;DenialRecorded;ActionIntended;ActionDone;ActionFailed;ActionUnsettled;RunbookReleased;Verified;NotVerified;Superseded;ConfigurationChanged;ModelCalled;Checkpoint
type AuditType string

const (
	// AuditChainStarted is the first event of a chain.
	AuditChainStarted AuditType = "ChainStarted"
	// AuditTokenMinted is a token given to a caller.
	AuditTokenMinted AuditType = "TokenMinted"
	// AuditApprovalAccepted is an approval that passed every layer and is about to be
	// stored. It and the next one record, by their verdicts, how a proposal was
	// evaluated; that of one which nobody decides on stands in its status alone.
	AuditApprovalAccepted AuditType = "ApprovalAccepted"
	// AuditApprovalDenied is an approval that a layer refused. A request without proof
	// that anybody decided so is none.
	AuditApprovalDenied AuditType = "ApprovalDenied"
	// AuditDenialRecorded is a person's no.
	AuditDenialRecorded AuditType = "DenialRecorded"
	// AuditActionIntended is written before acting; no action without it.
	AuditActionIntended AuditType = "ActionIntended"
	// AuditActionDone is the API server's confirmation of the action.
	AuditActionDone AuditType = "ActionDone"
	// AuditActionFailed is an intent for which nothing was done.
	AuditActionFailed AuditType = "ActionFailed"
	// AuditActionUnsettled is an intent of which nobody can tell any more whether
	// it was carried out, or whose answer was not what was approved. Nothing is done
	// for the same digest again.
	AuditActionUnsettled AuditType = "ActionUnsettled"
	// AuditRunbookReleased is a runbook that enough people approved.
	AuditRunbookReleased AuditType = "RunbookReleased"
	// AuditVerified is a finding that cleared after the action and stayed so.
	AuditVerified AuditType = "Verified"
	// AuditNotVerified is a finding that was not seen to clear and stay so in time.
	AuditNotVerified AuditType = "NotVerified"
	// AuditSuperseded is an approval that no longer fits its proposal.
	AuditSuperseded AuditType = "Superseded"
	// AuditConfigurationChanged is another policy configuration taking effect, or the
	// first one that the chain knows of. It has hashes of before and after and of each
	// field, and names the fields that changed, never their values.
	AuditConfigurationChanged AuditType = "ConfigurationChanged"
	// AuditModelCalled is one call of a model.
	AuditModelCalled AuditType = "ModelCalled"
	// AuditCheckpointSigned is a signed checkpoint of the chain; the message is the note.
	AuditCheckpointSigned AuditType = "Checkpoint"
)

// AuditReferences are what an event is about. Never a value of a Secret.
type AuditReferences struct {
	// namespace of proposal and approval.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// proposal is the proposal's name.
	// +optional
	Proposal string `json:"proposal,omitempty"`
	// proposalUID is its UID.
	// +optional
	ProposalUID types.UID `json:"proposalUID,omitempty"`
	// digest is its digest.
	// +optional
	Digest string `json:"digest,omitempty"`
	// approval is the approval's name.
	// +optional
	Approval string `json:"approval,omitempty"`
	// approvalUID is the UID of the stored Approval, where there is one. An
	// acceptance is that of the Approval with this UID and of no other.
	// +optional
	ApprovalUID types.UID `json:"approvalUID,omitempty"`
	// approver is the user name in the token.
	// +optional
	Approver string `json:"approver,omitempty"`
	// applier is who stored the approval, where that is somebody else.
	// +optional
	Applier string `json:"applier,omitempty"`
	// jti is the token's ID.
	// +optional
	JTI string `json:"jti,omitempty"`
	// diagnosticClass is what the rate budget counts by.
	// +optional
	DiagnosticClass string `json:"diagnosticClass,omitempty"`
	// actionKind is what was to be done.
	// +optional
	ActionKind srenix.ActionKind `json:"actionKind,omitempty"`
	// target is what it was to be done to.
	// +optional
	Target *srenix.ObjectReference `json:"target,omitempty"`
	// plan is the name of the plan of which the proposal is a step.
	// +optional
	Plan string `json:"plan,omitempty"`
}

// AuditIntent is what whoever finds an intent needs in order to tell, by looking
// at the target, whether it was carried out.
type AuditIntent struct {
	// generation of the target that was judged. While the target still has it,
	// nothing that the action writes was written.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// value that the action writes, where it writes one that is not in the proposal.
	// +optional
	Value string `json:"value,omitempty"`
}

// AuditEventSpec is one link of the chain.
//
// +kubebuilder:validation:XValidation:rule="has(self.modelCall) == (self.type == 'ModelCalled')",message="modelCall is that of an event of type ModelCalled"
type AuditEventSpec struct {
	// index counts from 0; the object's name is the index, zero-padded to 20 digits.
	// +kubebuilder:validation:Minimum=0
	Index int64 `json:"index"`
	// time at which the event was appended.
	Time metav1.MicroTime `json:"time"`
	// component that appended it: apiserver, executor or advisor, with the pod's name.
	Component string `json:"component"`
	// actor is the user on whose behalf, or the component itself.
	Actor string `json:"actor"`
	// type says what happened.
	Type AuditType `json:"type"`
	// references are what it is about.
	// +optional
	References AuditReferences `json:"references,omitzero"`
	// intent is what is about to be written, in an event of type ActionIntended.
	// +optional
	Intent *AuditIntent `json:"intent,omitempty"`
	// modelCall is what a model was asked, in an event of type ModelCalled.
	// +optional
	ModelCall *ModelCall `json:"modelCall,omitempty"`
	// message tells it in a sentence.
	// +optional
	Message string `json:"message,omitempty"`
	// verdicts of the eight layers, where it records a decision.
	// +optional
	// +listType=atomic
	Verdicts []srenix.Verdict `json:"verdicts,omitempty"`
	// hashes of inputs and outputs ("sha256:" and hex) by what they are of.
	// +optional
	Hashes map[string]string `json:"hashes,omitempty"`
	// prevHash is the hash of the event before; of the first one, 64 zeros.
	PrevHash string `json:"prevHash"`
	// hash is "sha256:" and the hex SHA-256 over the canonical JSON (RFC 8785)
	// of this spec without this field.
	Hash string `json:"hash"`
}

// AuditEvent is one immutable link of the cluster's audit chain. Creating the
// object whose name is the next index is the compare-and-swap that orders all writers.
//
// +genclient
// +genclient:nonNamespaced
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=srenix,shortName=aev
// +kubebuilder:printcolumn:name="Time",type=string,JSONPath=`.spec.time`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Actor",type=string,JSONPath=`.spec.actor`
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.references.namespace`
// +kubebuilder:printcolumn:name="Proposal",type=string,JSONPath=`.spec.references.proposal`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.spec.message`,priority=1
type AuditEvent struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the event.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an audit event cannot be changed"
	Spec AuditEventSpec `json:"spec"`
}

// AuditEventList is a list of audit events.
// +kubebuilder:object:root=true
type AuditEventList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AuditEvent `json:"items"`
}
