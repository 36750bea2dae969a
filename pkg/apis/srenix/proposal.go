// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package srenix

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Tier says how much reasoning a proposal rests on, and how it must be approved.
type Tier string

const (
	// TierFix is one action with one approver.
	TierFix Tier = "T1"
	// TierPlan is a step of an ordered plan whose digest is signed as a unit.
	TierPlan Tier = "T2"
	// TierRunbook is text for people, released by two approvers and never executed.
	TierRunbook Tier = "T3"
)

// ActionKind is the closed list of what can be done.
type ActionKind string

const (
	// ActionDeletePod deletes one Pod, so that its controller makes a fresh one.
	ActionDeletePod ActionKind = "DeletePod"
	// ActionPatchDeploymentAnnotation restarts a Deployment as `kubectl rollout restart` does.
	ActionPatchDeploymentAnnotation ActionKind = "PatchDeploymentAnnotation"
	// ActionDeleteJob deletes one Job, so that its owner makes a fresh one.
	ActionDeleteJob ActionKind = "DeleteJob"
	// ActionDeleteCertificateRequest deletes one failed CertificateRequest of cert-manager.
	ActionDeleteCertificateRequest ActionKind = "DeleteCertificateRequest"
	// ActionPatchIngressTLS points one TLS entry of an Ingress at another Secret.
	ActionPatchIngressTLS ActionKind = "PatchIngressTLS"
	// ActionRunbook releases a text to people. Nothing ever executes it.
	ActionRunbook ActionKind = "Runbook"
)

// Source says who chose the action.
type Source string

const (
	// SourceRule is the deterministic matcher.
	SourceRule Source = "Rule"
	// SourceLLM is a model that chose among the same fixed list, or drafted a runbook.
	SourceLLM Source = "LLM"
	// SourceInvestigation is an investigation of the finding, in which a person or a
	// program wrote the runbook.
	SourceInvestigation Source = "Investigation"
)

// Patch is what a patching action writes. Exactly the member that the action
// kind calls for is set; deleting actions have no patch.
type Patch struct {
	// setAnnotation is for PatchDeploymentAnnotation.
	SetAnnotation *SetAnnotation
	// jsonPatch is for PatchIngressTLS: a test of the old value and a replace with the new.
	JSONPatch []JSONPatchOperation
}

// SetAnnotation sets one annotation of a pod template.
type SetAnnotation struct {
	// name is the annotation's key. The value is the time at which the
	// approval's token was issued, in RFC 3339, so that doing it again changes nothing.
	Name string
}

// JSONPatchOperation is one operation of RFC 6902, with a string value.
type JSONPatchOperation struct {
	// op is "test" or "replace".
	Op string
	// path is a JSON pointer.
	Path string
	// value is the string tested for or written.
	Value string
}

// PlanStep places a proposal in a plan, and has all of the plan.
type PlanStep struct {
	// name is the plan's name.
	Name string
	// digest is the digest of the whole plan.
	Digest string
	// step counts from 1.
	Step int32
	// dependsOn is the step that must be verified before; 0 for none.
	DependsOn int32
	// steps are all steps of the plan, in their order.
	Steps []PlannedAction
}

// PlannedAction is what one step of a plan would do.
type PlannedAction struct {
	// proposal is the name of the step's proposal.
	Proposal string
	// uid is that proposal's UID.
	UID types.UID
	// finding is what the step would mend.
	Finding FindingReference
	// diagnosticClass is the finding's analyzer.
	DiagnosticClass string
	// fixer is the name under which the action was chosen.
	Fixer string
	// actionKind is what would be done.
	ActionKind ActionKind
	// target is the one object that it would be done to.
	Target ObjectReference
	// patch is what would be written; absent for deletes.
	Patch *Patch
}

// RunbookReference pins the text that a Runbook releases.
type RunbookReference struct {
	Title         string
	Investigation string
	Digest        string
}

// FindingReference names the finding that a proposal would mend.
type FindingReference struct {
	// name of the finding, in the proposal's namespace.
	Name string
	// uid of the finding.
	UID types.UID
	// since is the finding's since: a new episode of the same trouble is a new digest.
	Since metav1.Time
}

// ProposalSpec is what would be done, and why.
type ProposalSpec struct {
	// finding is what this would mend.
	Finding FindingReference
	// tier says how it must be approved.
	Tier Tier
	// actionKind is what would be done.
	ActionKind ActionKind
	// target is the one object that it would be done to.
	Target ObjectReference
	// patch is what would be written; absent for deletes.
	Patch *Patch
	// rationale says why this should help.
	Runbook   *RunbookReference
	Rationale string
	// source says who chose the action.
	Source Source
	// diagnosticClass is what the rate budget counts by: the finding's analyzer.
	DiagnosticClass string
	// plan is set for steps of a plan.
	Plan *PlanStep
	// digest is "sha256:" and the hex SHA-256 of the canonical JSON (RFC 8785)
	// of all that would be done. An approval names it; it changes when anything
	// that would be done changes.
	Digest string
}

// VerdictResult is what one policy layer says.
type VerdictResult string

