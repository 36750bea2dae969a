// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
)

// countStanding counts what is served. The counts follow the changes, so that to
// read them costs the same for any number of findings.
func countStanding(engine *live.Engine, registerer prometheus.Registerer) error {
	findings := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "srenix_findings",
		Help: "Findings and clusterfindings that stand, by analyzer, severity, and whether a silence matches them.",
	}, []string{"analyzer", "severity", "silenced"})
	offered := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "srenix_proposals",
		Help: "Proposals that stand, by action kind.",
	}, []string{"action_kind"})
	ofFinding := func(spec *v1alpha1.FindingSpec, status *v1alpha1.FindingStatus) prometheus.Gauge {
		return findings.WithLabelValues(spec.Analyzer, string(spec.Severity), strconv.FormatBool(status.SilencedBy != ""))
	}
	if err := errors.Join(
		count(engine, proposals.Findings, func(f *v1alpha1.Finding) prometheus.Gauge { return ofFinding(&f.Spec, &f.Status) }),
		count(engine, proposals.ClusterFindings, func(f *v1alpha1.ClusterFinding) prometheus.Gauge { return ofFinding(&f.Spec, &f.Status) }),
		count(engine, proposals.Proposals, func(p *v1alpha1.Proposal) prometheus.Gauge {
			return offered.WithLabelValues(string(p.Spec.ActionKind))
		}),
	); err != nil {
		return fmt.Errorf("counting what is served: %w", err)
	}
	if err := errors.Join(registerer.Register(findings), registerer.Register(offered)); err != nil {
		return fmt.Errorf("registering the metrics of what is served: %w", err)
	}
	return nil
}

// count keeps the gauge of each object one higher for as long as it stands.
func count[T live.Object](engine *live.Engine, kind live.Kind[T], gauge func(T) prometheus.Gauge) error {
	var none T
	return live.Subscribe(engine, kind, func(before, after T) {
		if any(before) != any(none) {
			gauge(before).Dec()
		}
		if any(after) != any(none) {
			gauge(after).Inc()
		}
	})
}
