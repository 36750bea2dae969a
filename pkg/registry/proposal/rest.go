// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proposal serves proposals and the two subresources through which a
// person says yes or no: proposals/token and proposals/approve.
package proposal

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/registry/virtual"
)

// NewREST returns the storage of proposals.
func NewREST(options virtual.Options) (*virtual.REST, error) {
	return virtual.NewREST(virtual.Resource{
		Plural: "proposals", Singular: "proposal", ShortNames: []string{"prop"}, Namespaced: true,
		NewFunc:     func() runtime.Object { return &srenix.Proposal{} },
		NewListFunc: func() runtime.Object { return &srenix.ProposalList{} },
		Attrs: func(object runtime.Object) (labels.Set, fields.Set, error) {
			proposal, ok := object.(*srenix.Proposal)
			if !ok {
				return nil, nil, fmt.Errorf("selecting among proposals: have %T", object)
			}
			return proposal.Labels, fields.Set{
				"metadata.name":      proposal.Name,
				"metadata.namespace": proposal.Namespace,
				"spec.actionKind":    string(proposal.Spec.ActionKind),
				"spec.finding.name":  proposal.Spec.Finding.Name,
				"spec.target.kind":   proposal.Spec.Target.Kind,
				"spec.target.name":   proposal.Spec.Target.Name,
				"spec.tier":          string(proposal.Spec.Tier),
				"status.phase":       string(proposal.Status.Phase),
			}, nil
		},
		Table: virtual.Table[*srenix.Proposal]{Clock: options.Clock, Columns: columns()},
	}, options)
}

// SelectableFields are the fields that a field selector may name, beside the
// metadata ones. The scheme refuses every other with 400.
func SelectableFields() []string {
	return []string{"spec.actionKind", "spec.finding.name", "spec.target.kind", "spec.target.name", "spec.tier", "status.phase"}
}

func columns() []virtual.Column[*srenix.Proposal] {
	return []virtual.Column[*srenix.Proposal]{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the proposal.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return p.Name }},
		{Name: "Action", Type: "string", Description: "What would be done.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return string(p.Spec.ActionKind) }},
		{Name: "Target", Type: "string", Description: "The object that it would be done to.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return p.Spec.Target.Kind + "/" + p.Spec.Target.Name }},
		{Name: "Phase", Type: "string", Description: "How the proposal stands.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return string(p.Status.Phase) }},
		{Name: "Age", Type: "string", Description: "How long ago the finding began.",
			Cell: func(p *srenix.Proposal, now time.Time) any { return virtual.Age(p.CreationTimestamp, now) }},
		{Name: "Tier", Type: "string", Wide: true, Description: "How it must be approved.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return string(p.Spec.Tier) }},
		{Name: "Step", Type: "string", Wide: true, Description: "Which step of a plan it is; each opens once the one before is verified.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return stepOf(p) }},
		{Name: "Refused by", Type: "string", Wide: true, Description: "Policy layers that would refuse an approval.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return refusing(p) }},
		{Name: "Finding", Type: "string", Wide: true, Description: "The finding that it would mend.",
			Cell: func(p *srenix.Proposal, _ time.Time) any { return p.Spec.Finding.Name }},
	}
}

func stepOf(p *srenix.Proposal) string {
	if p.Spec.Plan == nil {
		return "<none>"
	}
	return fmt.Sprintf("%d/%d", p.Spec.Plan.Step, len(p.Spec.Plan.Steps))
}

func refusing(p *srenix.Proposal) string {
	var layers []string
	for _, verdict := range p.Status.Verdicts {
		if verdict.Result == srenix.VerdictDenied {
			layers = append(layers, verdict.Layer)
		}
	}
	if len(layers) == 0 {
		return "<none>"
	}
	return strings.Join(layers, ",")
}
