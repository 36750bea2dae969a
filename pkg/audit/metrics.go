// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

var (
	brokenDesc = prometheus.NewDesc("srenix_audit_chain_broken",
		"1 if the audit chain or its checkpoint was found to be damaged when it was last looked at, else 0. Checkpoints stop until it is mended.", nil, nil)
	failedDesc = prometheus.NewDesc("srenix_audit_checkpoint_failures_total",
		"Attempts to checkpoint or prune the audit chain that failed, for whatever reason.", nil, nil)
	sizeDesc = prometheus.NewDesc("srenix_audit_checkpoint_events",
		"Audit events that the newest signed checkpoint covers, with those pruned.", nil, nil)
	timeDesc = prometheus.NewDesc("srenix_audit_checkpoint_timestamp_seconds",
		"When the newest checkpoint was signed (Unix time). An idle chain gets no new ones.", nil, nil)
	prunedDesc = prometheus.NewDesc("srenix_audit_pruned_events",
		"Audit events that were pruned at the beginning of the chain.", nil, nil)
)

// chainMetrics tell what this process has to do with the chain.
type chainMetrics struct {
	appended *prometheus.CounterVec
	failures prometheus.Counter
	head     prometheus.Gauge
}

func newChainMetrics() chainMetrics {
	return chainMetrics{
		appended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srenix_audit_appended_events_total",
			Help: "Audit events that this process has appended to the chain, by type.",
		}, []string{"type"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "srenix_audit_append_failures_total",
			Help: "Audit events that this process could not append, for whatever reason. What was to be recorded was refused.",
		}),
		head: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "srenix_audit_head_index",
			Help: "Index of the last audit event, as this process last saw the chain.",
		}),
	}
}

var _ prometheus.Collector = &Chain{}

// Describe implements prometheus.Collector.
func (c *Chain) Describe(into chan<- *prometheus.Desc) {
	for _, metric := range []prometheus.Collector{c.metrics.appended, c.metrics.failures, c.metrics.head} {
		metric.Describe(into)
	}
}

// Collect implements prometheus.Collector.
func (c *Chain) Collect(into chan<- prometheus.Metric) {
	for _, metric := range []prometheus.Collector{c.metrics.appended, c.metrics.failures, c.metrics.head} {
		metric.Collect(into)
	}
}

// state is what the checkpointer's metrics tell.
type state struct {
	broken, size, signed, pruned float64
	failed                       float64
}

var _ prometheus.Collector = &Checkpointer{}

// Describe implements prometheus.Collector.
func (c *Checkpointer) Describe(into chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{brokenDesc, failedDesc, sizeDesc, timeDesc, prunedDesc} {
		into <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *Checkpointer) Collect(into chan<- prometheus.Metric) {
	c.mu.Lock()
	now := c.state
	c.mu.Unlock()
	into <- prometheus.MustNewConstMetric(brokenDesc, prometheus.GaugeValue, now.broken)
	into <- prometheus.MustNewConstMetric(failedDesc, prometheus.CounterValue, now.failed)
	into <- prometheus.MustNewConstMetric(sizeDesc, prometheus.GaugeValue, now.size)
	into <- prometheus.MustNewConstMetric(timeDesc, prometheus.GaugeValue, now.signed)
	into <- prometheus.MustNewConstMetric(prunedDesc, prometheus.GaugeValue, now.pruned)
}

// observe counts how a run ended. An error of the cluster leaves open whether the
// chain is in order.
func (c *Checkpointer) observe(err error) {
	var bad *BadLink
	var damaged *DamagedCheckpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.state.broken = 0
	case errors.As(err, &bad), errors.As(err, &damaged):
		c.state.broken = 1
	}
	if err != nil {
		c.state.failed++
	}
}

func (c *Checkpointer) seen(spec *opsv1alpha1.AuditCheckpointSpec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.size = float64(spec.Size)
	if !spec.Time.IsZero() {
		c.state.signed = float64(spec.Time.UnixMicro()) / 1e6
	}
	if spec.Pruned != nil {
		c.state.pruned = float64(spec.Pruned.Before)
	}
}
