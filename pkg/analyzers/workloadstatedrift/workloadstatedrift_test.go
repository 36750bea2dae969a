// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloadstatedrift

import (
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
