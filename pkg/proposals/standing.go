// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
)

// maximumChain bounds a chain of controllers: Pod, Job, CronJob and some to spare.
const maximumChain = 8

// decisions are the stored approvals of the proposal's present digest, oldest first.
func decisions(view *live.View, proposal *v1alpha1.Proposal) []*opsv1alpha1.Approval {
	return decisionsOn(view, proposal.Namespace, proposal.UID, proposal.Spec.Digest)
}

// decisionsOn are the stored approvals of one digest of a proposal, which need not be
// there any more, oldest first.
func decisionsOn(view *live.View, namespace string, proposal types.UID, digest string) []*opsv1alpha1.Approval {
	var decided []*opsv1alpha1.Approval
	for _, approval := range Approvals.ByIndex(view, byProposal, string(proposal)) {
		if approval.Spec.Proposal.Digest == digest && approval.Namespace == namespace {
			decided = append(decided, approval)
		}
	}
	slices.SortFunc(decided, func(a, b *opsv1alpha1.Approval) int {
		if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
			return order
		}
		return strings.Compare(a.Name, b.Name)
	})
	return decided
}

// underWay tells whether people have approved the proposal, and that is not over;
// a runbook that was released stays so.
func underWay(view *live.View, proposal *v1alpha1.Proposal) bool {
	return released(view, proposal) || slices.ContainsFunc(decisions(view, proposal), func(a *opsv1alpha1.Approval) bool {
		return a.Spec.Decision == v1alpha1.DecisionApprove && !a.Status.Phase.Finished()
	})
}

// recorded is what stands in the audit chain about the proposal's present digest,
// oldest first: events are named by their order.
func recorded(view *live.View, proposal *v1alpha1.Proposal) []*opsv1alpha1.AuditEvent {
	return recordedOn(view, proposal.UID, proposal.Spec.Digest)
}

func recordedOn(view *live.View, proposal types.UID, digest string) []*opsv1alpha1.AuditEvent {
	return slices.DeleteFunc(Recorded.ByIndex(view, byProposal, string(proposal)), func(event *opsv1alpha1.AuditEvent) bool {
		return event.Spec.References.Digest != digest
	})
}

// denials are the recorded noes to the proposal's present digest, oldest first.
func denials(view *live.View, proposal *v1alpha1.Proposal) []*opsv1alpha1.AuditEvent {
	return slices.DeleteFunc(recorded(view, proposal), func(event *opsv1alpha1.AuditEvent) bool {
		return event.Spec.Type != opsv1alpha1.AuditDenialRecorded
	})
}

// released tells whether the executor has released the proposal's runbook, and
// nobody had denied it by then: whichever the chain has first holds.
func released(view *live.View, proposal *v1alpha1.Proposal) bool {
	for _, event := range recorded(view, proposal) {
		switch {
		case event.Spec.Type == opsv1alpha1.AuditDenialRecorded:
			return false
		case event.Spec.Type == opsv1alpha1.AuditRunbookReleased && audit.ByExecutor(&event.Spec):
			return true
		}
	}
	return false
}

func phase(kind v1alpha1.ActionKind, decided []*opsv1alpha1.Approval, denied, released bool, decision policy.Decision) v1alpha1.ProposalPhase {
	has := func(matches func(*opsv1alpha1.Approval) bool) bool { return slices.ContainsFunc(decided, matches) }
	in := func(phases ...opsv1alpha1.ApprovalPhase) bool {
		return has(func(a *opsv1alpha1.Approval) bool {
			return a.Spec.Decision == v1alpha1.DecisionApprove && slices.Contains(phases, a.Status.Phase)
		})
	}
	switch {
	case denied:
		return v1alpha1.ProposalDenied
	case released:
		return v1alpha1.ProposalReleased
	case in("", opsv1alpha1.PhasePending, opsv1alpha1.PhaseExecuting):
		return v1alpha1.ProposalApproved
	case kind != v1alpha1.ActionRunbook && in(opsv1alpha1.PhaseSucceeded):
		return v1alpha1.ProposalExecuted
	case len(decision.Denials()) > 0:
		return v1alpha1.ProposalBlocked
	case in(opsv1alpha1.PhaseAwaitingSecondApproval):
		return v1alpha1.ProposalAwaitingApproval
	}
	return v1alpha1.ProposalOpen
}

