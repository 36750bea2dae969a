// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package configdrift

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func standard(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) { analyzertest.Run(t, standard(t)) }

func TestFurtherChangesAreNoNewDrift(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-env-from.yaml")
	cluster := analyzertest.Cluster(t, golden.Objects)
	clock := testingclock.NewFakeClock(golden.Now)
	engine := live.New(live.Options{Clock: clock})
	for _, rule := range analyzers.LiveRules(standard(t)) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, cluster)
	first := []time.Time{time.Date(2026, 1, 2, 11, 0, 0, 0, time.UTC)}
	sinceIs := func(when string, want []time.Time, look func() bool) {
		t.Helper()
		livetest.Eventually(t, "it is looked at", func() bool { return look() && engine.Settled() })
		var have []time.Time
		for _, finding := range live.List(engine, analyzers.DetectedFindings) {
			have = append(have, finding.Spec.Since.UTC())
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", when, diff)
		}
	}
	sinceIs("at first", first, engine.Settled)

	configMap := golden.Objects[3].(*corev1.ConfigMap)
	for range 3 {
		clock.Step(time.Minute)
		at := metav1.NewTime(clock.Now())
		configMap.ManagedFields[0].Time = &at
		cluster.Set(corev1.SchemeGroupVersion.WithResource("configmaps"), configMap)
		sinceIs("after another change", first, func() bool {
			metadata, exists := live.Get(engine, inputs.ConfigMaps, live.Key{Namespace: "shop", Name: "settings"})
			return exists && inputs.Changed(metadata).Time.Equal(at.Time)
		})
	}
	deployment := golden.Objects[0].(*appsv1.Deployment)
	for _, scaled := range []struct {
		to   int32
		want []time.Time
	}{{to: 2}, {1, first}} {
		deployment.Spec.Replicas = &scaled.to
		cluster.Set(appsv1.SchemeGroupVersion.WithResource("deployments"), deployment)
		sinceIs("after it was scaled", scaled.want, func() bool {
			d, exists := live.Get(engine, inputs.Deployments, live.Key{Namespace: "shop", Name: "app"})
			return exists && *d.Spec.Replicas == scaled.to
		})
	}
}
