// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count calls and what they use. Every label has a closed list of values, as
// long as callers number the versions of their prompts.
type metrics struct {
	calls    *prometheus.CounterVec
	requests prometheus.Counter
	tokens   *prometheus.CounterVec
	duration *prometheus.HistogramVec
	running  prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer, open func() bool) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_model_calls_total",
			Help: "Calls of the model that have ended, by version of the prompt and outcome.",
		}, []string{"prompt", "outcome"}),
		requests: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "srenix_model_requests_total",
			Help: "Requests that were sent to the model's endpoint, with retries.",
		}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_model_tokens_total",
			Help: "Tokens that calls of the model have used, by version of the prompt and part: Prompt or Answer. Estimated where the endpoint does not say.",
		}, []string{"prompt", "part"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "srenix_model_call_duration_seconds",
			Help:    "Time that calls of the model took, with waiting and retries, by version of the prompt.",
			Buckets: prometheus.ExponentialBuckets(0.1, 2, 10),
		}, []string{"prompt"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "srenix_model_requests_running",
			Help: "Requests to the model's endpoint that are under way.",
		}),
	}
	breaker := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "srenix_model_breaker_open",
		Help: "1 while the model is left alone because it failed too often in a row, else 0.",
	}, func() float64 {
		if open() {
			return 1
		}
		return 0
	})
	for _, collector := range []prometheus.Collector{m.calls, m.requests, m.tokens, m.duration, m.running, breaker} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the metrics of the model: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) ended(record Record, took time.Duration) {
	m.calls.WithLabelValues(record.PromptVersion, string(record.Outcome)).Inc()
	m.tokens.WithLabelValues(record.PromptVersion, "Prompt").Add(float64(record.PromptTokens))
	m.tokens.WithLabelValues(record.PromptVersion, "Answer").Add(float64(record.AnswerTokens))
	m.duration.WithLabelValues(record.PromptVersion).Observe(took.Seconds())
}