// held tells why nothing is carried out yet, or nothing: some approvals wait, and none
// is being carried out. The Approval has it in words, which may be about other namespaces.
func held(decided []*opsv1alpha1.Approval) (why string) {
	for _, approval := range decided {
		status := &approval.Status
		if approval.Spec.Decision != v1alpha1.DecisionApprove {
			continue
		}
		if status.Phase == opsv1alpha1.PhaseExecuting {
			return ""
		}
		accepted := meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionAccepted)
		if status.Phase == opsv1alpha1.PhasePending && accepted != nil && accepted.Status == metav1.ConditionFalse {
			why = fmt.Sprintf("%s, see approvals.ops.srenix.io %s", accepted.Reason, approval.Name)
		}
	}
	return why
}

// maximumSummaries bounds what a proposal shows of its decisions, each of which
// brings up to a reason's length of somebody's text, and as much of a message.
const maximumSummaries = 20

// summaries are the last ones of the stored decisions, and of noes that are not
// stored any more, oldest first.
func summaries(decided []*opsv1alpha1.Approval, denied []*opsv1alpha1.AuditEvent) []v1alpha1.ApprovalSummary {
	var all []v1alpha1.ApprovalSummary
	for _, approval := range decided {
		approver := approval.Status.Approver
		if i := slices.IndexFunc(denied, of(approval)); approver == "" && i >= 0 {
			approver = denied[i].Spec.References.Approver // No executor has seen it yet.
		}
		all = append(all, v1alpha1.ApprovalSummary{
			Name: approval.Name, Approver: approver, Decision: string(approval.Spec.Decision),
			Phase: string(approval.Status.Phase), Time: approval.CreationTimestamp, Reason: approval.Spec.Reason,
			Message: whyNot(approval),
		})
	}
	for _, event := range denied {
		references := &event.Spec.References
		if slices.ContainsFunc(decided, func(a *opsv1alpha1.Approval) bool { return of(a)(event) }) {
			continue
		}
		all = append(all, v1alpha1.ApprovalSummary{
			Name: references.Approval, Approver: references.Approver, Decision: string(v1alpha1.DecisionDeny),
			Phase: string(opsv1alpha1.PhaseDenied), Time: metav1.NewTime(event.Spec.Time.Truncate(time.Second)),
			Message: shorten(event.Spec.Message),
		})
	}
	slices.SortStableFunc(all, func(a, b v1alpha1.ApprovalSummary) int { return a.Time.Compare(b.Time.Time) })
	return all[max(0, len(all)-maximumSummaries):]
}

// of tells whether an event is about an approval.
func of(approval *opsv1alpha1.Approval) func(*opsv1alpha1.AuditEvent) bool {
	return func(event *opsv1alpha1.AuditEvent) bool { return event.Spec.References.Approval == approval.Name }
}

// whyNot tells why nothing was done for an approval that is over, or nothing.
func whyNot(approval *opsv1alpha1.Approval) string {
	status := &approval.Status
	if approval.Spec.Decision != v1alpha1.DecisionApprove || !status.Phase.Finished() ||
		status.Phase == opsv1alpha1.PhaseSucceeded || status.Phase == opsv1alpha1.PhaseReleased {
		return ""
	}
	return shorten(status.Message)
}

// maximumMessage bounds what a proposal shows of why a decision came to nothing, in
// characters.
const maximumMessage = 1024

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maximumMessage {
		return string(runes[:maximumMessage]) + "..."
	}
	return text
}

