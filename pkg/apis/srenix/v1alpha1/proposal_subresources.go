// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TokenRequestSpec asks for a token.
type TokenRequestSpec struct {
	// digest of the proposal that the caller has seen. A proposal that has
	// changed since answers 409 Conflict naming both digests.
	Digest string `json:"digest"`
	// decision that the token is for: Approve, which is the default, or Deny.
	// +optional
	Decision Decision `json:"decision,omitempty"`
	// reason is the one that the approval is to give, at most 1024 characters: the
	// token is good for no other.
	// +optional
	Reason string `json:"reason,omitempty"`
	// expirationSeconds is the lifetime asked for; 900 by default, at most 86400.
	// +optional
	ExpirationSeconds *int64 `json:"expirationSeconds,omitempty"`
}

// TokenRequestStatus is the token.
type TokenRequestStatus struct {
	// token is a JWT signed with Ed25519. It is a bearer credential for one
	// approval by one person of one digest.
	Token string `json:"token"`
	// expirationTimestamp is when it stops being valid.
	ExpirationTimestamp metav1.Time `json:"expirationTimestamp"`
	// approvalName is the name that an Approval with this token must have.
	ApprovalName string `json:"approvalName"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true

// ProposalTokenRequest is posted to proposals/NAME/token; the answer carries the token.
type ProposalTokenRequest struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what is asked for.
	Spec TokenRequestSpec `json:"spec"`
	// status is filled in by the server.
	// +optional
	Status TokenRequestStatus `json:"status,omitzero"`
}

// Decision is what a person says to a proposal.
// +enum
type Decision string

const (
	// DecisionApprove says yes.
	DecisionApprove Decision = "Approve"
	// DecisionDeny says no, for everybody, until the digest changes.
	DecisionDeny Decision = "Deny"
)

// ProposalApprovalSpec is a decision on a proposal.
type ProposalApprovalSpec struct {
	// decision is Approve or Deny; Approve by default.
	// +optional
	Decision Decision `json:"decision,omitempty"`
	// digest of the proposal that the caller has seen.
	Digest string `json:"digest"`
	// token minted by proposals/NAME/token for the same caller.
	Token string `json:"token"`
	// reason is free text for the record, at most 1024 characters.
	// +optional
	Reason string `json:"reason,omitempty"`
	// proposalUID is filled in by the server; a request that has one is invalid (422).
	// +optional
	ProposalUID types.UID `json:"proposalUID,omitempty"`
	// snapshot is filled in by the server: the proposal as it stands, so that
	// admission sees what is being approved without a look-up. A request that has one is
	// invalid (422).
	// +optional
	Snapshot *ProposalSpec `json:"snapshot,omitempty"`
}

// ProposalApprovalStatus is what became of the decision.
type ProposalApprovalStatus struct {
	// approvalName is the stored Approval in ops.srenix.io, same namespace.
	ApprovalName string `json:"approvalName"`
	// verdicts are those of the layers at the time of the decision.
	// +optional
	// +listType=map
	// +listMapKey=layer
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true

// ProposalApproval is posted to proposals/NAME/approve; it ends in a stored Approval.
type ProposalApproval struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the decision.
	Spec ProposalApprovalSpec `json:"spec"`
	// status is filled in by the server.
	// +optional
	Status ProposalApprovalStatus `json:"status,omitzero"`
}

// ProposalRunbookSpec is the text of a runbook.
type ProposalRunbookSpec struct {
	// title says in a line what it is for.
	Title string `json:"title"`
	// text is for people to read and follow. Nothing executes it.
	Text string `json:"text"`
	// digest is that of title and text, which the proposal's digest binds.
	Digest string `json:"digest"`
	// released tells whether enough people have approved it.
	Released bool `json:"released"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true

// ProposalRunbook is what proposals/NAME/runbook answers.
type ProposalRunbook struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the text.
	Spec ProposalRunbookSpec `json:"spec"`
}
