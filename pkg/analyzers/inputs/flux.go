// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/live"
)

// What Flux applies, where it is installed, without what it applies and with which
// values: those may be secrets.
var (
	Kustomizations = NewCustom(
		schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"},
		CustomOptions{Versions: []string{"v1beta2"}, Without: [][]string{
			{"spec", "patches"}, {"spec", "images"}, {"spec", "postBuild"}, {"spec", "healthChecks"}, {"spec", "healthCheckExprs"},
			{"status", "inventory"},
		}, Indexes: map[string]func(*unstructured.Unstructured) []string{BySource: refersTo("spec", "sourceRef")}},
	)
	HelmReleases = NewCustom(
		schema.GroupVersionResource{Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"},
		CustomOptions{Versions: []string{"v2beta2"}, Without: [][]string{
			{"spec", "chart"}, {"spec", "values"}, {"spec", "valuesFrom"}, {"spec", "postRenderers"}, {"spec", "driftDetection"},
			{"status", "history"},
		}, Indexes: map[string]func(*unstructured.Unstructured) []string{
			BySource: refersTo("spec", "chartRef"),
			ByChart: func(in *unstructured.Unstructured) []string {
				if chart := TextAt(in, "status", "helmChart"); chart != "" {
					return []string{chart}
				}
				return nil
			},
		}},
	)
)

// Indexes of what Flux applies and fetches.
const (
	// ByChart finds HelmReleases by "NAMESPACE/NAME" of the HelmChart that was made for them.
	ByChart = "chart"
	// BySource finds what refers to a source by "KIND/NAMESPACE/NAME" of that.
	BySource = "source"
)

func refersTo(path ...string) func(*unstructured.Unstructured) []string {
	return func(in *unstructured.Unstructured) []string {
		at := func(field string) string { return TextAt(in, append(slices.Clone(path), field)...) }
		if at("kind") == "" || at("name") == "" {
			return nil
		}
		return []string{strings.Join([]string{at("kind"), cmp.Or(at("namespace"), in.GetNamespace()), at("name")}, "/")}
	}
}

// What Flux fetches, where it is installed, without how; of the artifact only whether
// there is one.
var (
	GitRepositories  = fluxSource("gitrepositories")
	OCIRepositories  = fluxSource("ocirepositories")
	Buckets          = fluxSource("buckets")
	HelmRepositories = fluxSource("helmrepositories")
	HelmCharts       = fluxSource("helmcharts")
)

func fluxSource(resource string) live.Kind[*unstructured.Unstructured] {
	return NewCustom(
		schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: resource},
		CustomOptions{
			Versions: []string{"v1beta2"},
			Indexes:  map[string]func(*unstructured.Unstructured) []string{BySource: refersTo("spec", "sourceRef")}, // of charts
			Without: [][]string{
				{"spec", "ignore"}, {"spec", "include"}, {"spec", "verify"}, {"spec", "valuesFiles"},
				{"status", "includedArtifacts"}, {"status", "observedInclude"}, {"status", "observedIgnore"}, {"status", "observedValuesFiles"},
			},
			Trim: func(in *unstructured.Unstructured) {
				if status, is := in.Object["status"].(map[string]any); is && status["artifact"] != nil {
					status["artifact"] = map[string]any{}
				}
			},
		},
	)
}
