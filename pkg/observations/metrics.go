// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import "github.com/prometheus/client_golang/prometheus"

var (
	writesDesc = prometheus.NewDesc("srenix_first_observed_writes_total",
		"Attempts to store first-observed times, by result: Succeeded, Conflict (another replica was faster) or Failed (a restart now would lose some).", []string{"result"}, nil)
	heldDesc = prometheus.NewDesc("srenix_first_observed_conditions",
		"Conditions that hold now and that no object dates.", nil, nil)
)

// results of a write.
const (
	writeSucceeded = "Succeeded"
	writeConflict  = "Conflict"
	writeFailed    = "Failed"
)

var _ prometheus.Collector = &Store{}

// Describe implements prometheus.Collector.
func (s *Store) Describe(into chan<- *prometheus.Desc) {
	into <- writesDesc
	into <- heldDesc
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(into chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, result := range []string{writeSucceeded, writeConflict, writeFailed} {
		into <- prometheus.MustNewConstMetric(writesDesc, prometheus.CounterValue, float64(s.writes[result]), result)
	}
	into <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(len(s.held)))
}

func (s *Store) wrote(result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes[result]++
}
