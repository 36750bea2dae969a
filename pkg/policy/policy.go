// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy is the leash: eight layers that decide whether an approval
// counts. Evaluate decides by its input alone. It knows no clients: whoever calls
// it gathers the facts (package evidence does) and hands them in. A fact that could
// not be gathered is handed in as an error, which denies, and so does one that
// nobody gathered.
//
// The webhook evaluates when an approval is made, and the executor again right
// before it acts. Every layer is always evaluated, so a refusal lists every
// reason at once. A panic, a missing fact or no answer in time is the layer's denial.
package policy

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// Layer names one of the eight layers, in the order in which they are reported.
type Layer string

// The eight layers.
const (
	ActionKindAllowlist Layer = "ActionKindAllowlist"
	TargetScope         Layer = "TargetScope"
	NamespaceProtection Layer = "NamespaceProtection"
	GitOpsManaged       Layer = "GitOpsManaged"
	SignedToken         Layer = "SignedToken"
	DualApproval        Layer = "DualApproval"
	HashChainedAudit    Layer = "HashChainedAudit"
	RateBudget          Layer = "RateBudget"
)

// Access is the name under which the checks on top of the layers are reported:
// the approver must be allowed to approve the action kind, and to do the action
// themselves. It is not a layer: the cluster's own RBAC decides it.
const Access Layer = "Access"

// Stage says what is being decided. It is part of the input because a standing
// proposal has no token yet, and an approval no dry run.
type Stage string

const (
	// StageStanding evaluates a proposal that nobody has approved yet: layers
	// that need an approval answer Pending.
	StageStanding Stage = "Standing"
	// StageApproval evaluates an approval that is being made.
	StageApproval Stage = "Approval"
	// StageExecution evaluates an accepted approval right before acting.
	StageExecution Stage = "Execution"
)

// Proposal is the proposal under decision: at approval and execution, the
// snapshot that the approver saw.
type Proposal struct {
	Namespace, Name string
	UID             types.UID
	Spec            v1alpha1.ProposalSpec
}

// Owner is one controller in the target's chain, nearest first.
type Owner struct {
	APIVersion, Kind string
	metav1.ObjectMeta
}

// ApprovalRecord is an approval of the same proposal and digest that is stored already.
type ApprovalRecord struct {
	// Name is the stored Approval's name.
	Name string
	// Approver is the canonical identity in its token.
	Approver string
	Decision v1alpha1.Decision
	Time     Span
}

// Span is when something was recorded, as early and as late as the clocks have it that
// tell of it: whose clock is wrong is not known, and none of them alone may shorten a wait.
type Span struct{ Earliest, Latest time.Time }

// At is a time that all clocks agree on.
func At(t time.Time) Span { return Span{Earliest: t, Latest: t} }

// Input is everything that a decision rests on. The zero value denies, and so does
// the zero value of each field that the stage needs. Where nothing is the good
// answer (nobody used the token, nobody said no) the field is a pointer: it is nil
// until somebody has asked.
type Input struct {
	Stage    Stage
	Now      time.Time
	Config   *config.PolicyConfiguration
	Decision v1alpha1.Decision
	// Reason is what the approval gives; it may be empty.
	Reason   string
	Proposal Proposal

	// CurrentDigest is the digest of the proposal as it stands; empty if it is gone.
	CurrentDigest string

	// Target is the target as it is: whole, as *unstructured.Unstructured; while
	// Standing, where nothing is compared, also *corev1.Pod, *appsv1.Deployment,
	// *batchv1.Job or *networkingv1.Ingress. Nil means that it does not exist.
	Target runtime.Object
	// Certificates are those of cert-manager in the target's namespace, for
	// PatchIngressTLS; not looked at for other kinds.
	Certificates []unstructured.Unstructured
	// DryRun is the target as the API server would store it after a patch, at
	// StageExecution of a patching action; nil otherwise. It is whole, like the
	// target: a type of ours would hide the fields that are newer than it.
	DryRun *unstructured.Unstructured
	// Owners is the target's chain of controllers.
	Owners []Owner
	// Namespace is the target's namespace; nil means that it does not exist.
	Namespace *corev1.Namespace
	// OwnNamespace is where srenix runs.
	OwnNamespace string

	// Caller is the authenticated user who makes the approval, where that is
	// known (proposals/approve); empty where an applier stores it for them.
	Caller string
	// Token is what the approval carries, and Verifier checks it.
	Token    string
	Verifier *token.Verifier
	// ApprovalName is the name under which the approval is or would be stored.
	ApprovalName string
	// TokenUsedBy is the name of the Approval that used the token up already, by
	// the audit chain; "" if the token may be used. At StageApproval every
	// earlier decision uses it up, also one under the same name: that Approval
	// was deleted since, or could not be stored. At StageExecution the decision
	// under this name does not count, and an intent to act does.
	TokenUsedBy *string
	// AcceptedAt is when the audit chain recorded that this approval was
	// accepted. Needed at StageExecution, where the zero value denies: an
	// approval that is stored and was never accepted went around the webhook.
	AcceptedAt Span

	// ChainVerified is true if the head of the audit chain was read and verifies.
	// Not looked at while Standing.
	ChainVerified bool

	// Approvals are the other stored approvals and denials of this digest, oldest first.
	Approvals *[]ApprovalRecord
	// Before are the steps of the plan that come before the proposal, in their order; not
	// looked at for what is no step of a plan.
	Before *[]StepRecord
	// Spent are the times, at the latest, of accepted approvals of this (approver,
	// diagnostic class) in the last hour, without this one, oldest first: of the hour before
	// Now, and at StageExecution before AcceptedAt (and before this one in the
	// order of the chain, so that racing approvals are settled exactly).
	Spent *[]time.Time
	// AccessDenied tells why the approver may not approve the kind or do the
	// action themselves; "" if they may. Not looked at while Standing.
	AccessDenied *string

	// Unknown holds, by layer, why a fact that the layer needs could not be
	// gathered. An entry denies that layer.
	Unknown map[Layer]error
}

// Decision is the outcome, with a verdict for each layer and one for Access.
type Decision struct {
	// Allowed is true only if no verdict is Denied. While Standing it means that
	// an approval would pass the layers that can be judged already.
	Allowed bool
	// Awaiting is true if the approval counts and another one is needed before
	// anything is executed (layer DualApproval answered Pending).
	Awaiting bool
	// Verdicts has the eight layers in their order.
	Verdicts []v1alpha1.Verdict
	// Access is the verdict of the checks on top.
	Access v1alpha1.Verdict
	// Claims are the token's, if it verified.
	Claims *token.Claims
}

// Verdict returns what one layer says, or the zero value.
func (d Decision) Verdict(layer Layer) v1alpha1.Verdict {
	for _, verdict := range d.Verdicts {
		if verdict.Layer == string(layer) {
			return verdict
		}
	}
	return v1alpha1.Verdict{}
}

// Denials returns the verdicts that deny, layers first.
func (d Decision) Denials() []v1alpha1.Verdict {
	var denials []v1alpha1.Verdict
	for _, verdict := range append(d.Verdicts[:len(d.Verdicts):len(d.Verdicts)], d.Access) {
		if verdict.Result == v1alpha1.VerdictDenied {
			denials = append(denials, verdict)
		}
	}
	return denials
}

// Message tells every reason of a refusal, each with its layer and what would
// make it pass; empty if nothing denies.
func (d Decision) Message() string {
	var lines []string
	for _, verdict := range d.Denials() {
		line := fmt.Sprintf("%s: %s", verdict.Layer, verdict.Message)
		if verdict.Remedy != "" {
			line += " (" + verdict.Remedy + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}
