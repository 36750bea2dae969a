// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package pendingpods

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
)

func newAnalyzer(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) {
	analyzertest.Run(t, newAnalyzer(t))
}

// TestTheReasonStaysWhileTheSchedulerAlternates plays what the scheduler writes while
// the one node that would fit is cordoned and let in again, and then stays cordoned.
func TestTheReasonStaysWhileTheSchedulerAlternates(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-single-pod.yaml")
	pod := golden.Objects[0].(*corev1.Pod)
	play := analyzertest.NewPlay(t, newAnalyzer(t), golden.Now, golden.Objects...)
	const full, cordoned, none = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}.",
		"0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) had untolerated taint {a: b}.", "no nodes available to schedule pods"
	for _, step := range []struct {
		after              time.Duration
		told, reason, says string
	}{
		{0, full, InsufficientResources, "enough cpu left"},
		{5 * time.Minute, cordoned, InsufficientResources, "taints that it does not tolerate (a: b)"},
		{5 * time.Minute, full, InsufficientResources, "enough cpu left"},
		{5 * time.Minute, none, InsufficientResources, "the scheduler has none for it"},
		{time.Hour, cordoned, InsufficientResources, "taints that it does not tolerate (a: b)"},
		{10 * time.Minute, cordoned, UntoleratedTaints, "taints that it does not tolerate (a: b)"},
		{time.Minute, full, UntoleratedTaints, "enough cpu left"},
	} {
		play.Step(step.after)
		for i := range pod.Status.Conditions {
			if pod.Status.Conditions[i].Type == corev1.PodScheduled {
				pod.Status.Conditions[i].Message = step.told
			}
		}
		play.Pod(pod)
		found := play.Found()
		if len(found) != 1 || found[0].Reason != step.reason || !strings.Contains(found[0].Message, step.says) {
			t.Errorf("%q is told after %s: found %v, want %s that says %q", step.told, step.after, found, step.reason, step.says)
		}
	}
}
