// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/live"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// definition of widgets that serves the given versions, of v1beta1 and v1, and
// stores the first.
func definition(serves ...string) *unstructured.Unstructured {
	var versions []any
	for _, version := range []string{"v1beta1", "v1"} {
		served, stored := false, false
		for i, name := range serves {
			served, stored = served || name == version, stored || name == version && i == 0
		}
		versions = append(versions, map[string]any{
			"name": version, "served": served, "storage": stored,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "widgets.live.example.com"},
		"spec": map[string]any{
			"group": "live.example.com", "scope": "Namespaced", "versions": versions,
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
		},
	}}
}

// widget creates one in a version, once that is served.
func widget(t *testing.T, client dynamic.Interface, version, namespace, name string) {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "live.example.com/" + version, "kind": "Widget",
		"metadata": map[string]any{"name": name, "namespace": namespace}, "spec": map[string]any{"size": "small"},
	}}
	resource := schema.GroupVersionResource{Group: "live.example.com", Version: version, Resource: "widgets"}
	eventually(t, "widgets to be served in "+version, func(ctx context.Context) (bool, string) {
		_, err := client.Resource(resource).Namespace(namespace).Create(ctx, object, metav1.CreateOptions{})
		if err != nil {
			return false, err.Error()
		}
		return true, ""
	})
}

// TestADefinitionComesChangesAndGoes takes the resource through the life of an
// operator: installed, upgraded to the next version, the old one withdrawn, removed.
func TestADefinitionComesChangesAndGoes(t *testing.T) {
	ns := namespace(t, "widgets")
	client := dynamicClient(t)
	if _, err := kube(t).CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "w"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	engine, _ := start(t, clock.RealClock{})
	says := func(want string) {
		t.Helper()
		eventually(t, "the mirror to say "+want, func(context.Context) (bool, string) {
			for _, status := range live.List(engine, live.Statuses()) {
				if status.State != live.Healthy {
					return false, status.Message
				}
			}
			mirror, ok := live.Get(engine, mirrors, live.Key{Namespace: ns, Name: "w"})
			if !ok {
				return false, "no mirror"
			}
			return mirror.Data["text"] == want, mirror.Data["text"]
		})
	}
	says("map[] map[]")
	if _, err := client.Resource(definitions).Create(t.Context(), definition("v1beta1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	widget(t, client, "v1beta1", ns, "w")
	says("map[] map[] live.example.com/v1beta1 small")

	update := func(serves ...string) {
		t.Helper()
		eventually(t, "the definition to be updated", func(ctx context.Context) (bool, string) {
			current, err := client.Resource(definitions).Get(ctx, "widgets.live.example.com", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			wanted := definition(serves...)
			current.Object["spec"] = wanted.Object["spec"]
			_, err = client.Resource(definitions).Update(ctx, current, metav1.UpdateOptions{})
			if err != nil {
				return false, err.Error()
			}
			return true, ""
		})
	}
	update("v1", "v1beta1")
	widget(t, client, "v1", ns, "another")
	says("map[] map[] live.example.com/v1 small") // as whoever begins only now reads it
	equalsAfresh(t, engine)
	update("v1")
	says("map[] map[] live.example.com/v1 small")
	equalsAfresh(t, engine)

	if err := client.Resource(definitions).Delete(t.Context(), "widgets.live.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	says("map[] map[]")
	equalsAfresh(t, engine)
}
