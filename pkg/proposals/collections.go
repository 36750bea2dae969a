// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proposals computes what could be done about findings: matchers choose
// an action for a finding, the policy says how an approval would fare, and stored
// approvals say how far it has come. It also completes findings with the names of
// their proposals. It acts on nothing.
package proposals

import (
	"fmt"
	"math"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/failedpods"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/silences"
)

// Labels by which proposals can be selected, beside the analyzer's.
const (
	ActionKindLabel = "srenix.io/action-kind"
	TierLabel       = "srenix.io/tier"
)

const (
	byFinding  = "finding"
	byProposal = "proposal"
	byPlanned  = "planned"
)

// What the server serves.
var (
	Proposals = live.NewDerived("proposals", map[string]func(*v1alpha1.Proposal) []string{
		byFinding: func(p *v1alpha1.Proposal) []string { return []string{findingKey(p.Namespace, p.Spec.Finding.Name)} },
	})
	Findings        = live.NewDerived[*v1alpha1.Finding]("findings", nil)
	ClusterFindings = live.NewDerived[*v1alpha1.ClusterFinding]("clusterfindings", nil)
)

// Approvals are the stored decisions, without their tokens, and of their snapshots with
// nothing but the plan: of steps that were carried out, nothing else tells any more.
var Approvals = live.NewInput(opsv1alpha1.SchemeGroupVersion.WithResource("approvals"), live.InputOptions[*opsv1alpha1.Approval]{
	Optional: true,
	Trim: func(in *opsv1alpha1.Approval) *opsv1alpha1.Approval {
		in.ManagedFields = nil
		in.Annotations = nil
		in.Spec.Token = ""
		in.Spec.Snapshot = v1alpha1.ProposalSpec{Plan: in.Spec.Snapshot.Plan}
		return in
	},
	Indexes: map[string]func(*opsv1alpha1.Approval) []string{
		byProposal: func(a *opsv1alpha1.Approval) []string { return []string{string(a.Spec.Proposal.UID)} },
		byPlanned: func(a *opsv1alpha1.Approval) []string {
			if a.Spec.Snapshot.Plan == nil {
				return nil
			}
			var findings []string
			for i := range a.Spec.Snapshot.Plan.Steps {
				findings = append(findings, string(a.Spec.Snapshot.Plan.Steps[i].Finding.UID))
			}
			return findings
		},
	},
})

// Recorded are the noes and the releases of runbooks that stand in the audit chain.
// They count there alone, so that deleting the Approval of a no does not take it
// back, and writing the status of one releases nothing.
var Recorded = live.NewInput(opsv1alpha1.SchemeGroupVersion.WithResource("auditevents"), live.InputOptions[*opsv1alpha1.AuditEvent]{
	Optional:      true,
	LabelSelector: fmt.Sprintf("%s in (%s,%s)", audit.LabelType, opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditRunbookReleased),
	Trim: func(in *opsv1alpha1.AuditEvent) *opsv1alpha1.AuditEvent {
		return &opsv1alpha1.AuditEvent{
			ObjectMeta: metav1.ObjectMeta{Name: in.Name, UID: in.UID, ResourceVersion: in.ResourceVersion, Labels: in.Labels},
			Spec: opsv1alpha1.AuditEventSpec{
				Time: in.Spec.Time, Component: in.Spec.Component, Type: in.Spec.Type, References: in.Spec.References, Message: in.Spec.Message,
			},
		}
	},
	Indexes: map[string]func(*opsv1alpha1.AuditEvent) []string{
		byProposal: func(e *opsv1alpha1.AuditEvent) []string { return []string{string(e.Spec.References.ProposalUID)} },
	},
})

func findingKey(namespace, name string) string { return namespace + "/" + name }

// Rules returns the rules that compute proposals and complete findings.
// ownNamespace is where srenix runs.
func Rules(configuration *config.SrenixConfiguration, ownNamespace string) []live.Rule {
	leftFor, err := failedpods.LeftFor(analyzers.NewSettings(configuration.Analyzers[failedpods.Name]))
	if err != nil {
		leftFor = math.MaxInt64 // no server starts with that (catalog.Build)
	}
	p := &proposer{policy: &configuration.Policy, ownNamespace: ownNamespace, matchers: matchers(leftFor), byFixer: byFixer(leftFor)}
	return []live.Rule{
		{
			Name: "proposals", Group: analyzers.Proposing, Subject: analyzers.DetectedFindings.Ref(),
			Reads: reads(), Outputs: []live.KindRef{Proposals.Ref()}, Evaluate: p.evaluate,
		},
		{
			Name: "findings", Group: analyzers.Proposing, Subject: analyzers.DetectedFindings.Ref(),
			Reads: []live.KindRef{Proposals.Ref(), silences.Silences.Ref(), Investigations.Ref()}, Outputs: []live.KindRef{Findings.Ref()}, Evaluate: completeFinding,
		},
		{
			Name: "silencereports", Group: analyzers.Proposing, Subject: silences.Reports.Ref(),
			Outputs: []live.KindRef{Findings.Ref()}, Evaluate: completeReport,
		},
		{
			Name: "clusterfindings", Group: analyzers.Proposing, Subject: analyzers.DetectedClusterFindings.Ref(),
			Reads: []live.KindRef{Investigations.Ref()}, Outputs: []live.KindRef{ClusterFindings.Ref()}, Evaluate: p.completeClusterFinding,
		},
	}
}

func completeFinding(view *live.View, subject live.Key) ([]live.Output, error) {
	detected, exists := analyzers.DetectedFindings.Get(view, subject)
	if !exists {
		return nil, nil
	}
	finding := detected.DeepCopy()
	for _, proposal := range Proposals.ByIndex(view, byFinding, findingKey(subject.Namespace, subject.Name)) {
		finding.Status.Proposals = append(finding.Status.Proposals, proposal.Name)
	}
	investigated(view, finding.Namespace, finding)
	if finding.Status.SilencedBy = silences.By(view, detected); finding.Status.SilencedBy != "" {
		finding.Labels[analyzers.SilencedLabel] = "true"
	}
	return []live.Output{live.Emit(Findings, finding)}, nil
}

// completeReport serves what is said about silences beside the other findings.
func completeReport(view *live.View, subject live.Key) ([]live.Output, error) {
	report, exists := silences.Reports.Get(view, subject)
	if !exists {
		return nil, nil
	}
	return []live.Output{live.Emit(Findings, report.DeepCopy())}, nil
}

// completeClusterFinding adds what its investigation found, which is where srenix runs.
func (p *proposer) completeClusterFinding(view *live.View, subject live.Key) ([]live.Output, error) {
	detected, exists := analyzers.DetectedClusterFindings.Get(view, subject)
	if !exists {
		return nil, nil
	}
	finding := detected.DeepCopy()
	as := v1alpha1.Finding{ObjectMeta: finding.ObjectMeta, Status: finding.Status}
	investigated(view, p.ownNamespace, &as)
	finding.Status = as.Status
	return []live.Output{live.Emit(ClusterFindings, finding)}, nil
}

// kebabKind is how an action kind begins the name of a proposal.
func kebabKind(kind v1alpha1.ActionKind) string {
	return strings.TrimSuffix(analyzers.Kebab(string(kind)), "-annotation")
}
