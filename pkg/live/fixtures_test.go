// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	testingclock "k8s.io/utils/clock/testing"

	"go.uber.org/goleak"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	podResource    = corev1.SchemeGroupVersion.WithResource("pods")
	configResource = corev1.SchemeGroupVersion.WithResource("configmaps")
	widgetResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

	pods = live.NewInput(podResource, live.InputOptions[*corev1.Pod]{
		Indexes: map[string]func(*corev1.Pod) []string{
			"node": func(p *corev1.Pod) []string { return []string{p.Spec.NodeName} },
		},
	})
	configs = live.NewInput(configResource, live.InputOptions[*corev1.ConfigMap]{})
	widgets = live.NewInput(widgetResource, live.InputOptions[*metav1.PartialObjectMetadata]{Optional: true})

	// notes are config maps whose data says what a rule found.
	notes   = live.NewDerived[*corev1.ConfigMap]("notes", nil)
	reports = live.NewDerived[*corev1.ConfigMap]("reports", map[string]func(*corev1.ConfigMap) []string{
		"text": func(c *corev1.ConfigMap) []string { return []string{c.Data["text"]} },
	})
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// quick is a retry backoff for tests.
var quick = &wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1}

// inBubble runs a test for which time goes by as soon as it waits.
func inBubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	// One of these sleeps since the last error, which was not in the bubble.
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	defer func() { utilruntime.ErrorHandlers = handlers }()
	synctest.Test(t, test)
}

// fixture is an engine over a cluster in memory, with a clock that stands still.
type fixture struct {
	testing.TB
	cluster *livetest.Cluster
	clock   *testingclock.FakeClock
	engine  *live.Engine
	memory  *livetest.Memory
}

func newFixture(t testing.TB, rules ...live.Rule) *fixture {
	t.Helper()
	clock := testingclock.NewFakeClock(epoch)
	memory := &livetest.Memory{}
	f := &fixture{
		TB:      t,
		cluster: &livetest.Cluster{},
		clock:   clock,
		engine:  live.New(live.Options{Clock: clock, Workers: 4, RetryBackoff: quick, Memory: memory}),
		memory:  memory,
	}
	for _, rule := range rules {
		if err := f.engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *fixture) run() {
	f.Helper()
	livetest.Run(f, f.engine, f.cluster)
}

// settle waits until the cluster's pods and config maps are in and evaluated.
func (f *fixture) settle() {
	f.Helper()
	livetest.Settle(f, f.engine, f.cluster, pods)
	livetest.Settle(f, f.engine, f.cluster, configs)
	livetest.Settle(f, f.engine, f.cluster, pods)
}

// texts returns what the notes, or reports, say, by namespace/name.
func texts(e *live.Engine, kind live.Kind[*corev1.ConfigMap]) map[string]string {
	result := map[string]string{}
	for _, note := range live.List(e, kind) {
		result[note.Namespace+"/"+note.Name] = note.Data["text"]
	}
	return result
}

func (f *fixture) status(rule string) live.Status {
	for _, status := range live.List(f.engine, live.Statuses()) {
		if status.Rule == rule {
			return *status
		}
	}
	return live.Status{}
}

// eventuallyStatus waits until a rule's status has the reason ("" is Healthy).
func (f *fixture) eventuallyStatus(rule, reason string) live.Status {
	f.Helper()
	livetest.Eventually(f, rule+" has status "+reason, func() bool {
		status := f.status(rule)
		return status.Rule != "" && status.Reason == reason && f.engine.Settled()
	})
	return f.status(rule)
}

func pod(namespace, name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
}

func text(namespace, name, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string]string{"text": text},
	}
}

func note(subject live.Key, said string) live.Output {
	return live.Emit(notes, text(subject.Namespace, subject.Name, said))
}

func key(namespace, name string) live.Key { return live.Key{Namespace: namespace, Name: name} }

// readsConfig notes, for each pod, the text of the config map of the same name.
func readsConfig(name string) live.Rule {
	return live.Rule{
		Name:    name,
		Subject: pods.Ref(),
		Reads:   []live.KindRef{configs.Ref()},
		Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			config, ok := configs.Get(v, subject)
			if !ok {
				return []live.Output{note(subject, "missing")}, nil
			}
			return []live.Output{note(subject, config.Data["text"])}, nil
		},
	}
}
