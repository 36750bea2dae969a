// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// metrics count what is not in the audit chain.
type metrics struct{ unproven *prometheus.CounterVec }

func newMetrics() metrics {
	return metrics{unproven: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "srenix_webhook_unproven_requests_total",
		Help: "Requests to approve or deny that were refused because their token does not prove that anybody decided that, by what is wrong with it: Expired, OtherDecision (it is for something else), Invalid. They are not in the audit chain.",
	}, []string{"reason"})}
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
func (h *Handlers) Describe(into chan<- *prometheus.Desc) { h.metrics.unproven.Describe(into) }

// Collect implements prometheus.Collector.
func (h *Handlers) Collect(into chan<- prometheus.Metric) { h.metrics.unproven.Collect(into) }
