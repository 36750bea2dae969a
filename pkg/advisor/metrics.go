// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// metrics counts investigations. Every label has a closed list of values.
type metrics struct {
	investigations *prometheus.CounterVec
	duration       prometheus.Histogram
	reads          prometheus.Counter
	withheld       prometheus.Counter
	postponed      prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		investigations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_advisor_investigations_total",
			Help: "Investigations that the advisor has made, by trigger (Severity or Request) and result (RootCauseFound or InsufficientData).",
		}, []string{"trigger", "result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "srenix_advisor_investigation_duration_seconds",
			Help:    "How long investigations took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10),
		}),
		reads: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "srenix_advisor_reads_total",
			Help: "Requests that investigations have made.",
		}),
		withheld: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "srenix_advisor_withheld_total",
			Help: "Times that a finding was not looked into because as many Investigations are stored as may be.",
		}),
		postponed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "srenix_advisor_postponed_total",
			Help: "Times that a model was not asked about a finding yet because its budget of investigations within an hour was spent.",
		}),
	}
	for _, collector := range []prometheus.Collector{m.investigations, m.duration, m.reads, m.withheld, m.postponed} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the advisor's metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) investigated(trigger opsv1alpha1.InvestigationTrigger, result string, reads int, took time.Duration) {
	m.investigations.WithLabelValues(string(trigger), result).Inc()
	m.duration.Observe(took.Seconds())
	m.reads.Add(float64(reads))
}
