// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops follows docs/gitops.md: with Flux's own kustomize-controller on a
// local control plane, and with the languages that Argo CD and Flux say health in.
package gitops

import (
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/test/docs"
)

const page = "docs/gitops.md"

// manifest is one object of the page, as it is written there.
type manifest struct {
	unstructured.Unstructured
	text string
}

func blocks(t *testing.T) []docs.Block {
	t.Helper()
	found, err := docs.Blocks(page)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func manifests(t *testing.T) []manifest {
	t.Helper()
	var found []manifest
	for _, block := range blocks(t) {
		if block.Language != "yaml" {
			continue
		}
		for _, text := range strings.Split(block.Text, "\n---\n") {
			if !strings.HasPrefix(text, "apiVersion: ") {
				continue
			}
			one := manifest{text: text}
			if err := yaml.Unmarshal([]byte(text), &one.Object); err != nil {
				t.Fatalf("%s: %v", block, err)
			}
			found = append(found, one)
		}
	}
	return found
}

// the returns the object of the page of a kind and name.
func the(t *testing.T, kind, name string) manifest {
	t.Helper()
	for _, one := range manifests(t) {
		if one.GetKind() == kind && one.GetName() == name {
			return one
		}
	}
	t.Fatalf("%s has no %s %s", page, kind, name)
	return manifest{}
}

// The definitions of these are in no module, but their types are.
func TestWhatFluxHasTypesOfIsWrittenByThem(t *testing.T) {
	checked := 0
	for _, one := range manifests(t) {
		var into any
		switch one.GetKind() {
		case "HelmRelease":
			into = &helmv2.HelmRelease{}
		case "GitRepository":
			into = &sourcev1.GitRepository{}
		default:
			continue
		}
		checked++
		if err := yaml.UnmarshalStrict([]byte(one.text), into); err != nil {
			t.Errorf("%s %s: %v", one.GetKind(), one.GetName(), err)
		}
	}
	if checked < 2 {
		t.Errorf("there are %d objects of these kinds, want 2", checked)
	}
}
