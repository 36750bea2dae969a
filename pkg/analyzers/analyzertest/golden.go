// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package analyzertest runs an analyzer over golden objects. A golden is a YAML
// file that a person can apply; comments at its top say at what time it is looked
// at and which findings there must be:
//
//	# now: 2026-01-02T12:00:00Z
//	# after: 10m
//	# want: OrdinalZeroNotReady Warning StatefulSet/web since 2026-01-02T11:00:00Z
//
// With "after" the objects are looked at again that much later, which is how a
// time that no object carries is tested.
// A near miss has no "want" line: nothing must be found.
package analyzertest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// Run checks every golden in testdata. Each reason of the analyzer must be found
// in one of them, and at least one must be a near miss.
func Run(t *testing.T, analyzer analyzers.Analyzer) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding goldens: %v", err)
	}
	found, misses := map[string]bool{}, 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			golden := read(t, file)
			want, have := golden.want, []string{}
			for _, spec := range Analyze(t, analyzer, golden.now, golden.after, golden.objects) {
				line := fmt.Sprintf("%s %s %s/%s since %s", spec.Reason, spec.Severity, spec.Subject.Kind, spec.Subject.Name, spec.Since.UTC().Format(time.RFC3339))
				have = append(have, line)
				check(t, spec)
			}
			slices.Sort(have)
			slices.Sort(want)
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("findings (-want +have):\n%s", diff)
			}
			if len(want) == 0 {
				misses++
			}
			for _, line := range want {
				found[strings.Fields(line)[0]] = true
			}
		})
	}
	for _, reason := range analyzer.Reasons {
		if !found[reason.Name] {
			t.Errorf("no golden has reason %s", reason.Name)
		}
	}
	if misses == 0 {
		t.Error("no golden is a near miss")
	}
}

// check holds a finding to what every finding must have.
func check(t *testing.T, spec v1alpha1.FindingSpec) {
	t.Helper()
	if spec.Message == "" || spec.Remediation.Text == "" || len(spec.Remediation.Commands) == 0 || spec.Subject.UID == "" || spec.Since.IsZero() {
		t.Errorf("a finding lacks message, remediation, subject's UID or since: %+v", spec)
	}
	for _, command := range spec.Remediation.Commands {
		if strings.ContainsAny(command, "<>") || !strings.Contains(command, " ") {
			t.Errorf("a command is not complete: %q", command)
		}
	}
}

// Analyze runs the analyzer on a live view of the objects, at a time and again
// some time after, and returns the findings that there are then.
func Analyze(t *testing.T, analyzer analyzers.Analyzer, now time.Time, after time.Duration, objects []live.Object) []v1alpha1.FindingSpec {
	t.Helper()
	clock := testingclock.NewFakeClock(now)
	engine := live.New(live.Options{Clock: clock})
	for _, rule := range analyzers.LiveRules(analyzer) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	cluster := &livetest.Cluster{}
	for _, object := range objects {
		cluster.Set(resourceOf(t, object), object)
	}
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	if after > 0 {
		clock.Step(after)
		livetest.Eventually(t, "everything is evaluated again", engine.Settled)
	}
	var specs []v1alpha1.FindingSpec
	for _, finding := range live.List(engine, analyzers.DetectedFindings) {
		specs = append(specs, finding.Spec)
	}
	for _, finding := range live.List(engine, analyzers.DetectedClusterFindings) {
		specs = append(specs, finding.Spec)
	}
	return specs
}

// resourceOf names the resource of a kind.
func resourceOf(t *testing.T, object live.Object) schema.GroupVersionResource {
	t.Helper()
	kind := object.GetObjectKind().GroupVersionKind()
	if _, custom := object.(*unstructured.Unstructured); !custom {
		gvks, _, err := scheme.Scheme.ObjectKinds(object)
		if err != nil {
			t.Fatal(err)
		}
		kind = gvks[0]
	}
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	return plural
}

func asJSON(t *testing.T, document []byte) []byte {
	t.Helper()
	converted, err := utilyaml.ToJSON(document)
	if err != nil {
		t.Fatal(err)
	}
	return converted
}

// golden is what a file says.
type golden struct {
	now     time.Time
	after   time.Duration
	want    []string
	objects []live.Object
}

func read(t *testing.T, file string) golden {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g := golden{want: []string{}}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "# now: "); ok {
			if g.now, err = time.Parse(time.RFC3339, text); err != nil {
				t.Fatal(err)
			}
		}
		if text, ok := strings.CutPrefix(line, "# after: "); ok {
			if g.after, err = time.ParseDuration(text); err != nil {
				t.Fatal(err)
			}
		}
		if text, ok := strings.CutPrefix(line, "# want: "); ok {
			g.want = append(g.want, text)
		}
	}
	if g.now.IsZero() {
		t.Fatalf("%s does not say at what time it is looked at", file)
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if runtime.IsNotRegisteredError(err) { // a custom resource
			decoded, _, err = unstructured.UnstructuredJSONScheme.Decode(asJSON(t, document), nil, nil)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		g.objects = append(g.objects, decoded.(live.Object))
	}
}
