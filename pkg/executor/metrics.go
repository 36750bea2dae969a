// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Outcomes of approvals that were acted on; the others are named by their phase.
const (
	outcomeDone   = "Done"
	outcomeFailed = "Failed"
)

// metrics counts what became of approvals. Every label has a closed list of values.
type metrics struct {
	executions    *prometheus.CounterVec
	verifications *prometheus.CounterVec
	latency       *prometheus.HistogramVec
	breakers      *prometheus.GaugeVec
	leash         prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		executions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_executor_executions_total",
			Help: "Approvals that the executor has ended, by action kind and outcome: Done, Failed, or the phase that they ended in without an action.",
		}, []string{"action_kind", "outcome"}),
		verifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_executor_verifications_total",
			Help: "Actions whose verification has ended, by action kind and result: Verified or NotVerified.",
		}, []string{"action_kind", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "srenix_executor_acceptance_to_action_seconds",
			Help:    "Time from the acceptance of an approval to its action, by action kind.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2.5, 12),
		}, []string{"action_kind"}),
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "srenix_executor_breaker_open",
			Help: "1 while an action kind is not carried out because it failed too often in a row, by action kind and scope: Cluster, or Namespace for one or more of them.",
		}, []string{"action_kind", "scope"}),
		leash: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "srenix_executor_second_leash",
			Help: "1 while kube-apiserver holds this executor to its actions by the ValidatingAdmissionPolicy of its version on its identity, as it was last seen, else 0; looked at every three minutes.",
		}),
	}
	for _, collector := range []prometheus.Collector{m.executions, m.verifications, m.latency, m.breakers, m.leash} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the executor's metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) acted(kind srenix.ActionKind, outcome string, accepted, now time.Time) {
	m.executions.WithLabelValues(kindLabel(kind), outcome).Inc()
	if outcome == outcomeDone && !accepted.IsZero() {
		m.latency.WithLabelValues(kindLabel(kind)).Observe(now.Sub(accepted).Seconds())
	}
}

func (m *metrics) verified(kind srenix.ActionKind, verified bool) {
	result := "NotVerified"
	if verified {
		result = "Verified"
	}
	m.verifications.WithLabelValues(kindLabel(kind), result).Inc()
}

func (m *metrics) setBreaker(kind srenix.ActionKind, cluster, namespace bool) {
	m.breakers.WithLabelValues(kindLabel(kind), "Cluster").Set(truth(cluster))
	m.breakers.WithLabelValues(kindLabel(kind), "Namespace").Set(truth(namespace))
}

func (m *metrics) setLeash(holds bool) { m.leash.Set(truth(holds)) }

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// kindLabel keeps what somebody wrote into an approval out of the labels.
func kindLabel(kind srenix.ActionKind) string {
	if slices.Contains(config.BuiltInActionKinds(), kind) {
		return string(kind)
	}
	return "Other"
}
