// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/policy/policymetrics"
	"github.com/srenix/srenix/pkg/token"
)

// metrics count what was asked for and decided.
type metrics struct {
	unproven  *prometheus.CounterVec
	decisions *prometheus.CounterVec
	verdicts  policymetrics.Verdicts
}

// Outcomes of decisions.
const (
	outcomeAccepted = "Accepted"
	outcomeRefused  = "Refused"
)

func newMetrics() metrics {
	return metrics{
		unproven: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_webhook_unproven_requests_total",
			Help: "Requests to approve or deny that were refused because their token does not prove that anybody decided that, by what is wrong with it: Expired, OtherDecision (it is for something else), Invalid. They are not in the audit chain.",
		}, []string{"reason"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_webhook_decisions_total",
			Help: "What people decided, by decision (Approve, Deny) and outcome: Accepted, where the Approval is stored, or Refused. Dry runs do not count.",
		}, []string{"decision", "outcome"}),
		verdicts: policymetrics.NewVerdicts(),
	}
}

func (m *metrics) decided(d *decision, outcome string) {
	if !d.dryRun {
		m.decisions.WithLabelValues(string(d.request.Decision), outcome).Inc()
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.unproven, m.decisions, m.verdicts}
}

// reasonOf is the value of the label reason.
func reasonOf(why error) string {
	switch {
	case errors.Is(why, token.ErrExpired):
		return "Expired"
	case errors.Is(why, policy.ErrOther):
		return "OtherDecision"
	}
	return "Invalid"
}

var _ prometheus.Collector = &Handlers{}

// Describe implements prometheus.Collector.
func (h *Handlers) Describe(into chan<- *prometheus.Desc) {
	for _, metric := range h.metrics.collectors() {
		metric.Describe(into)
	}
}

// Collect implements prometheus.Collector.
func (h *Handlers) Collect(into chan<- prometheus.Metric) {
	for _, metric := range h.metrics.collectors() {
		metric.Collect(into)
	}
}
