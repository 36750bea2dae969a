// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloadstatedrift

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func made(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) {
	analyzertest.Run(t, made(t))
}

func TestJunkIsNotTroubleAndHarmsNothing(t *testing.T) {
	junk := []any{nil, true, int64(-1), 1.5, []any{nil, int64(1)}, map[string]any{"ü": nil}, []any{map[string]any{"type": "Ready", "status": int64(1)}}}
	var objects []live.Object
	for i, path := range [][]string{
		{"spec"}, {"status"}, {"spec", "instances"}, {"status", "phase"}, {"status", "instances"}, {"status", "readyInstances"},
		{"status", "currentPrimary"}, {"status", "targetPrimary"}, {"status", "conditions"}, {"metadata", "annotations"},
	} {
		for j, value := range junk {
			object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster"}}
			if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
				t.Fatal(err)
			}
			object.SetNamespace("junk")
			object.SetName(fmt.Sprintf("junk-%d-%d", i, j))
			object.SetUID("1")
			objects = append(objects, object)
		}
	}
	for _, spec := range analyzertest.Analyze(t, made(t), time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), 24*time.Hour, objects) {
		t.Errorf("%s: %s", spec.Subject.Name, spec.Message)
	}
}

// Ready is False in a quiet phase too, and does not turn when the phase does: what comes
// after a long quiet phase has its own grace.
func TestWhatComesAfterAQuietPhaseHasItsOwnGrace(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/miss-postgres-upgrading-cluster.yaml")
	began := golden.Now
	in := func(phase string) *unstructured.Unstructured {
		object := golden.Objects[0].(*unstructured.Unstructured).DeepCopy()
		ready := map[string]any{"type": "Ready", "status": "False", "reason": "ClusterIsNotReady", "lastTransitionTime": began.Format(time.RFC3339)}
		if err := errors.Join(
			unstructured.SetNestedField(object.Object, phase, "status", "phase"),
			unstructured.SetNestedSlice(object.Object, []any{ready}, "status", "conditions"),
		); err != nil {
			t.Fatal(err)
		}
		return object
	}
	for _, phase := range []string{"Waiting for user action", "Switchover in progress", "Failing over"} {
		t.Run(phase, func(t *testing.T) {
			play := analyzertest.NewPlay(t, made(t), began, in("Upgrading cluster"))
			play.Step(20 * time.Minute)
			turned := play.Clock.Now()
			analyzertest.Set(play, inputs.PostgresClusters, in(phase))
			play.Step(2 * time.Minute)
			play.Restart()
			// Of two phases that are not quiet, the second goes on with the first.
			analyzertest.Set(play, inputs.PostgresClusters, in("Waiting for the instances to become active"))
			play.Step(2 * time.Minute)
			if found := play.Found(); len(found) != 0 {
				t.Fatalf("found within the grace: %+v", found)
			}
			analyzertest.Set(play, inputs.PostgresClusters, in(phase))
			play.Step(time.Minute)
			if found := play.Found(); len(found) != 1 || !found[0].Since.Time.Equal(turned) {
				t.Fatalf("found after the grace is %+v, want one since %s", found, turned)
			}
			analyzertest.Set(play, inputs.PostgresClusters, in("Creating a new replica"))
			play.Step(20 * time.Minute)
			analyzertest.Set(play, inputs.PostgresClusters, in(phase))
			if found := play.Found(); len(found) != 0 {
				t.Fatalf("found at once after another quiet phase: %+v", found)
			}
		})
	}
}

func TestNumbersMayBeOfEitherKind(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-postgres-follower-lags.yaml")
	object := golden.Objects[0].(*unstructured.Unstructured)
	for _, path := range [][]string{{"spec", "instances"}, {"status", "instances"}, {"status", "readyInstances"}} {
		if err := unstructured.SetNestedField(object.Object, float64(inputs.NumberAt(object, path...)), path...); err != nil {
			t.Fatal(err)
		}
	}
	specs := analyzertest.Analyze(t, made(t), golden.Now, golden.After, golden.Objects)
	if len(specs) != 1 || specs[0].Reason != InstancesNotReady {
		t.Errorf("found is %v", specs)
	}
}

func TestAMessageIsBoundedHoweverMuchThePhaseSays(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-postgres-unrecoverable.yaml")
	object := golden.Objects[0].(*unstructured.Unstructured)
	for _, field := range []string{"phase", "phaseReason"} {
		if err := unstructured.SetNestedField(object.Object, strings.Repeat("ä", 100_000), "status", field); err != nil {
			t.Fatal(err)
		}
	}
	specs := analyzertest.Analyze(t, made(t), golden.Now, golden.After, golden.Objects)
	if len(specs) != 1 || len(specs[0].Message) > 1000 || !utf8.ValidString(specs[0].Message) {
		t.Errorf("found is %v", specs)
	}
}
