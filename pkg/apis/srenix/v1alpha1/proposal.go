// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Tier says how much reasoning a proposal rests on, and how it must be approved.
// +enum
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
// +enum
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
// +enum
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
	// +optional
	SetAnnotation *SetAnnotation `json:"setAnnotation,omitempty"`
	// jsonPatch is for PatchIngressTLS: a test of the old value and a replace with the new.
	// +optional
	// +listType=atomic
	JSONPatch []JSONPatchOperation `json:"jsonPatch,omitempty"`
}

// SetAnnotation sets one annotation of a pod template.
type SetAnnotation struct {
	// name is the annotation's key. The value is the time at which the
	// approval's token was issued, in RFC 3339, so that doing it again changes nothing.
	Name string `json:"name"`
}

// JSONPatchOperation is one operation of RFC 6902, with a string value.
type JSONPatchOperation struct {
	// op is "test" or "replace".
	Op string `json:"op"`
	// path is a JSON pointer.
	Path string `json:"path"`
	// value is the string tested for or written.
	Value string `json:"value"`
}

// How many steps a plan has. One alone is a fix.
const (
	MinimumPlanSteps = 2
	MaximumPlanSteps = 5
)

// PlanStep places a proposal in a plan, and has all of the plan: whoever approves a
// step sees what the others are, and can check the digest of the whole.
type PlanStep struct {
	// name is the plan's name.
	Name string `json:"name"`
	// digest is "sha256:" and the hex SHA-256 of the canonical JSON (RFC 8785) of the
	// plan's namespace, name and steps. Whatever any step would do changes it.
	Digest string `json:"digest"`
	// step counts from 1.
	Step int32 `json:"step"`
	// dependsOn is the step that must be verified before; 0 for none.
	// +optional
	DependsOn int32 `json:"dependsOn,omitempty"`
	// steps are all steps of the plan, in their order.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=2
	// +kubebuilder:validation:MaxItems=5
	Steps []PlannedAction `json:"steps"`
}

// Of returns the plan's name; empty of a proposal that is no step of one.
func (p *PlanStep) Of() string {
	if p == nil {
		return ""
	}
	return p.Name
}

// PlannedAction is what one step of a plan would do.
type PlannedAction struct {
	// proposal is the name of the step's proposal, in the namespace of the plan.
	Proposal string `json:"proposal"`
	// uid is that proposal's UID.
	UID types.UID `json:"uid"`
	// finding is what the step would mend.
	Finding FindingReference `json:"finding"`
	// diagnosticClass is what the rate budget counts by: the finding's analyzer.
	DiagnosticClass string `json:"diagnosticClass"`
	// fixer is the name under which the action was chosen.
	Fixer string `json:"fixer"`
	// actionKind is what would be done.
	// +kubebuilder:validation:Enum=DeletePod;PatchDeploymentAnnotation;DeleteJob;DeleteCertificateRequest;PatchIngressTLS
	ActionKind ActionKind `json:"actionKind"`
	// target is the one object that it would be done to.
	Target ObjectReference `json:"target"`
	// patch is what would be written; absent for deletes.
	// +optional
	Patch *Patch `json:"patch,omitempty"`
}

// RunbookReference pins the text that a Runbook releases. The text itself is read
// at proposals/runbook, by those who may approve it, and by everybody else who
// may read there once it is released.
type RunbookReference struct {
	// title says in a line what the runbook is for.
	Title string `json:"title"`
	// investigation is the one of ops.srenix.io, in the proposal's namespace, that has the text;
	// empty where a rule wrote it.
	// +optional
	Investigation string `json:"investigation,omitempty"`
	// digest is "sha256:" and the hex SHA-256 of the canonical JSON (RFC 8785) of title and text.
	Digest string `json:"digest"`
}

// FindingReference names the finding that a proposal would mend.
type FindingReference struct {
	// name of the finding, in the proposal's namespace.
	Name string `json:"name"`
	// uid of the finding.
	UID types.UID `json:"uid"`
	// since is the finding's since: a new episode of the same trouble is a new digest.
	Since metav1.Time `json:"since"`
}

