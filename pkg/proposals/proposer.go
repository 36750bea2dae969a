// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/silences"
)

// proposer turns findings into proposals.
type proposer struct {
	policy       *config.PolicyConfiguration
	ownNamespace string
	matchers     map[[2]string]matcher // by analyzer and reason
	byFixer      map[string]matcher
}

// reads are all kinds that a proposal can depend on.
func reads() []live.KindRef {
	return []live.KindRef{
		analyzers.DetectedFindings.Ref(), Approvals.Ref(), Recorded.Ref(), Investigations.Ref(), silences.Silences.Ref(), inputs.Pods.Ref(), inputs.Deployments.Ref(), inputs.StatefulSets.Ref(), inputs.DaemonSets.Ref(),
		inputs.ReplicaSets.Ref(), inputs.Jobs.Ref(), inputs.CronJobs.Ref(), inputs.Namespaces.Ref(), inputs.Nodes.Ref(),
		inputs.ConfigMaps.Ref(), inputs.Secrets.Ref(), inputs.ControllerRevisions.Ref(),
		inputs.Ingresses.Ref(), inputs.Certificates.Ref(), inputs.CertificateRequests.Ref(), inputs.Issuers.Ref(), inputs.ClusterIssuers.Ref(),
	}
}

func (p *proposer) evaluate(view *live.View, subject live.Key) ([]live.Output, error) {
	finding, exists := analyzers.DetectedFindings.Get(view, subject)
	if !exists {
		return nil, nil
	}
	silenced := silences.By(view, finding) != ""
	fixes, err := runbooks(view, finding)
	if err != nil {
		return nil, err
	}
	if match, known := p.matchers[[2]string{finding.Spec.Analyzer, finding.Spec.Reason}]; known {
		if chosen, offered := match(view, finding); offered {
			fixes = append(fixes, chosen)
		}
	}
	fixes = p.withChosen(view, finding, fixes)
	steps, err := p.planned(view, finding)
	if err != nil {
		return nil, err
	}
	fixes = append(fixes, steps...)
	var outputs []live.Output
	for _, chosen := range fixes {
		proposal, err := propose(finding, chosen)
		if err != nil {
			return nil, fmt.Errorf("proposing %s for finding %s: %w", chosen.action, subject, err)
		}
		// Nobody is bothered with fixes for what is known and left for now. But a
		// silence takes back nothing that people have approved: a denial does.
		if silenced && !underWay(view, proposal) {
			continue
		}
		if proposal.Status, err = p.status(view, finding, proposal); err != nil {
			return nil, err
		}
		outputs = append(outputs, live.Emit(Proposals, proposal))
	}
	return outputs, nil
}

// propose makes the proposal without its status. Name and UID are the same on
// every replica and after every restart.
func propose(finding *v1alpha1.Finding, chosen fix) (*v1alpha1.Proposal, error) {
	target, tier, source := chosen.target, cmp.Or(chosen.tier, v1alpha1.TierFix), cmp.Or(chosen.source, v1alpha1.SourceRule)
	identity := identityOf(finding.Namespace, finding.Name, chosen.action, target)
	switch {
	case chosen.runbook != nil:
		identity = append(identity, chosen.runbook.Investigation)
	case chosen.plan != nil:
		identity = append(identity, chosen.plan.Name)
	}
	proposal := &v1alpha1.Proposal{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         finding.Namespace,
			Name:              nameOf(identity, chosen.action, target),
			UID:               uidOf(identity, finding.UID, target),
			CreationTimestamp: finding.CreationTimestamp,
			Labels: map[string]string{
				analyzers.AnalyzerLabel: finding.Spec.Analyzer,
				ActionKindLabel:         string(chosen.action),
				TierLabel:               string(tier),
			},
		},
		Spec: v1alpha1.ProposalSpec{
			Finding: v1alpha1.FindingReference{Name: finding.Name, UID: finding.UID, Since: finding.Spec.Since},
			Tier:    tier, ActionKind: chosen.action, Target: target, Patch: chosen.patch, Runbook: chosen.runbook,
			Rationale: chosen.rationale, Source: source, DiagnosticClass: finding.Spec.Analyzer, Plan: chosen.plan,
		},
	}
	var err error
	proposal.Spec.Digest, err = digest.Proposal(proposal.Namespace, proposal.Name, proposal.UID, &proposal.Spec)
	return proposal, err
}

