// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import "k8s.io/apimachinery/pkg/runtime/schema"

// What Flux applies, where it is installed, without what it applies and with which
// values: those may be secrets.
var (
	Kustomizations = NewCustom(
		schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"},
		CustomOptions{Versions: []string{"v1beta2"}, Without: [][]string{
			{"spec", "patches"}, {"spec", "images"}, {"spec", "postBuild"}, {"spec", "healthChecks"}, {"spec", "healthCheckExprs"},
			{"status", "inventory"},
		}},
	)
	HelmReleases = NewCustom(
		schema.GroupVersionResource{Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"},
		CustomOptions{Versions: []string{"v2beta2"}, Without: [][]string{
			{"spec", "chart"}, {"spec", "values"}, {"spec", "valuesFrom"}, {"spec", "postRenderers"}, {"spec", "driftDetection"},
			{"status", "history"},
		}},
	)
)