// ProposalSpec is what would be done, and why.
type ProposalSpec struct {
	// finding is what this would mend.
	Finding FindingReference `json:"finding"`
	// tier says how it must be approved.
	Tier Tier `json:"tier"`
	// actionKind is what would be done.
	// +kubebuilder:validation:Enum=DeletePod;PatchDeploymentAnnotation;DeleteJob;DeleteCertificateRequest;PatchIngressTLS;Runbook
	ActionKind ActionKind `json:"actionKind"`
	// target is the one object that it would be done to.
	Target ObjectReference `json:"target"`
	// patch is what would be written; absent for deletes.
	// +optional
	Patch *Patch `json:"patch,omitempty"`
	// runbook is what is released; of a Runbook only.
	// +optional
	Runbook *RunbookReference `json:"runbook,omitempty"`
	// rationale says why this should help.
	Rationale string `json:"rationale"`
	// source says who chose the action.
	Source Source `json:"source"`
	// diagnosticClass is what the rate budget counts by: the finding's analyzer.
	DiagnosticClass string `json:"diagnosticClass"`
	// plan is set for steps of a plan.
	// +optional
	Plan *PlanStep `json:"plan,omitempty"`
	// digest is "sha256:" and the hex SHA-256 of the canonical JSON (RFC 8785)
	// of all that would be done. An approval names it; it changes when anything
	// that would be done changes.
	Digest string `json:"digest"`
}

// VerdictResult is what one policy layer says.
// +enum
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
	Layer string `json:"layer"`
	// result is the verdict.
	Result VerdictResult `json:"result"`
	// message tells why.
	Message string `json:"message"`
	// remedy tells what would make a denial pass.
	// +optional
	Remedy string `json:"remedy,omitempty"`
}

// ProposalPhase sums a proposal's state up in a word.
// +enum
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
	Name string `json:"name"`
	// approver is the user name that the API server authenticated; empty until it is
	// written down, which takes a moment.
	Approver string `json:"approver"`
	// decision is Approve or Deny.
	Decision string `json:"decision"`
	// phase is the approval's phase.
	// +optional
	Phase string `json:"phase,omitempty"`
	// time is when it was made.
	Time metav1.Time `json:"time"`
	// reason is what the approver said about it.
	// +optional
	Reason string `json:"reason,omitempty"`
	// message tells why nothing was done for it; empty where that may still come.
	// +optional
	Message string `json:"message,omitempty"`
}

// ProposalStatus is how a proposal stands.
type ProposalStatus struct {
	// phase sums it up.
	Phase ProposalPhase `json:"phase"`
	// verdicts has one entry for each of the eight layers, in their order.
	// +listType=map
	// +listMapKey=layer
	Verdicts []Verdict `json:"verdicts"`
	// approvals of the present digest, oldest first.
	// +optional
	// +listType=map
	// +listMapKey=name
	Approvals []ApprovalSummary `json:"approvals,omitempty"`
	// conditions can be waited for; see ConditionApprovable.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +genclient
// +genclient:onlyVerbs=get,list,watch
// +genclient:method=CreateToken,verb=create,subresource=token,input=github.com/srenix/srenix/pkg/apis/srenix/v1alpha1.ProposalTokenRequest,result=github.com/srenix/srenix/pkg/apis/srenix/v1alpha1.ProposalTokenRequest
// +genclient:method=Approve,verb=create,subresource=approve,input=github.com/srenix/srenix/pkg/apis/srenix/v1alpha1.ProposalApproval,result=github.com/srenix/srenix/pkg/apis/srenix/v1alpha1.ProposalApproval
// +genclient:method=GetRunbook,verb=get,subresource=runbook,result=github.com/srenix/srenix/pkg/apis/srenix/v1alpha1.ProposalRunbook
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true

// Proposal is a repair that a person may approve. It is computed, never stored.
type Proposal struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what would be done, and why.
	Spec ProposalSpec `json:"spec"`
	// status is how it stands.
	// +optional
	Status ProposalStatus `json:"status,omitzero"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ProposalList is a list of proposals.
type ProposalList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Proposal `json:"items"`
}
