// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files are the contents of a folder by their names.
type files map[string]string

// folder writes the files.
func (f files) folder(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range f {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// with returns the files and some more, or others in their place.
func (f files) with(more files) files {
	all := files{}
	for _, some := range []files{f, more} {
		for name, content := range some {
			all[name] = content
		}
	}
	return all
}

// without returns the files but for one.
func (f files) without(name string) files {
	all := f.with(nil)
	delete(all, name)
	return all
}

func rules(t testing.TB) []live.Rule {
	t.Helper()
	configuration := defaults(t)
	rules, err := catalog.Build(configuration, "srenix-system", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return append(rules, proposals.Rules(configuration, "srenix-system")...)
}

func defaults(t testing.TB) *config.SrenixConfiguration {
	t.Helper()
	configuration, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return configuration
}

// wantedResources are all that the rules read, sorted.
func wantedResources(t testing.TB) []schema.GroupResource {
	t.Helper()
	var all []schema.GroupResource
	for resource := range newDump(rules(t), Limits{}, time.Now(), &Progress{}).wanted {
		all = append(all, resource)
	}
	slices.SortFunc(all, func(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) })
	return all
}

const emptyList = "apiVersion: v1\nitems: []\nkind: List\nmetadata:\n  resourceVersion: \"\"\n"

// empty are files of a cluster that has nothing.
func empty(t testing.TB) files {
	t.Helper()
	all := files{}
	for _, resource := range wantedResources(t) {
		all[resource.String()+".yaml"] = emptyList
	}
	return all
}

// list is what kubectl prints of objects.
func list(t testing.TB, objects ...any) string {
	t.Helper()
	if objects == nil {
		objects = []any{}
	}
	data, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects, "metadata": map[string]any{"resourceVersion": ""}})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// object reads one object out of YAML.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	object := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func asJSON(t testing.TB, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func options(t testing.TB, path string) Options {
	return Options{Path: path, Configuration: defaults(t), Namespace: "srenix-system", Progress: &Progress{}}
}

// read reads what has to be readable.
func read(t testing.TB, path string, change ...func(*Options)) *Cluster {
	t.Helper()
	o := options(t, path)
	for _, change := range change {
		change(&o)
	}
	cluster, err := Read(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// found are all findings, a line each, without those of analyzers that cannot see.
func found(cluster *Cluster) []string {
	lines := []string{}
	add := func(spec *v1alpha1.FindingSpec) {
		if spec.Reason != v1alpha1.ReasonAnalyzerDegraded && spec.Reason != v1alpha1.ReasonAnalyzerOff {
			lines = append(lines, fmt.Sprintf("%s %s %s/%s since %s", spec.Reason, spec.Severity, spec.Subject.Kind, spec.Subject.Name, spec.Since.UTC().Format(time.RFC3339)))
		}
	}
	for _, finding := range cluster.Findings {
		add(&finding.Spec)
	}
	for _, finding := range cluster.ClusterFindings {
		add(&finding.Spec)
	}
	slices.Sort(lines)
	return lines
}

// degraded are the findings about analyzers that cannot see, by analyzer.
func degraded(cluster *Cluster) map[string]*v1alpha1.FindingSpec {
	all := map[string]*v1alpha1.FindingSpec{}
	for _, finding := range cluster.ClusterFindings {
		if finding.Spec.Reason == v1alpha1.ReasonAnalyzerDegraded {
			all[finding.Spec.Analyzer] = &finding.Spec
		}
	}
	return all
}

func broken(cluster *Cluster) string {
	var lines []string
	for _, part := range cluster.Broken {
		lines = append(lines, part.File+": "+part.Err.Error())
	}
	return strings.Join(lines, "\n")
}
