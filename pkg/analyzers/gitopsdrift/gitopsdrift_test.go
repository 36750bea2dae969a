// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package gitopsdrift

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func settings(options string) analyzers.Settings {
	return analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}})
}

func made(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(settings("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) {
	analyzertest.Run(t, made(t))
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for options, word := range map[string]string{
		`{"syncTimeout":"0s"}`: "syncTimeout", `{"stuckIntervals":0}`: "stuckIntervals", `{"intervals":3}`: "intervals",
	} {
		if _, err := New(settings(options)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func TestStuckIntervalsAreAnOption(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/miss-kustomization-reconciles-within-three-intervals.yaml")
	for options, want := range map[string]int{"{}": 0, `{"stuckIntervals":3}`: 0, `{"stuckIntervals":1}`: 1} {
		analyzer, err := New(settings(options))
		if err != nil {
			t.Fatal(err)
		}
		if found := analyzertest.Analyze(t, analyzer, golden.Now, golden.After, golden.Objects); len(found) != want || want > 0 && found[0].Reason != Stuck {
			t.Errorf("with %s: %v, want %d", options, found, want)
		}
	}
}

func TestAnOlderVersionIsReadWhereOnlyThatIsServed(t *testing.T) {
	for file, version := range map[string]schema.GroupVersionResource{
		"testdata/found-helm-release-upgrade-failed.yaml":       {Group: "helm.toolkit.fluxcd.io", Version: "v2beta2", Resource: "helmreleases"},
		"testdata/found-oci-repository-has-no-such-tag.yaml":    {Group: "source.toolkit.fluxcd.io", Version: "v1beta2", Resource: "ocirepositories"},
		"testdata/found-kustomization-health-check-failed.yaml": {Group: "kustomize.toolkit.fluxcd.io", Version: "v1beta2", Resource: "kustomizations"},
	} {
		golden := analyzertest.Read(t, file)
		for _, object := range golden.Objects {
			object.(*unstructured.Unstructured).SetAPIVersion(version.GroupVersion().String())
		}
		engine := live.New(live.Options{Clock: testingclock.NewFakeClock(golden.Now)})
		for _, rule := range analyzers.LiveRules(made(t)) {
			if err := engine.AddRule(rule); err != nil {
				t.Fatal(err)
			}
		}
		cluster := analyzertest.Cluster(t, golden.Objects)
		for _, kind := range []live.KindRef{inputs.HelmReleases.Ref(), inputs.Kustomizations.Ref(), inputs.OCIRepositories.Ref()} {
			cluster.NotInstalled(kind.Resource())
		}
		livetest.Run(t, engine, cluster)
		livetest.Eventually(t, "it is found", func() bool { return len(live.List(engine, analyzers.DetectedFindings)) == 1 })
		if have := live.List(engine, analyzers.DetectedFindings)[0].Spec.Subject.APIVersion; have != version.GroupVersion().String() {
			t.Errorf("the finding is about an object of %s", have)
		}
	}
}

func TestAFindingStaysWhileFluxTriesAgainAndAgain(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-kustomization-health-check-failed.yaml")
	object := golden.Objects[0].(*unstructured.Unstructured)
	clock := testingclock.NewFakeClock(golden.Now)
	set := func(cluster *livetest.Cluster, status, reason string) {
		at := clock.Now().UTC().Format(time.RFC3339)
		condition := map[string]any{"type": "Ready", "status": status, "reason": reason, "message": "m", "lastTransitionTime": at, "observedGeneration": int64(2)}
		if err := unstructured.SetNestedSlice(object.Object, []any{condition}, "status", "conditions"); err != nil {
			t.Fatal(err)
		}
		cluster.Set(inputs.Kustomizations.Ref().Resource(), object)
	}
	engine := live.New(live.Options{Clock: clock})
	for _, rule := range analyzers.LiveRules(made(t)) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	cluster := &livetest.Cluster{}
	set(cluster, "Unknown", "Progressing")
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "it is looked at", engine.Settled)
	began, seen := golden.Now, 0
	for try := range 8 { // an attempt of 2 minutes fails, and there is a pause of 2
		for _, state := range []struct{ status, reason string }{{"False", "HealthCheckFailed"}, {"Unknown", "Progressing"}} {
			clock.Step(2 * time.Minute)
			set(cluster, state.status, state.reason)
			want := clock.Now().Sub(began) >= standardGrace
			livetest.Eventually(t, "the last state is judged", func() bool {
				stored, ok := live.Get(engine, inputs.Kustomizations, live.Key{Namespace: "flux-system", Name: "web"})
				ready, _ := inputs.ConditionOf(stored, "Ready")
				return ok && ready.LastTransition.Equal(clock.Now()) && engine.Settled()
			})
			found := live.List(engine, analyzers.DetectedFindings)
			if (len(found) == 1) != want {
				t.Fatalf("try %d, %s: %d findings", try, state.status, len(found))
			}
			if want && (!found[0].Spec.Since.Time.Equal(began) || found[0].Spec.Severity != v1alpha1.SeverityCritical) {
				t.Fatalf("try %d, %s: %s since %s", try, state.status, found[0].Spec.Severity, found[0].Spec.Since)
			}
			seen += len(found)
		}
	}
	if seen == 0 {
		t.Fatal("it was never found")
	}
}

// What waits for its source has not failed: once it can be tried, it has as long as any
// first attempt.
func TestAFirstAttemptAfterALateSourceIsNoTrouble(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-kustomization-health-check-failed.yaml")
	late := func(t *testing.T, waits time.Duration) (*analyzertest.Play, func(status, reason string)) {
		object := golden.Objects[0].(*unstructured.Unstructured).DeepCopy()
		play := analyzertest.NewPlay(t, made(t), golden.Now)
		turn := func(status, reason string) {
			condition := map[string]any{
				"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": int64(2),
				"lastTransitionTime": play.Clock.Now().UTC().Format(time.RFC3339),
			}
			if err := unstructured.SetNestedSlice(object.Object, []any{condition}, "status", "conditions"); err != nil {
				t.Fatal(err)
			}
			analyzertest.Set(play, inputs.Kustomizations, object.DeepCopy())
		}
		turn("False", "ArtifactFailed")
		play.Step(waits)
		return play, turn
	}
	none := func(t *testing.T, play *analyzertest.Play, when string) {
		t.Helper()
		if found := play.Found(); len(found) != 0 {
			t.Fatalf("found %s: %+v", when, found)
		}
	}
	one := func(t *testing.T, play *analyzertest.Play, since time.Time, when string) {
		t.Helper()
		if found := play.Found(); len(found) != 1 || !found[0].Since.Time.Equal(since) {
			t.Fatalf("found %s is %+v, want one since %s", when, found, since)
		}
	}
	t.Run("within the grace", func(t *testing.T) {
		play, turn := late(t, standardGrace-2*time.Minute)
		turn("Unknown", "Progressing")
		for range 40 {
			none(t, play, "while it is tried for the first time")
			play.Step(time.Minute)
		}
	})
	t.Run("after it was found", func(t *testing.T) {
		play, turn := late(t, time.Hour)
		one(t, play, golden.Now, "without a source")
		turn("Unknown", "Progressing")
		play.Step(fetching)
		for range 40 {
			none(t, play, "while it is tried for the first time")
			play.Step(time.Minute)
		}
		turn("False", "HealthCheckFailed")
		one(t, play, golden.Now.Add(time.Hour+fetching), "when that attempt has failed")
		turn("Unknown", "Progressing")
		one(t, play, golden.Now.Add(time.Hour+fetching), "while it is tried again")
	})
	t.Run("after what it depends on was ready", func(t *testing.T) {
		play, turn := late(t, 0)
		turn("False", "DependencyNotReady")
		play.Step(time.Hour)
		one(t, play, golden.Now, "while it waits for what does not exist")
		turn("Unknown", "Progressing")
		for range 40 {
			none(t, play, "while it is tried for the first time")
			play.Step(time.Minute)
		}
	})
	t.Run("and it does not get at its artifact", func(t *testing.T) {
		play, turn := late(t, time.Hour)
		for range 5 {
			turn("Unknown", "Progressing")
			play.Step(time.Minute)
			one(t, play, golden.Now, "while it tries to get at its artifact")
			turn("False", "ArtifactFailed")
			play.Step(2 * time.Minute)
			one(t, play, golden.Now, "while it has none")
		}
	})
	t.Run("and it failed before the source went away", func(t *testing.T) {
		play, turn := late(t, 0)
		turn("False", "BuildFailed")
		play.Step(time.Hour)
		turn("False", "ArtifactFailed")
		one(t, play, golden.Now, "without a source")
		play.Step(time.Minute)
		turn("Unknown", "Progressing")
		play.Step(time.Hour)
		one(t, play, golden.Now, "while it is tried again")
	})
}

// An automated sync keeps failing from its first failure on, however long it ran before
// that, and until one succeeds.
func TestAnAutomatedSyncHasItsGraceFromItsFirstFailure(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-application-automated-sync-fails.yaml")
	object := golden.Objects[0].(*unstructured.Unstructured).DeepCopy()
	operation := func(phase string, started, finished time.Time) {
		state := map[string]any{"phase": phase, "message": "one or more objects failed to apply", "startedAt": started.UTC().Format(time.RFC3339)}
		if !finished.IsZero() {
			state["finishedAt"] = finished.UTC().Format(time.RFC3339)
		}
		if err := unstructured.SetNestedMap(object.Object, state, "status", "operationState"); err != nil {
			t.Fatal(err)
		}
	}
	operation("Running", golden.Now, time.Time{})
	play := analyzertest.NewPlay(t, made(t), golden.Now, object.DeepCopy())
	now := play.Clock.Now
	becomes := func(phase string, started, finished time.Time) {
		operation(phase, started, finished)
		analyzertest.Store(t, play.Cluster, []live.Object{object.DeepCopy()})
		livetest.Eventually(t, "the operation is "+phase+" and evaluated", func() bool {
			stored, exists := live.Get(play.Engine, inputs.Applications, live.Key{Namespace: "argocd", Name: "web"})
			return exists && phaseOf(stored) == phase && play.Engine.Settled()
		})
	}
	is := func(severity v1alpha1.Severity, when string) {
		t.Helper()
		if found := play.Found(); len(found) != 1 || found[0].Reason != OutOfSync || found[0].Severity != severity || !found[0].Since.Time.Equal(golden.Now) {
			t.Errorf("found %s: %+v, want %s since %s", when, found, severity, golden.Now)
		}
	}
	play.Step(standardGrace + time.Minute)
	failed := now()
	becomes("Failed", golden.Now, failed)
	is(v1alpha1.SeverityWarning, "when the first attempt failed after it ran for longer than the grace")
	play.Step(standardGrace - time.Second)
	is(v1alpha1.SeverityWarning, "within the grace of the failure")
	play.Step(time.Second)
	is(v1alpha1.SeverityCritical, "after the grace of the failure")
	again := now()
	becomes("Running", again, time.Time{})
	play.Step(standardGrace)
	is(v1alpha1.SeverityWarning, "while the sync of another revision runs")
	becomes("Failed", again, now())
	is(v1alpha1.SeverityCritical, "when that failed too")
	becomes("Succeeded", now(), now())
	is(v1alpha1.SeverityWarning, "when one succeeded and it differs all the same")
	becomes("Failed", now(), now())
	is(v1alpha1.SeverityWarning, "when one fails after one that succeeded")
}

func TestJunkIsNotTroubleAndHarmsNothing(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	junk := []any{nil, "", long, true, int64(-1), 1.5, []any{nil, int64(1), []any{}, map[string]any{"type": int64(1)}}, map[string]any{"ü": nil, "status": []any{}}}
	paths := [][]string{
		{"spec"}, {"status"}, {"spec", "suspend"}, {"spec", "interval"}, {"spec", "timeout"}, {"spec", "syncPolicy"}, {"spec", "syncPolicy", "automated"},
		{"status", "sync"}, {"status", "health"}, {"status", "sync", "status"}, {"status", "health", "status"}, {"status", "operationState"},
		{"status", "operationState", "phase"}, {"status", "conditions"}, {"status", "resources"},
	}
	var objects []live.Object
	for kind, apiVersion := range map[string]string{
		"Application": "argoproj.io/v1alpha1", "Kustomization": "kustomize.toolkit.fluxcd.io/v1", "HelmRelease": "helm.toolkit.fluxcd.io/v2",
	} {
		for i, path := range paths {
			for j, value := range junk {
				object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
				if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
					t.Fatal(err)
				}
				object.SetNamespace("junk")
				object.SetName(strings.Join(append(path, string(rune('a'+i)), string(rune('a'+j))), "-"))
				object.SetUID("1")
				objects = append(objects, object)
			}
		}
	}
	for _, spec := range analyzertest.Analyze(t, made(t), time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), 24*time.Hour, objects) {
		if spec.Reason != Suspended { // one of them is
			t.Errorf("%s: %s", spec.Subject.Name, spec.Message)
		}
	}
}

func TestWhatAControllerSaysDoesNotChangeWithEachTry(t *testing.T) {
	for message, want := range map[string]string{
		"one or more objects failed to apply (retried 5 times).":                                   "one or more objects failed to apply",
		"a task failed due to application controller sync timeout. Retrying attempt #2 at 3:04PM.": "a task failed",
		"a task failed. Retrying attempt #12 at 11:04AM.":                                          "a task failed",
		"health check failed after 5m0.0123s: timeout waiting for: [Deployment/shop/web]":          "health check failed: timeout waiting for: [Deployment/shop/web]",
		"health check failed after 30.5ms: failed early due to stalled resources":                  "health check failed: failed early due to stalled resources",
		"Failed to upgrade after 4 attempt(s)":                                                     "Failed to upgrade after 4 attempt(s)",
		"":                                                                                         "",
		strings.Repeat("ü", 300):                                                                   strings.Repeat("ü", 200),
	} {
		if have := said(message); have != want {
			t.Errorf("%q becomes %q, want %q", message, have, want)
		}
	}
}

// A source that is fetched anew after it failed is in the same trouble until it succeeds,
// and no worse.
func TestASourceThatIsTriedAgainStaysAWarning(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-git-repository-denies-access.yaml")
	object := golden.Objects[0].(*unstructured.Unstructured)
	play := analyzertest.NewPlay(t, made(t), golden.Now)
	turn := func(status, reason string) {
		condition := map[string]any{
			"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": int64(2),
			"lastTransitionTime": play.Clock.Now().UTC().Format(time.RFC3339),
		}
		if err := unstructured.SetNestedSlice(object.Object, []any{condition}, "status", "conditions"); err != nil {
			t.Fatal(err)
		}
		analyzertest.Set(play, inputs.GitRepositories, object.DeepCopy())
	}
	turn("False", "GitOperationFailed")
	if found := play.Found(); len(found) != 0 {
		t.Fatalf("found within the grace: %+v", found)
	}
	play.Step(standardGrace)
	for range 3 {
		for _, state := range [][2]string{{"Unknown", "Progressing"}, {"False", "GitOperationFailed"}} {
			play.Step(2 * time.Minute)
			turn(state[0], state[1])
			if found := play.Found(); len(found) != 1 || found[0].Severity != v1alpha1.SeverityWarning || !found[0].Since.Time.Equal(golden.Now) {
				t.Fatalf("while Ready is %s, found %+v, want one Warning since %s", state[0], found, golden.Now)
			}
		}
	}
	turn("True", "Succeeded")
	if found := play.Found(); len(found) != 0 {
		t.Fatalf("found once it succeeds: %+v", found)
	}
}
