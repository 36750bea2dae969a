// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the engine's own. Labels are names of rules and of kinds, of which
// there are as many as are declared.
type metrics struct {
	evaluations *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	gauges      *gauges
}

func newMetrics(e *Engine) *metrics {
	return &metrics{
		evaluations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "live_evaluations_total",
			Help: "Evaluations of a subject by rule and result: Succeeded, Unknown (an input is not known, the result was discarded), or the reason of the failure.",
		}, []string{"rule", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "live_evaluation_seconds",
			Help:    "Duration of one evaluation by rule, its outputs applied.",
			Buckets: prometheus.ExponentialBuckets(10e-6, 4, 9), // 10 µs to 0.66 s
		}, []string{"rule"}),
		gauges: &gauges{engine: e},
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.evaluations, m.seconds, m.gauges}
}

func (m *metrics) register(registerer prometheus.Registerer) error {
	for _, collector := range m.collectors() {
		if err := registerer.Register(collector); err != nil {
			return fmt.Errorf("registering the metrics of the live view: %w", err)
		}
	}
	return nil
}

func (m *metrics) unregister(registerer prometheus.Registerer) {
	for _, collector := range m.collectors() {
		registerer.Unregister(collector)
	}
}

func (m *metrics) evaluated(r *rule, result string, took time.Duration) {
	m.evaluations.WithLabelValues(r.Name, result).Inc()
	m.seconds.WithLabelValues(r.Name).Observe(took.Seconds())
}

// gauges are read from the engine when they are asked for.
type gauges struct{ engine *Engine }

var (
	queueDepth    = prometheus.NewDesc("live_queue_depth", "Subjects waiting to be evaluated, by rule.", []string{"rule"}, nil)
	inputStateIs  = prometheus.NewDesc("live_input_state", "1 for the state that an input is in, else 0.", []string{"input", "state"}, nil)
	objectCount   = prometheus.NewDesc("live_objects", "Objects in a collection.", []string{"collection"}, nil)
	ruleIsTrouble = prometheus.NewDesc("live_rule_degraded", "1 for a rule that is degraded, else 0.", []string{"rule"}, nil)
)

func (g *gauges) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{queueDepth, inputStateIs, objectCount, ruleIsTrouble} {
		descriptions <- description
	}
}

func (g *gauges) Collect(collected chan<- prometheus.Metric) {
	gauge := func(description *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
	}
	e := g.engine
	e.mu.RLock()
	for _, r := range e.rules {
		gauge(queueDepth, float64(r.queue.len()), r.Name)
	}
	objects := map[string]int{}
	states := map[string]map[inputState]bool{}
	for k, c := range e.collections {
		objects[k.name] += c.len()
		if c.input != nil {
			if states[k.name] == nil {
				states[k.name] = map[inputState]bool{}
			}
			states[k.name][c.input.current().state] = true
		}
	}
	e.mu.RUnlock()
	for name, count := range objects {
		gauge(objectCount, float64(count), name)
	}
	for name, current := range states {
		for _, state := range inputStates {
			gauge(inputStateIs, one(current[state]), name, string(state))
		}
	}
	for _, status := range List(e, Statuses()) {
		gauge(ruleIsTrouble, one(status.State == Degraded), status.Rule)
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
