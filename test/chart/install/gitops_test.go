// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/test/docs"
)

// registered are the objects by which the server is called, by kind, without what every
// object has of its own.
func (s *site) registered() map[string]map[string]any {
	s.Helper()
	found := map[string]map[string]any{}
	for kind, at := range map[string]struct {
		resource schema.GroupVersionResource
		name     string
	}{"APIService": {apiServices, "v1alpha1.srenix.io"}, "ValidatingWebhookConfiguration": {webhooks, "srenix"}} {
		object, err := s.dynamic.Resource(at.resource).Get(s.Context(), at.name, metav1.GetOptions{})
		if err != nil {
			s.Fatal(err)
		}
		delete(object.Object, "metadata")
		delete(object.Object, "status")
		found[kind] = object.Object
	}
	return found
}

// ignoredByGitOps holds what the server has filled in since to what docs/gitops.md has
// Argo CD and Flux ignore: without that, everything is as it was installed.
func (s *site) ignoredByGitOps(installed map[string]map[string]any) {
	s.Helper()
	for tool, paths := range s.pathsToIgnore() {
		now := s.registered()
		if cmp.Equal(installed, now) {
			s.Error("the server has filled in nothing")
		}
		for kind, of := range paths {
			for _, path := range of {
				remove(now[kind], path)
			}
		}
		if diff := cmp.Diff(installed, now); diff != "" {
			s.Errorf("with what %s ignores there remains a difference (-installed +now):\n%s", tool, diff)
		}
	}
}

// pathsToIgnore are the page's, by tool and kind; "*" is any element of a list.
func (s *site) pathsToIgnore() map[string]map[string][][]string {
	s.Helper()
	blocks, err := docs.Blocks("docs/gitops.md")
	if err != nil {
		s.Fatal(err)
	}
	found := map[string]map[string][][]string{}
	for _, block := range blocks {
		for _, text := range strings.Split(block.Text, "\n---\n") {
			object := unstructured.Unstructured{}
			if block.Language != "yaml" || !strings.HasPrefix(text, "apiVersion: ") || yaml.Unmarshal([]byte(text), &object.Object) != nil || object.GetName() != "srenix" {
				continue
			}
			switch object.GetKind() {
			case "Application":
				found["Argo CD"] = map[string][][]string{}
				for _, rule := range list(object.Object, "spec", "ignoreDifferences") {
					kind := rule["kind"].(string)
					for _, pointer := range texts(rule, "jsonPointers") {
						found["Argo CD"][kind] = append(found["Argo CD"][kind], strings.Split(pointer, "/")[1:])
					}
					for _, expression := range texts(rule, "jqPathExpressions") {
						path := strings.Split(strings.ReplaceAll(expression, "[]", ".*"), ".")[1:]
						found["Argo CD"][kind] = append(found["Argo CD"][kind], path)
					}
				}
			case "HelmRelease":
				found["Flux"] = map[string][][]string{}
				for _, rule := range list(object.Object, "spec", "driftDetection", "ignore") {
					kind, _, _ := unstructured.NestedString(rule, "target", "kind")
					for _, pointer := range texts(rule, "paths") {
						found["Flux"][kind] = append(found["Flux"][kind], strings.Split(pointer, "/")[1:])
					}
				}
			}
		}
	}
	for _, tool := range []string{"Argo CD", "Flux"} {
		if len(found[tool]["APIService"]) == 0 || len(found[tool]["ValidatingWebhookConfiguration"]) == 0 {
			s.Errorf("the page has %s ignore %v", tool, found[tool])
		}
	}
	return found
}

func list(object map[string]any, path ...string) []map[string]any {
	items, _, _ := unstructured.NestedSlice(object, path...)
	var maps []map[string]any
	for _, item := range items {
		maps = append(maps, item.(map[string]any))
	}
	return maps
}

func texts(object map[string]any, key string) []string {
	items, _, _ := unstructured.NestedStringSlice(object, key)
	return items
}

// remove takes a field out of what decoded JSON is made of.
func remove(value any, path []string) {
	switch value := value.(type) {
	case map[string]any:
		if len(path) == 1 {
			delete(value, path[0])
			return
		}
		remove(value[path[0]], path[1:])
	case []any:
		for i := range value {
			if path[0] == "*" || path[0] == strconv.Itoa(i) {
				remove(value[i], path[1:])
			}
		}
	}
}