// facts gathers from the view what the policy needs of a standing proposal.
func (p *proposer) facts(view *live.View, proposal *v1alpha1.Proposal, decided []*opsv1alpha1.Approval, denied []*opsv1alpha1.AuditEvent) policy.Input {
	in := policy.Input{
		Stage: policy.StageStanding, Now: view.Now(), Config: p.policy, OwnNamespace: p.ownNamespace,
		Proposal: policy.Proposal{
			Namespace: proposal.Namespace, Name: proposal.Name, UID: proposal.UID, Spec: proposal.Spec,
		},
		CurrentDigest: proposal.Spec.Digest,
		Unknown:       map[policy.Layer]error{},
	}
	target := proposal.Spec.Target
	object, exists := readTarget(view, target)
	if exists {
		in.Target = object.(runtime.Object)
		var err error
		if in.Owners, err = owners(view, object); err != nil {
			in.Unknown[policy.GitOpsManaged] = err
		}
	}
	if proposal.Spec.ActionKind == v1alpha1.ActionPatchIngressTLS {
		for _, certificate := range inputs.Certificates.List(view, target.Namespace, nil) {
			in.Certificates = append(in.Certificates, *certificate)
		}
	}
	if namespace, exists := inputs.Namespaces.Get(view, live.Key{Name: proposal.Namespace}); exists {
		in.Namespace = namespace
	}
	var others []policy.ApprovalRecord
	for _, event := range denied {
		others = append(others, policy.ApprovalRecord{
			Name: event.Spec.References.Approval, Approver: event.Spec.References.Approver,
			Decision: v1alpha1.DecisionDeny, Time: policy.At(event.Spec.Time.Time),
		})
	}
	for _, approval := range decided {
		if approval.Status.Phase == opsv1alpha1.PhaseAwaitingSecondApproval && approval.Spec.Decision == v1alpha1.DecisionApprove {
			others = append(others, policy.ApprovalRecord{
				Name: approval.Name, Approver: approval.Status.Approver, Decision: approval.Spec.Decision, Time: policy.At(approval.CreationTimestamp.Time),
			})
		}
	}
	in.Approvals = &others
	return in
}

func readTarget(view *live.View, target v1alpha1.ObjectReference) (live.Object, bool) {
	key := live.Key{Namespace: target.Namespace, Name: target.Name}
	switch target.Kind {
	case "Pod":
		return found(inputs.Pods.Get(view, key))
	case "Deployment":
		return found(inputs.Deployments.Get(view, key))
	case "Job":
		return found(inputs.Jobs.Get(view, key))
	case "Ingress":
		return found(inputs.Ingresses.Get(view, key))
	case "CertificateRequest":
		return found(inputs.CertificateRequests.Get(view, key))
	}
	return nil, false
}

// found turns a typed nil into a plain one.
func found[T live.Object](object T, exists bool) (live.Object, bool) {
	if !exists {
		return nil, false
	}
	return object, true
}

// owners walks up the chain of controllers, nearest first.
func owners(view *live.View, object metav1.Object) ([]policy.Owner, error) {
	var chain []policy.Owner
	for range maximumChain {
		controller := metav1.GetControllerOf(object)
		if controller == nil {
			return chain, nil
		}
		next, exists, err := readOwner(view, object.GetNamespace(), controller)
		if err != nil {
			return nil, err
		}
		if !exists || next.GetUID() != controller.UID {
			return nil, fmt.Errorf("controller %s %s of %s is gone", controller.Kind, controller.Name, object.GetName())
		}
		chain = append(chain, policy.Owner{APIVersion: controller.APIVersion, Kind: controller.Kind, ObjectMeta: metaOf(next)})
		object = next
	}
	return nil, errors.New("the chain of controllers is too long, or a circle")
}

func readOwner(view *live.View, namespace string, controller *metav1.OwnerReference) (live.Object, bool, error) {
	key := live.Key{Namespace: namespace, Name: controller.Name}
	var owner live.Object
	var exists bool
	switch controller.Kind + "." + strings.Split(controller.APIVersion, "/")[0] {
	case "ReplicaSet.apps":
		owner, exists = found(inputs.ReplicaSets.Get(view, key))
	case "Deployment.apps":
		owner, exists = found(inputs.Deployments.Get(view, key))
	case "StatefulSet.apps":
		owner, exists = found(inputs.StatefulSets.Get(view, key))
	case "DaemonSet.apps":
		owner, exists = found(inputs.DaemonSets.Get(view, key))
	case "Job.batch":
		owner, exists = found(inputs.Jobs.Get(view, key))
	case "CronJob.batch":
		owner, exists = found(inputs.CronJobs.Get(view, key))
	case "Certificate.cert-manager.io":
		owner, exists = found(inputs.Certificates.Get(view, key))
	case "Ingress.networking.k8s.io": // of a Certificate that cert-manager makes for its annotations
		owner, exists = found(inputs.Ingresses.Get(view, key))
	default:
		return nil, false, fmt.Errorf("controller %s %s is of a kind that srenix does not watch", controller.Kind, controller.Name)
	}
	return owner, exists, nil
}

// metaOf copies what the policy looks at.
func metaOf(object metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
		Labels: object.GetLabels(), Annotations: object.GetAnnotations(), OwnerReferences: object.GetOwnerReferences(),
	}
}