const (
	// VerdictAllowed means that the layer has no objection.
	VerdictAllowed VerdictResult = "Allowed"
	// VerdictDenied means that the layer refuses.
	VerdictDenied VerdictResult = "Denied"
	// VerdictPending means that the layer can tell only once there is an approval.
	VerdictPending VerdictResult = "Pending"
)

// Verdict is what one policy layer says of a proposal.
type Verdict struct {
	// layer is the layer's name, as "NamespaceProtection".
	Layer string
	// result is the verdict.
	Result VerdictResult
	// message tells why.
	Message string
	// remedy tells what would make a denial pass.
	Remedy string
}

// ProposalPhase sums a proposal's state up in a word.
type ProposalPhase string

const (
	// ProposalOpen can be approved.
	ProposalOpen ProposalPhase = "Open"
	// ProposalBlocked would be refused by a layer; the verdicts say which and why.
	ProposalBlocked ProposalPhase = "Blocked"
	// ProposalAwaitingApproval has some approvals and needs more.
	ProposalAwaitingApproval ProposalPhase = "AwaitingApproval"
	// ProposalApproved has an accepted approval that is not finished.
	ProposalApproved ProposalPhase = "Approved"
	// ProposalDenied was denied by a person and stays so until its digest changes.
	ProposalDenied ProposalPhase = "Denied"
	// ProposalExecuted was carried out under its present digest.
	ProposalExecuted ProposalPhase = "Executed"
	// ProposalReleased is a runbook that people may read and follow. Nothing was executed.
	ProposalReleased ProposalPhase = "Released"
)

const (
	// ConditionApprovable is True while no layer would refuse an approval.
	ConditionApprovable = "Approvable"
)

// ApprovalSummary is one approval of a proposal's present digest.
type ApprovalSummary struct {
	// name of the Approval in ops.srenix.io, same namespace.
	Name string
	// approver is the user name that the API server authenticated.
	Approver string
	// decision is Approve or Deny.
	Decision string
	// phase is the approval's phase.
	Phase string
	// time is when it was made.
	Time metav1.Time
	// reason is what the approver said about it.
	Reason string
	// message tells why nothing was done for it; empty where that may still come.
	Message string
}

// ProposalStatus is how a proposal stands.
type ProposalStatus struct {
	// phase sums it up.
	Phase ProposalPhase
	// verdicts has one entry for each of the eight layers, in their order.
	Verdicts []Verdict
	// approvals of the present digest, oldest first.
	Approvals []ApprovalSummary
	// conditions can be waited for; see ConditionApprovable.
	Conditions []metav1.Condition
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Proposal is a repair that a person may approve. It is computed, never stored.
type Proposal struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// spec is what would be done, and why.
	Spec ProposalSpec
	// status is how it stands.
	Status ProposalStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ProposalList is a list of proposals.
type ProposalList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []Proposal
}

// TokenRequestSpec asks for a token.
type TokenRequestSpec struct {
	// digest of the proposal that the caller has seen. A proposal that has
	// changed since answers 409 Conflict naming both digests.
	Digest string
	// decision that the token is for: Approve, which is the default, or Deny.
	Decision Decision
	// reason is the one that the approval is to give, at most 1024 characters: the
	// token is good for no other.
	Reason string
	// expirationSeconds is the lifetime asked for; 900 by default, at most 86400.
	ExpirationSeconds *int64
}

// TokenRequestStatus is the token.
type TokenRequestStatus struct {
	// token is a JWT signed with Ed25519. It is a bearer credential for one
	// approval by one person of one digest.
	Token string
	// expirationTimestamp is when it stops being valid.
	ExpirationTimestamp metav1.Time
	// approvalName is the name that an Approval with this token must have.
	ApprovalName string
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ProposalTokenRequest is posted to proposals/NAME/token; the answer carries the token.
type ProposalTokenRequest struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// spec is what is asked for.
	Spec TokenRequestSpec
	// status is filled in by the server.
	Status TokenRequestStatus
}

// Decision is what a person says to a proposal.
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
	Decision Decision
	// digest of the proposal that the caller has seen.
	Digest string
	// token minted by proposals/NAME/token for the same caller.
	Token string
	// reason is free text for the record, at most 1024 characters.
	Reason string
	// proposalUID is filled in by the server.
	ProposalUID types.UID
	// snapshot is filled in by the server: the proposal as it stands, so that
	// admission sees what is being approved without a look-up.
	Snapshot *ProposalSpec
}

// ProposalApprovalStatus is what became of the decision.
type ProposalApprovalStatus struct {
	// approvalName is the stored Approval in ops.srenix.io, same namespace.
	ApprovalName string
	// verdicts are those of the layers at the time of the decision.
	Verdicts []Verdict
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ProposalApproval is posted to proposals/NAME/approve; it ends in a stored Approval.
type ProposalApproval struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// spec is the decision.
	Spec ProposalApprovalSpec
	// status is filled in by the server.
	Status ProposalApprovalStatus
}

// ProposalRunbookSpec is the text of a runbook.
type ProposalRunbookSpec struct {
	Title    string
	Text     string
	Digest   string
	Released bool
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ProposalRunbook is what proposals/NAME/runbook answers.
type ProposalRunbook struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Spec ProposalRunbookSpec
}
