// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/live"
)

// Routes of the Gateway API, where it is installed, by the Services that they lead
// to, by their kind. Their status, which every controller of a Gateway writes, is read by nobody.
var Routes = map[string]live.Kind[*unstructured.Unstructured]{
	"GRPCRoute": newRoutes("grpcroutes", "v1", "v1beta1"),
	"HTTPRoute": newRoutes("httproutes", "v1", "v1beta1"),
	"TCPRoute":  newRoutes("tcproutes", "v1alpha2", "v1"),
	"TLSRoute":  newRoutes("tlsroutes", "v1alpha3", "v1", "v1alpha2"),
	"UDPRoute":  newRoutes("udproutes", "v1alpha2", "v1"),
}

func newRoutes(resource, version string, others ...string) live.Kind[*unstructured.Unstructured] {
	return NewCustom(
		schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: version, Resource: resource},
		CustomOptions{
			Versions: others, Without: [][]string{{"status"}},
			Indexes: map[string]func(*unstructured.Unstructured) []string{ByBackend: func(route *unstructured.Unstructured) []string {
				var services []string
				for _, service := range RouteBackends(route) {
					services = append(services, service.String())
				}
				return services
			}},
		},
	)
}

// RouteBackends are the Services that a route leads to, sorted. Backends of other
// kinds, and those that get none of the traffic, are left out.
func RouteBackends(route *unstructured.Unstructured) []live.Key {
	var services []live.Key
	for _, rule := range objectsAt(route.Object, "spec", "rules") {
		for _, backend := range objectsAt(rule, "backendRefs") {
			reference := &unstructured.Unstructured{Object: backend}
			kind, group := TextAt(reference, "kind"), TextAt(reference, "group")
			_, weighted := backend["weight"]
			if kind != "" && kind != "Service" || group != "" || weighted && NumberAt(reference, "weight") == 0 {
				continue
			}
			service := live.Key{Namespace: TextAt(reference, "namespace"), Name: TextAt(reference, "name")}
			if service.Namespace == "" {
				service.Namespace = route.GetNamespace()
			}
			if service.Name != "" {
				services = append(services, service)
			}
		}
	}
	slices.SortFunc(services, func(a, b live.Key) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(services)
}

// objectsAt are the objects of a list of objects at a path; what is not one is left out.
func objectsAt(object map[string]any, path ...string) []map[string]any {
	items, _, err := unstructured.NestedFieldNoCopy(object, path...)
	list, is := items.([]any)
	if err != nil || !is {
		return nil
	}
	var all []map[string]any
	for _, item := range list {
		if fields, is := item.(map[string]any); is {
			all = append(all, fields)
		}
	}
	return all
}
