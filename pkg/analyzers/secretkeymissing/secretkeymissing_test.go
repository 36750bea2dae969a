// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package secretkeymissing

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
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

// TestSecretsNeedNotBeReadable holds that what the kubelet says is found where
// Secrets may not be listed, and that it gains what they tell once they may.
func TestSecretsNeedNotBeReadable(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-key-is-nearly-there.yaml")
	cluster := analyzertest.Cluster(t, golden.Objects)
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	cluster.Forbid(secrets)
	clock := testingclock.NewFakeClock(golden.Now)
	engine := live.New(live.Options{Clock: clock, RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Steps: 1}})
	for _, rule := range analyzers.LiveRules(standard(t)) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	clock.Step(golden.After)
	livetest.Eventually(t, "everything is evaluated again", engine.Settled)
	found := live.List(engine, analyzers.DetectedFindings)
	if len(found) != 1 || found[0].Spec.Message != "Containers of Deployment web cannot be made: there is no key token of Secret db." {
		t.Fatalf("have %v", found)
	}
	cluster.Serve(secrets)
	livetest.Eventually(t, "the near miss is named", func() bool {
		found := live.List(engine, analyzers.DetectedFindings)
		return len(found) == 1 && strings.Contains(found[0].Spec.Message, "the key TOKEN")
	})
}

// TestTheGraceBeginsWithTheWait plays a pod whose image takes ten minutes to come, and
// whose container then waits for a key. Replicas that come later make it no newer.
func TestTheGraceBeginsWithTheWait(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns"}}
	play := analyzertest.NewPlay(t, standard(t), now, namespace)
	waits := func(name, reason, message string) {
		t.Helper()
		play.Pod(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)},
			Status: corev1.PodStatus{
				Phase:             corev1.PodPending,
				Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(now)}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}},
			},
		})
	}
	none := func(when string) {
		t.Helper()
		if found := play.Found(); len(found) != 0 {
			t.Errorf("found %s: %v", when, found)
		}
	}
	waits("a", "ContainerCreating", "")
	play.Step(10 * time.Minute)
	began := play.Clock.Now()
	waits("a", "CreateContainerConfigError", "couldn't find key token in Secret shop/db")
	none("when the container begins to wait")
	play.Step(standardGrace - time.Second)
	none("within the grace")
	play.Step(time.Second)
	waits("b", "CreateContainerConfigError", "couldn't find key token in Secret shop/db")
	for range 3 {
		if found := play.Found(); len(found) != 1 || found[0].Reason != KeyMissing || !found[0].Since.Time.Equal(began) {
			t.Fatalf("found %v after the grace, want one %s since %s", found, KeyMissing, began)
		}
		play.Step(time.Hour)
	}
}

func TestJunkIsNotFoundAndPanicsNothing(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	waiting := func(name string, state corev1.ContainerState) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: state}}},
		}
	}
	for name, pod := range map[string]*corev1.Pod{
		"no state":      waiting("p", corev1.ContainerState{}),
		"no reason":     waiting("p", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Message: `secret "db" not found`}}),
		"another state": waiting("p", corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: `secret "db" not found`}}),
		"no status":     {ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}},
	} {
		t.Run(name, func(t *testing.T) {
			if found := analyzertest.Analyze(t, standard(t), now, standardGrace, []live.Object{namespace, pod}); len(found) > 0 {
				t.Errorf("found %v", found)
			}
		})
	}
	for name, message := range map[string]string{
		"nothing": "", "multi-byte": strings.Repeat("ключ не найден 鍵", 200), "a command": "secret \"db; rm -rf /\" not found",
	} {
		t.Run("a message of "+name, func(t *testing.T) {
			pod := waiting("p", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: message}})
			found := analyzertest.Analyze(t, standard(t), now, standardGrace, []live.Object{namespace, pod})
			if len(found) != 1 || found[0].Reason != ContainerConfigError || found[0].Severity != v1alpha1.SeverityWarning {
				t.Fatalf("found %v", found)
			}
			for _, command := range found[0].Remediation.Commands {
				if strings.Contains(command, ";") {
					t.Errorf("the command %q has what the kubelet said in it", command)
				}
			}
		})
	}
}
