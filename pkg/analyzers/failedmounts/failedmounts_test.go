// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedmounts

import (
	"strings"
	"testing"
	"time"

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

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

// TestTheReasonStaysWhenItsEventIsGone plays what an API server keeps of a pod whose
// volume is attached elsewhere: that is said once and forgotten after an hour, and that
// the volume is not there is said every two minutes.
func TestTheReasonStaysWhenItsEventIsGone(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-attached-elsewhere.yaml")
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	clock := testingclock.NewFakeClock(golden.Now)
	engine := live.New(live.Options{Clock: clock})
	for _, rule := range analyzers.LiveRules(analyzer) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	cluster := analyzertest.Cluster(t, golden.Objects)
	livetest.Run(t, engine, cluster)
	var pod *corev1.Pod
	var once, again *corev1.Event
	for _, object := range golden.Objects {
		switch object := object.(type) {
		case *corev1.Pod:
			pod = object
		case *corev1.Event:
			if once == nil {
				once = object
			} else {
				again = object
			}
		}
	}
	is := func(reason, says string) {
		t.Helper()
		livetest.Settle(t, engine, cluster, inputs.Pods)
		found := live.List(engine, analyzers.DetectedFindings)
		if len(found) != 1 || found[0].Spec.Reason != reason || !strings.Contains(found[0].Spec.Message, says) {
			t.Errorf("at %s: found %v, want %s that says %q", clock.Now().Format(time.TimeOnly), found, reason, says)
		}
	}
	tell := func(event *corev1.Event) {
		t.Helper()
		analyzertest.Store(t, cluster, []live.Object{event})
		livetest.Eventually(t, "the event is evaluated", func() bool {
			have, exists := live.Get(engine, inputs.Events, live.Key{Namespace: event.Namespace, Name: event.Name})
			return exists && have.LastTimestamp.Equal(&event.LastTimestamp) && engine.Settled()
		})
	}
	wait := func(span time.Duration) {
		t.Helper()
		for end := clock.Now().Add(span); clock.Now().Before(end); {
			clock.Step(2 * time.Minute)
			livetest.Eventually(t, "what time changes is evaluated", engine.Settled)
			again = again.DeepCopy()
			again.LastTimestamp = metav1.NewTime(clock.Now())
			tell(again)
		}
	}
	is(VolumeInUse, "already used by pod(s) web-1-z")
	wait(50 * time.Minute)
	is(VolumeInUse, "already used by pod(s) web-1-z")
	analyzertest.Remove(t, cluster, once)
	livetest.Eventually(t, "the event that said why is gone", func() bool {
		_, exists := live.Get(engine, inputs.Events, live.Key{Namespace: once.Namespace, Name: once.Name})
		return !exists
	})
	is(VolumeInUse, "they are not there in time. Before, its events said that a volume is attached elsewhere.")
	wait(24 * time.Hour)
	is(VolumeInUse, "a volume is attached elsewhere")

	running := pod.DeepCopy()
	running.Status.Phase, running.Status.ContainerStatuses = corev1.PodRunning, nil
	analyzertest.Store(t, cluster, []live.Object{running})
	livetest.Settle(t, engine, cluster, inputs.Pods)
	if found := live.List(engine, analyzers.DetectedFindings); len(found) != 0 {
		t.Errorf("found %v of a pod that runs", found)
	}
	// Of the next pod nobody says why.
	pod = pod.DeepCopy()
	pod.Name, pod.UID = "web-1-b", "web-1-b"
	again = again.DeepCopy()
	again.Name, again.UID, again.InvolvedObject.UID = "web-1-b.5", "event-6", "web-1-b"
	tell(again)
	analyzertest.Store(t, cluster, []live.Object{pod})
	is(VolumeMountFailed, "they are not there in time.")
}