// identityOf is by what the proposals of a finding differ, beside the investigations of
// runbooks and the names of plans.
func identityOf(namespace, finding string, action v1alpha1.ActionKind, target v1alpha1.ObjectReference) []string {
	return []string{namespace, finding, string(action), target.APIVersion, target.Kind, target.Namespace, target.Name}
}

func nameOf(identity []string, action v1alpha1.ActionKind, target v1alpha1.ObjectReference) string {
	return analyzers.Name([]string{kebabKind(action), target.Name}, identity...)
}

func uidOf(identity []string, finding types.UID, target v1alpha1.ObjectReference) types.UID {
	return analyzers.UID(append(slices.Clone(identity), string(finding), string(target.UID))...)
}

// MayOfferAgain tells whether an audit event is about a proposal of this finding,
// which may be offered again with the same digest as long as the finding stands:
// when a silence ends, for one. Of runbooks it says so for all that were ever
// drafted for the finding.
func MayOfferAgain(finding *v1alpha1.Finding, about *opsv1alpha1.AuditReferences) bool {
	target := about.Target
	if target == nil || about.Namespace != finding.Namespace {
		return false
	}
	if about.ActionKind == v1alpha1.ActionRunbook {
		return *target == finding.Spec.Subject
	}
	identity := identityOf(finding.Namespace, finding.Name, about.ActionKind, *target)
	if about.Plan != "" {
		identity = append(identity, about.Plan)
	}
	return about.ProposalUID == uidOf(identity, finding.UID, *target)
}

// status tells how the proposal stands: what each layer says, and what was decided.
func (p *proposer) status(view *live.View, finding *v1alpha1.Finding, proposal *v1alpha1.Proposal) (v1alpha1.ProposalStatus, error) {
	decided, denied, released := decisions(view, proposal), denials(view, proposal), released(view, proposal)
	counting := denied
	if released {
		// They came after it, and take back nothing that people may have read.
		counting = nil
	}
	facts := p.facts(view, proposal, decided, counting)
	var err error
	if facts.Before, err = stepsBefore(view, proposal); err != nil {
		return v1alpha1.ProposalStatus{}, err
	}
	decision := policy.Evaluate(facts)
	status := v1alpha1.ProposalStatus{
		Phase:     phase(proposal.Spec.ActionKind, decided, len(counting) > 0, released, decision),
		Verdicts:  decision.Verdicts,
		Approvals: summaries(decided, denied),
	}
	condition := metav1.Condition{
		Type: v1alpha1.ConditionApprovable, Status: metav1.ConditionTrue, Reason: string(status.Phase), Message: "no layer would refuse an approval",
		// The same on every replica and after every restart, so never "now".
		LastTransitionTime: finding.Spec.Since,
	}
	if n := len(decided); n > 0 {
		condition.LastTransitionTime = decided[n-1].CreationTimestamp
	}
	switch {
	case status.Phase == v1alpha1.ProposalReleased:
		condition.Status, condition.Message = metav1.ConditionFalse, "its runbook is released: nothing was executed, people follow the text"
	case status.Phase == v1alpha1.ProposalExecuted:
		condition.Status, condition.Message = metav1.ConditionFalse, "it was carried out already, and nothing is done twice for a digest"
	case len(decision.Denials()) > 0:
		condition.Status, condition.Message = metav1.ConditionFalse, decision.Message()
	case status.Phase == v1alpha1.ProposalApproved:
		condition.Status, condition.Message = metav1.ConditionFalse, "it is approved, and being carried out"
		if held := held(decided); held != "" {
			condition.Message = "it is approved, and waits: " + held
		}
	case status.Phase == v1alpha1.ProposalAwaitingApproval:
		condition.Message += "; " + decision.Verdict(policy.DualApproval).Message
	default:
		if n := len(status.Approvals); n > 0 && status.Approvals[n-1].Message != "" {
			last := status.Approvals[n-1]
			condition.Message += fmt.Sprintf("; nothing was done for the last one, %s: %s", last.Name, last.Message)
		}
	}
	status.Conditions = []metav1.Condition{condition}
	return status, nil
}
