// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proactivesecretkeycheck

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
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

// running is an engine over a golden's objects, at its time.
func running(t *testing.T, golden analyzertest.Golden, cluster *livetest.Cluster, metrics prometheus.Registerer) (*live.Engine, *testingclock.FakeClock) {
	t.Helper()
	clock := testingclock.NewFakeClock(golden.Now)
	engine := live.New(live.Options{Clock: clock, Registerer: metrics, RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Steps: 1}})
	for _, rule := range analyzers.LiveRules(standard(t)) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	return engine, clock
}

func count(engine *live.Engine) int { return len(live.List(engine, analyzers.DetectedFindings)) }

func TestNothingIsSaidOfSecretsThatCannotBeListed(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-key-for-two-workloads.yaml")
	cluster := analyzertest.Cluster(t, golden.Objects)
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	cluster.Forbid(secrets)
	engine, clock := running(t, golden, cluster, nil)
	clock.Step(golden.After)
	livetest.Eventually(t, "everything is evaluated again", engine.Settled)
	if found := live.List(engine, analyzers.DetectedFindings); len(found) > 0 {
		t.Fatalf("found %v", found)
	}
	cluster.Serve(secrets)
	livetest.Eventually(t, "the Secret is looked at", func() bool {
		clock.Step(golden.After)
		return count(engine) == 1
	})
	cluster.Forbid(secrets)
	cluster.Delete(secrets, live.Key{Namespace: "shop", Name: "db"})
	livetest.Eventually(t, "the loss is noticed", func() bool {
		degraded := func(s *live.Status) bool { return s.State == live.Degraded }
		return slices.ContainsFunc(live.List(engine, live.Statuses()), degraded) && engine.Settled()
	})
	if found := count(engine); found != 1 {
		t.Errorf("found %d, want what was found before", found)
	}
}

func TestAFindingEndsWithWhatItIsAbout(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-key-for-two-workloads.yaml")
	cluster := analyzertest.Cluster(t, golden.Objects)
	engine, clock := running(t, golden, cluster, nil)
	clock.Step(golden.After)
	livetest.Eventually(t, "it is found", func() bool { return count(engine) == 1 })
	uid := live.List(engine, analyzers.DetectedFindings)[0].UID

	deployments := appsv1.SchemeGroupVersion.WithResource("deployments")
	cluster.Delete(deployments, live.Key{Namespace: "shop", Name: "web"})
	livetest.Eventually(t, "it is about the other workload", func() bool {
		found := live.List(engine, analyzers.DetectedFindings)
		return len(found) == 1 && found[0].UID == uid && !strings.Contains(found[0].Spec.Message, "Deployment web")
	})
	for _, object := range golden.Objects {
		if secret, is := object.(*corev1.Secret); is {
			secret.Data["token"] = []byte("x")
		}
	}
	found := analyzertest.Analyze(t, standard(t), golden.Now, golden.After, golden.Objects)
	if len(found) > 0 {
		t.Errorf("found %v though the key is there", found)
	}
}

// evaluations counts what the engine did so far, by rule.
func evaluations(t *testing.T, metrics *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, family := range families {
		if family.GetName() != "live_evaluations_total" {
			continue
		}
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				if label.GetName() == "rule" {
					counts[label.GetValue()] += int(metric.Counter.GetValue())
				}
			}
		}
	}
	return counts
}

func TestAChangeCostsWhatItTouches(t *testing.T) {
	for _, size := range []int{10, 1000} {
		t.Run(fmt.Sprintf("%d workloads", size), func(t *testing.T) {
			golden := analyzertest.Read(t, "testdata/found-key-for-two-workloads.yaml")
			cluster := analyzertest.Cluster(t, golden.Objects) // one lacks something all the time
			deployment, secret := golden.Objects[1].(*appsv1.Deployment), golden.Objects[3].(*corev1.Secret)
			one := func(i int, keys ...string) (*appsv1.Deployment, *corev1.Secret) {
				d, s := deployment.DeepCopy(), secret.DeepCopy()
				d.Name, s.Name = fmt.Sprintf("web-%d", i), fmt.Sprintf("db-%d", i)
				d.UID, s.UID = types.UID(d.Name), types.UID(s.Name)
				d.Spec.Template.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef.Name = s.Name
				s.Data = map[string][]byte{}
				for _, key := range keys {
					s.Data[key] = []byte("x")
				}
				return d, s
			}
			for i := range size {
				d, s := one(i, "token")
				analyzertest.Store(t, cluster, []live.Object{d, s})
			}
			metrics := prometheus.NewRegistry()
			engine, _ := running(t, golden, cluster, metrics)

			costs := func(what string, want map[string]int, change live.Object, seen func() bool) {
				t.Helper()
				before := evaluations(t, metrics)
				analyzertest.Store(t, cluster, []live.Object{change})
				livetest.Eventually(t, what, func() bool { return seen() && engine.Settled() })
				have := map[string]int{}
				for rule, count := range evaluations(t, metrics) {
					if count > before[rule] {
						have[strings.TrimPrefix(rule, Name+"/")] = count - before[rule]
					}
				}
				if diff := cmp.Diff(want, have); diff != "" {
					t.Errorf("%s is evaluated (-want +have):\n%s", what, diff)
				}
			}
			keysAre := func(want ...string) func() bool {
				return func() bool {
					s, exists := live.Get(engine, inputs.Secrets, live.Key{Namespace: "shop", Name: "db-0"})
					keys, known := inputs.Keys(s)
					return exists && known && slices.Equal(keys, want)
				}
			}
			_, more := one(0, "more", "token")
			costs("a Secret that one refers to", map[string]int{"deployments.apps": 1}, more, keysAre("more", "token"))
			_, less := one(0, "more")
			costs("a Secret that lacks a key now", map[string]int{"deployments.apps": 1, "namespaces": 1}, less, keysAre("more"))
			changed, _ := one(1)
			changed.Labels = map[string]string{"changed": "yes"}
			costs("a workload", map[string]int{"deployments.apps": 1}, changed, func() bool {
				d, exists := live.Get(engine, inputs.Deployments, live.Key{Namespace: "shop", Name: "web-1"})
				return exists && d.Labels["changed"] == "yes"
			})
		})
	}
}

func TestJunkIsNotFoundAndPanicsNothing(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	template := func(spec corev1.PodSpec) live.Object {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: spec}},
		}
	}
	for name, object := range map[string]live.Object{
		"no containers": template(corev1.PodSpec{}),
		"nothing referred to": template(corev1.PodSpec{
			Containers:       []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{}}, Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{}}}}},
			Volumes:          []corev1.Volume{{}, {VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}}, {VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}},
			ImagePullSecrets: []corev1.LocalObjectReference{{}},
		}),
		"values": template(corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "鍵", Value: strings.Repeat("ключ", 5000)}}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			objects := []live.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, object}
			if found := analyzertest.Analyze(t, standard(t), now, time.Hour, objects); len(found) > 0 {
				t.Errorf("found %v", found)
			}
		})
	}
}
