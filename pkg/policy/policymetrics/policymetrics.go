// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policymetrics counts what package policy decides, which is pure and
// counts nothing itself.
package policymetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/srenix/srenix/pkg/policy"
)

// Verdicts counts the verdicts of the layers. Every label has a closed list of values.
type Verdicts struct{ *prometheus.CounterVec }

// NewVerdicts returns a counter that is not registered yet.
func NewVerdicts() Verdicts {
	return Verdicts{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "srenix_policy_verdicts_total",
		Help: "Verdicts of the policy by stage (Approval, Execution), layer (Access for the checks on top of the eight) and result (Allowed, Denied, Pending). Dry runs count too.",
	}, []string{"stage", "layer", "result"})}
}

// Evaluate is policy.Evaluate, counted.
func (v Verdicts) Evaluate(in policy.Input) policy.Decision {
	decision := policy.Evaluate(in)
	for _, verdict := range append(decision.Verdicts[:len(decision.Verdicts):len(decision.Verdicts)], decision.Access) {
		v.WithLabelValues(string(in.Stage), verdict.Layer, string(verdict.Result)).Inc()
	}
	return decision
}
