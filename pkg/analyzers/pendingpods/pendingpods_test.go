// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package pendingpods

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
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
		{standardGrace, full, InsufficientResources, "enough cpu left"},
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

// TestTheGraceBeginsWhenThePodIsLetGo plays scheduling gates that hold a pod for two hours.
// PodScheduled keeps its time when they are gone.
func TestTheGraceBeginsWhenThePodIsLetGo(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-single-pod.yaml")
	pod := golden.Objects[0].(*corev1.Pod)
	condition := &pod.Status.Conditions[0]
	pod.CreationTimestamp, condition.LastTransitionTime = metav1.NewTime(golden.Now), metav1.NewTime(golden.Now)
	told := *condition
	condition.Reason, condition.Message = corev1.PodReasonSchedulingGated, "Scheduling is blocked due to non-empty scheduling gates"
	play := analyzertest.NewPlay(t, newAnalyzer(t), golden.Now, golden.Objects...)
	none := func(when string) {
		t.Helper()
		if found := play.Found(); len(found) != 0 {
			t.Errorf("found %s: %v", when, found)
		}
	}
	play.Step(2 * time.Hour)
	none("while it is gated")
	*condition = told
	play.Pod(pod)
	none("when the gates are gone")
	play.Step(standardGrace - time.Second)
	none("within the grace")
	began := golden.Now.Add(2 * time.Hour)
	for _, span := range []time.Duration{time.Second, time.Hour} {
		play.Step(span)
		if found := play.Found(); len(found) != 1 || !found[0].Since.Time.Equal(began) {
			t.Errorf("found %v, want one since %s", found, began)
		}
	}
}

// TestEachPodHasItsGrace plays pods of a workload that follow each other, of which each
// finds a node in time.
func TestEachPodHasItsGrace(t *testing.T) {
	for name, date := range map[string]func(pod *corev1.Pod, now metav1.Time){
		"from when its condition turned": func(pod *corev1.Pod, now metav1.Time) { pod.Status.Conditions[0].LastTransitionTime = now },
		"from when it was made": func(pod *corev1.Pod, now metav1.Time) {
			pod.CreationTimestamp, pod.Status.Conditions[0].LastTransitionTime = now, metav1.Time{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			golden := analyzertest.Read(t, "testdata/found-too-little-cpu-and-memory.yaml")
			i := slices.IndexFunc(golden.Objects, func(object live.Object) bool { _, is := object.(*corev1.Pod); return is })
			pod := golden.Objects[i].(*corev1.Pod)
			play := analyzertest.NewPlay(t, newAnalyzer(t), golden.Now, slices.Delete(golden.Objects, i, i+1)...)
			waiting := func(name string) *corev1.Pod {
				made := pod.DeepCopy()
				made.Name, made.UID = name, types.UID(name)
				date(made, metav1.NewTime(play.Clock.Now()))
				play.Pod(made)
				return made
			}
			last := waiting("first")
			for _, name := range []string{"second", "third", "fourth"} {
				play.Step(standardGrace - 10*time.Second)
				next := waiting(name)
				last.Spec.NodeName = "node-1"
				play.Pod(last)
				if found := play.Found(); len(found) != 0 {
					t.Errorf("found when pod %s is made: %v", name, found)
				}
				last = next
			}
			began := play.Clock.Now()
			play.Step(standardGrace - time.Second)
			if found := play.Found(); len(found) != 0 {
				t.Errorf("found within the grace of the last pod: %v", found)
			}
			play.Step(time.Second)
			if found := play.Found(); len(found) != 1 || !found[0].Since.Time.Equal(began) {
				t.Errorf("found %v, want one since %s", found, began)
			}
		})
	}
}

// Where revisions may not be read, pods without a node are found all the same, and what
// would help is not known.
func TestWithoutRevisionsNothingIsSaidOfThem(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-stateful-set-was-set-back.yaml")
	cluster := analyzertest.Cluster(t, golden.Objects)
	cluster.Forbid(inputs.ControllerRevisions.Ref().Resource())
	clock := testingclock.NewFakeClock(golden.Now)
	engine := live.New(live.Options{Clock: clock})
	for _, rule := range analyzers.LiveRules(newAnalyzer(t)) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	clock.Step(standardGrace)
	livetest.Eventually(t, "it is found", func() bool { return engine.Settled() && len(live.List(engine, analyzers.DetectedFindings)) == 1 })
	remediation := live.List(engine, analyzers.DetectedFindings)[0].Spec.Remediation
	if text := remediation.Text + strings.Join(remediation.Commands, " "); strings.Contains(text, "kubectl delete") || !strings.Contains(text, "If the template is changed for that") {
		t.Errorf("advises %s", text)
	}
}
