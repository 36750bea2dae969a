// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/live"
)

// Definitions are the CustomResourceDefinitions, by the Service that converts between
// their versions. Of each only that is kept, and the names of its versions.
var Definitions = live.NewInput(
	schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	live.InputOptions[*unstructured.Unstructured]{
		Trim: trimDefinition,
		Indexes: map[string]func(*unstructured.Unstructured) []string{ByBackend: func(definition *unstructured.Unstructured) []string {
			if service, converts := Converter(definition); converts {
				return []string{service.String()}
			}
			return nil
		}},
	},
)

// Converter is the Service that is asked to convert the objects of a
// CustomResourceDefinition, and whether there is one. Nobody is asked while all that is
// served and stored is of one version.
func Converter(definition *unstructured.Unstructured) (live.Key, bool) {
	used, _, _ := unstructured.NestedStringSlice(definition.Object, "status", "storedVersions")
	for _, version := range objectsAt(definition.Object, "spec", "versions") {
		if version["served"] == true || version["storage"] == true {
			name, _ := version["name"].(string)
			used = append(used, name)
		}
	}
	slices.Sort(used)
	service := live.Key{
		Namespace: TextAt(definition, "spec", "conversion", "webhook", "clientConfig", "service", "namespace"),
		Name:      TextAt(definition, "spec", "conversion", "webhook", "clientConfig", "service", "name"),
	}
	asked := TextAt(definition, "spec", "conversion", "strategy") == "Webhook" && len(slices.Compact(used)) > 1
	return service, asked && service.Name != ""
}

func trimDefinition(in *unstructured.Unstructured) *unstructured.Unstructured {
	var versions []any
	for _, version := range objectsAt(in.Object, "spec", "versions") {
		versions = append(versions, map[string]any{"name": version["name"], "served": version["served"], "storage": version["storage"]})
	}
	conversion, _, _ := unstructured.NestedFieldNoCopy(in.Object, "spec", "conversion")
	stored, _, _ := unstructured.NestedFieldNoCopy(in.Object, "status", "storedVersions")
	in.Object["spec"] = map[string]any{"conversion": conversion, "versions": versions}
	in.Object["status"] = map[string]any{"storedVersions": stored}
	unstructured.RemoveNestedField(in.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(in.Object, "metadata", "annotations")
	return in
}
