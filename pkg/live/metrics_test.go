// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func TestMetricsTellHowTheEngineFares(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	f := newFixture(t)
	f.engine = live.New(live.Options{Clock: f.clock, Registerer: registry, RetryBackoff: quick})
	widgetsOnly := live.Rule{
		Name: "widgets", Subject: widgets.Ref(),
		Evaluate: func(*live.View, live.Key) ([]live.Output, error) { return nil, nil },
	}
	for _, rule := range []live.Rule{misbehaves("bad"), widgetsOnly} {
		if err := f.engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", map[string]string{"do": "panic"}))
	f.cluster.NotInstalled(widgetResource)
	f.run()
	const want = `
# HELP live_evaluations_total Evaluations of a subject by rule and result: Succeeded, Unknown (an input is not known, the result was discarded), or the reason of the failure.
# TYPE live_evaluations_total counter
live_evaluations_total{result="Panicked",rule="bad"} 1
live_evaluations_total{result="Succeeded",rule="bad"} 1
# HELP live_input_state 1 for the state that an input is in, else 0.
# TYPE live_input_state gauge
live_input_state{input="configmaps",state="Failing"} 0
live_input_state{input="configmaps",state="Forbidden"} 0
live_input_state{input="configmaps",state="NotInstalled"} 0
live_input_state{input="configmaps",state="Synced"} 1
live_input_state{input="configmaps",state="Syncing"} 0
live_input_state{input="customresourcedefinitions.apiextensions.k8s.io (metadata)",state="Failing"} 0
live_input_state{input="customresourcedefinitions.apiextensions.k8s.io (metadata)",state="Forbidden"} 0
live_input_state{input="customresourcedefinitions.apiextensions.k8s.io (metadata)",state="NotInstalled"} 0
live_input_state{input="customresourcedefinitions.apiextensions.k8s.io (metadata)",state="Synced"} 1
live_input_state{input="customresourcedefinitions.apiextensions.k8s.io (metadata)",state="Syncing"} 0
live_input_state{input="pods",state="Failing"} 0
live_input_state{input="pods",state="Forbidden"} 0
live_input_state{input="pods",state="NotInstalled"} 0
live_input_state{input="pods",state="Synced"} 1
live_input_state{input="pods",state="Syncing"} 0
live_input_state{input="widgets.example.com (metadata)",state="Failing"} 0
live_input_state{input="widgets.example.com (metadata)",state="Forbidden"} 0
live_input_state{input="widgets.example.com (metadata)",state="NotInstalled"} 1
live_input_state{input="widgets.example.com (metadata)",state="Synced"} 0
live_input_state{input="widgets.example.com (metadata)",state="Syncing"} 0
# HELP live_objects Objects in a collection.
# TYPE live_objects gauge
live_objects{collection="configmaps"} 0
live_objects{collection="customresourcedefinitions.apiextensions.k8s.io (metadata)"} 0
live_objects{collection="notes"} 1
live_objects{collection="pods"} 2
live_objects{collection="statuses"} 2
live_objects{collection="widgets.example.com (metadata)"} 0
# HELP live_queue_depth Subjects waiting to be evaluated, by rule.
# TYPE live_queue_depth gauge
live_queue_depth{rule="bad"} 0
live_queue_depth{rule="widgets"} 0
# HELP live_rule_degraded 1 for a rule that is degraded, else 0.
# TYPE live_rule_degraded gauge
live_rule_degraded{rule="bad"} 1
live_rule_degraded{rule="widgets"} 0
`
	livetest.Eventually(t, "the engine settles", f.engine.Settled)
	err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"live_evaluations_total", "live_input_state", "live_objects", "live_queue_depth", "live_rule_degraded")
	if err != nil {
		t.Error(err)
	}
	if count, err := testutil.GatherAndCount(registry, "live_evaluation_seconds"); err != nil || count != 1 {
		t.Errorf("got %d histograms, want one, of the rule that was evaluated", count)
	}
}

// TestHowLongAnEvaluationTookIsNotByTheTimeOfDay, which may be set meanwhile.
func TestHowLongAnEvaluationTookIsNotByTheTimeOfDay(t *testing.T) {
	timer := &stopwatch{}
	f := newFixture(t)
	f.engine = live.New(live.Options{Clock: timer, RetryBackoff: quick})
	if err := f.engine.AddRule(readsConfig("rule")); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	if n := timer.byTimeOfDay.Load(); n > 0 {
		t.Errorf("%d durations are by the time of day", n)
	}
}

// stopwatch counts durations since times that have no monotonic part.
type stopwatch struct {
	clock.RealClock
	byTimeOfDay atomic.Int32
}

func (s *stopwatch) Since(started time.Time) time.Duration {
	if started == started.Round(0) { //nolint:staticcheck // Equal would leave the monotonic part out of account.
		s.byTimeOfDay.Add(1)
	}
	return s.RealClock.Since(started)
}
