// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzertest

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// Play is an analyzer on a live view of objects that change as time passes, for what
// no single look can show.
type Play struct {
	t        *testing.T
	analyzer analyzers.Analyzer
	memory   live.Memory
	Clock    *testingclock.FakeClock
	Cluster  *livetest.Cluster
	Engine   *live.Engine
	stop     func()
}

// NewPlay begins at a time with some objects.
func NewPlay(t *testing.T, analyzer analyzers.Analyzer, now time.Time, objects ...live.Object) *Play {
	t.Helper()
	p := &Play{t: t, analyzer: analyzer, memory: &livetest.Memory{}, Clock: testingclock.NewFakeClock(now), Cluster: Cluster(t, objects)}
	p.Restart()
	return p
}

// Restart goes on with a new engine, and with what was observed. The one before has
// stopped then: one that lags behind would begin anew what the new one has seen end.
func (p *Play) Restart() {
	p.t.Helper()
	if p.stop != nil {
		p.stop()
	}
	p.Engine = live.New(live.Options{Clock: p.Clock, Memory: p.memory})
	for _, rule := range analyzers.LiveRules(p.analyzer) {
		if err := p.Engine.AddRule(rule); err != nil {
			p.t.Fatal(err)
		}
	}
	p.stop = livetest.Run(p.t, p.Engine, p.Cluster)
	p.settle()
}

// Step lets time pass.
func (p *Play) Step(span time.Duration) {
	p.t.Helper()
	p.Clock.Step(span)
	p.settle()
}

// Pod creates or updates a pod.
func (p *Play) Pod(pod *corev1.Pod) {
	p.t.Helper()
	Set(p, inputs.Pods, pod)
}

// Set creates or updates objects of a kind.
func Set[T live.Object](p *Play, kind live.Kind[T], objects ...live.Object) {
	p.t.Helper()
	Store(p.t, p.Cluster, objects)
	livetest.Settle(p.t, p.Engine, p.Cluster, kind)
}

// Event creates or updates an Event, which must be one that is kept.
func (p *Play) Event(event *corev1.Event) {
	p.t.Helper()
	Store(p.t, p.Cluster, []live.Object{event})
	p.until(event, func(have *corev1.Event) bool {
		return have != nil && have.Message == event.Message && have.LastTimestamp.Time.Equal(inputs.LastSeen(event))
	})
}

// Forget removes an Event.
func (p *Play) Forget(event *corev1.Event) {
	p.t.Helper()
	Remove(p.t, p.Cluster, event)
	p.until(event, func(have *corev1.Event) bool { return have == nil })
}

func (p *Play) until(event *corev1.Event, is func(have *corev1.Event) bool) {
	p.t.Helper()
	livetest.Eventually(p.t, "event "+event.Name+" is as in the cluster and evaluated", func() bool {
		have, exists := live.Get(p.Engine, inputs.Events, live.Key{Namespace: event.Namespace, Name: event.Name})
		if !exists {
			have = nil
		}
		return is(have) && p.Engine.Settled()
	})
}

func (p *Play) settle() {
	p.t.Helper()
	livetest.Eventually(p.t, "everything is evaluated", p.Engine.Settled)
}

// Found are the findings that there are now.
func (p *Play) Found() []v1alpha1.FindingSpec {
	var specs []v1alpha1.FindingSpec
	for _, finding := range live.List(p.Engine, analyzers.DetectedFindings) {
		specs = append(specs, finding.Spec)
	}
	for _, finding := range live.List(p.Engine, analyzers.DetectedClusterFindings) {
		specs = append(specs, finding.Spec)
	}
	return specs
}
