// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package digest names content: SHA-256 over canonical JSON (RFC 8785), written
// as "sha256:" and 64 hex digits. Proposals, plans and audit events are bound by it.
package digest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/gowebpki/jcs"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Of returns the digest of the canonical JSON of value.
func Of(value any) (string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encoding %T for its digest: %w", value, err)
	}
	canonical, err := jcs.Transform(data)
	if err != nil {
		return "", fmt.Errorf("canonicalizing %T for its digest: %w", value, err)
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// boundProposal is all that an approver says yes to: which proposal, for which
// episode of which finding, and everything that would be done. Rationale and
// source are explanations and not bound, so that better words supersede nothing.
type boundProposal struct {
	Namespace       string                    `json:"namespace"`
	Name            string                    `json:"name"`
	UID             types.UID                 `json:"uid"`
	Finding         v1alpha1.FindingReference `json:"finding"`
	Tier            v1alpha1.Tier             `json:"tier"`
	ActionKind      v1alpha1.ActionKind       `json:"actionKind"`
	Target          v1alpha1.ObjectReference  `json:"target"`
	Patch           *v1alpha1.Patch           `json:"patch,omitempty"`
	Runbook         *boundRunbook             `json:"runbook,omitempty"`
	DiagnosticClass string                    `json:"diagnosticClass"`
	Plan            *v1alpha1.PlanStep        `json:"plan,omitempty"`
}

// boundRunbook is what is released, wherever its text is kept.
type boundRunbook struct {
	Digest string `json:"digest"`
}

// Runbook computes the digest of a runbook's title and text.
func Runbook(title, text string) (string, error) {
	return Of(struct {
		Title string `json:"title"`
		Text  string `json:"text"`
	}{title, text})
}

// Proposal computes what spec.digest of the named proposal must be.
func Proposal(namespace, name string, uid types.UID, spec *v1alpha1.ProposalSpec) (string, error) {
	var runbook *boundRunbook
	if spec.Runbook != nil {
		runbook = &boundRunbook{Digest: spec.Runbook.Digest}
	}
	return Of(boundProposal{
		Namespace: namespace, Name: name, UID: uid,
		Finding: spec.Finding, Tier: spec.Tier, ActionKind: spec.ActionKind, Target: spec.Target,
		Patch: spec.Patch, Runbook: runbook, DiagnosticClass: spec.DiagnosticClass, Plan: spec.Plan,
	})
}

// Plan computes the digest of a whole plan: what each step would do, in their order.
func Plan(namespace, name string, steps []v1alpha1.PlannedAction) (string, error) {
	return Of(struct {
		Namespace string                   `json:"namespace"`
		Name      string                   `json:"name"`
		Steps     []v1alpha1.PlannedAction `json:"steps"`
	}{namespace, name, steps})
}

// Step computes the digest that the proposal of a plan's step must have, from the plan
// alone: a step that was carried out has no proposal any more. It counts from 1, and
// must be one that the plan has.
func Step(namespace string, plan *v1alpha1.PlanStep, step int32) (string, error) {
	action := plan.Steps[step-1]
	spec := StepSpec(plan, step)
	return Proposal(namespace, action.Proposal, action.UID, &spec)
}

// StepSpec is what a plan says of the proposal of one of its steps, without the words
// and the digest.
func StepSpec(plan *v1alpha1.PlanStep, step int32) v1alpha1.ProposalSpec {
	action := &plan.Steps[step-1]
	return v1alpha1.ProposalSpec{
		Finding: action.Finding, Tier: v1alpha1.TierPlan, ActionKind: action.ActionKind, Target: action.Target, Patch: action.Patch,
		DiagnosticClass: action.DiagnosticClass,
		Plan:            &v1alpha1.PlanStep{Name: plan.Name, Digest: plan.Digest, Step: step, DependsOn: step - 1, Steps: plan.Steps},
	}
}
