// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func made(t *testing.T, options string) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) { analyzertest.Run(t, made(t, "{}")) }

func TestOptionsAreChecked(t *testing.T) {
	for options, says := range map[string]string{
		`{"maintenance": "0s"}`:  "options: maintenance",
		`{"cordonedFor": "-1h"}`: "options: cordonedFor",
		`{"cordonedFor": null}`:  "options: cordonedFor",
		`{"cordoned": "1h"}`:     `unknown field "cordoned"`,
	} {
		_, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}}))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: have %v, want it to say %q", options, err, says)
		}
	}
}

func TestOptionsAreHeeded(t *testing.T) {
	for file, options := range map[string]string{
		"testdata/found-cordoned.yaml":                           `{"cordonedFor": "720h"}`,
		"testdata/found-not-ready-while-cordoned.yaml":           `{"maintenance": "2h"}`,
		"testdata/found-not-ready-since-it-joined-long-ago.yaml": `{"maintenance": "2h"}`,
	} {
		golden := analyzertest.Read(t, file)
		if found := analyzertest.Analyze(t, made(t, options), golden.Now, 0, golden.Objects); len(found) != 0 {
			t.Errorf("%s with %s: found %+v", file, options, found)
		}
	}
}

var now = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func TestJunkIsNoTrouble(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	junk := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "junk", UID: "junk", Labels: map[string]string{"a": long}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{}, {Key: corev1.TaintNodeUnschedulable}}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{}, {Type: "Ready", Status: corev1.ConditionTrue, Message: long}, {Type: "MemoryPressure", Status: corev1.ConditionStatus(long)}, {Type: corev1.NodeConditionType(long), Status: "True"},
		}},
	}
	for _, finding := range analyzertest.Analyze(t, made(t, "{}"), now, 48*time.Hour, []live.Object{junk, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}}) {
		t.Errorf("found %+v", finding)
	}
}

// A node that says it is not Ready, and then nothing any more, has been in the same
// trouble all the time.
func TestANodeThatFallsSilentIsNoNewTrouble(t *testing.T) {
	node := func(status corev1.ConditionStatus, at time.Time) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "node-1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: status, LastTransitionTime: metav1.NewTime(at)},
		}}}
	}
	clock := testingclock.NewFakeClock(now)
	engine := live.New(live.Options{Clock: clock})
	for _, rule := range analyzers.LiveRules(made(t, "{}")) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	cluster := &livetest.Cluster{}
	nodes := inputs.Nodes.Ref().Resource()
	cluster.Set(nodes, node(corev1.ConditionFalse, now))
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "the node is looked at", engine.Settled)
	clock.Step(3 * time.Minute)
	since := func() (at time.Time) {
		for _, finding := range live.List(engine, analyzers.DetectedClusterFindings) {
			at = finding.Spec.Since.Time
		}
		return at
	}
	livetest.Eventually(t, "the node is found", func() bool { return engine.Settled() && since().Equal(now) })
	cluster.Set(nodes, node(corev1.ConditionUnknown, now.Add(3*time.Minute)))
	livetest.Eventually(t, "the change is seen", func() bool {
		seen, exists := inputs.Nodes.Get(engine.Snapshot(), live.Key{Name: "node-1"})
		return exists && seen.Status.Conditions[0].Status == corev1.ConditionUnknown && engine.Settled()
	})
	if at := since(); !at.Equal(now) {
		t.Errorf("found since %s, want %s", at, now)
	}
}
