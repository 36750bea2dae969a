// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart renders the Helm chart with Helm's own packages. It is a module of
// its own, so that they stay out of the product's.
package chart

import (
	"fmt"
	"path/filepath"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/test/plane"
)

const (
	// ReleaseName is what tests call their release.
	ReleaseName = "first"
	// Namespace is where the manifests of the kustomize base install srenix.
	Namespace = "srenix-system"
	// kubernetesVersion is that of the local control plane.
	kubernetesVersion = "v1.37.2"
)

// Dir returns the chart's directory.
func Dir() (string, error) {
	root, err := plane.Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "artifacts", "charts", "srenix"), nil
}

// Load reads the chart.
func Load() (*chartv2.Chart, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	return load(dir)
}

func load(dir string) (*chartv2.Chart, error) {
	chart, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("loading the chart: %w", err)
	}
	return chart, nil
}

// Rendered is what a release consists of.
type Rendered struct {
	// Manifest is all objects but hooks, in YAML.
	Manifest string
	// Objects are those of Manifest.
	Objects []*unstructured.Unstructured
	// Hooks in the order in which they run.
	Hooks []*release.Hook
	Notes string
}

// Render renders the chart in a namespace, with values in YAML over its own. It
// talks to no cluster.
func Render(namespace, values string) (*Rendered, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	return RenderDir(dir, ReleaseName, namespace, values)
}

// RenderDir does so with the chart in a directory, as a release of a name.
func RenderDir(dir, name, namespace, values string) (*Rendered, error) {
	chart, err := load(dir)
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		return nil, fmt.Errorf("reading values: %w", err)
	}
	version, err := common.ParseKubeVersion(kubernetesVersion)
	if err != nil {
		return nil, err
	}
	install := action.NewInstall(action.NewConfiguration())
	install.DryRunStrategy = action.DryRunClient
	install.ReleaseName, install.Namespace, install.KubeVersion = name, namespace, version
	made, err := install.Run(chart, given)
	if err != nil {
		return nil, err
	}
	rendered := made.(*release.Release)
	out := &Rendered{Manifest: rendered.Manifest, Hooks: rendered.Hooks, Notes: rendered.Info.Notes}
	out.Objects, err = Decode(rendered.Manifest)
	return out, err
}

// Decode reads the objects of a stream of YAML documents.
func Decode(manifest string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq("\n"+manifest, "\n---") {
		content, err := yaml.YAMLToJSONStrict([]byte(document))
		if err != nil {
			return nil, fmt.Errorf("reading a document: %w\n%s", err, document)
		}
		if string(content) == "null" {
			continue
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			return nil, fmt.Errorf("reading a document: %w\n%s", err, document)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// Kustomization returns the objects of a folder of artifacts/kustomize.
func Kustomization(folder string) ([]*unstructured.Unstructured, error) {
	root, err := plane.Root()
	if err != nil {
		return nil, err
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
		Run(filesys.MakeFsOnDisk(), filepath.Join(root, "artifacts", "kustomize", folder))
	if err != nil {
		return nil, fmt.Errorf("building kustomization %s: %w", folder, err)
	}
	var objects []*unstructured.Unstructured
	for _, resource := range resources.Resources() {
		content, err := resource.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("encoding %s: %w", resource.CurId(), err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			return nil, fmt.Errorf("reading %s: %w", resource.CurId(), err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}
