// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/live"
)

// Pods of a Service that come and go must evaluate nothing while the answer is the
// same, and whatever makes another answer must.
func TestAnEndpointMoreIsNoChange(t *testing.T) {
	trimmed := func(version string, ready ...bool) *discoveryv1.EndpointSlice {
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", ResourceVersion: version, Generation: 7}}
		for i := range ready {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{version}, Conditions: discoveryv1.EndpointConditions{Ready: &ready[i]},
			})
		}
		return trimEndpointSlice(slice)
	}
	for name, c := range map[string]struct {
		before, after []bool
		same          bool
	}{
		"one more":              {[]bool{true}, []bool{true, true}, true},
		"another order":         {[]bool{true, false}, []bool{false, false, true}, true},
		"the last is not ready": {[]bool{true}, []bool{false}, false},
		"one is not ready":      {[]bool{true}, []bool{true, false}, false},
		"none is left":          {[]bool{false}, nil, false},
	} {
		if same := cmp.Equal(trimmed("1", c.before...), trimmed("2", c.after...)); same != c.same {
			t.Errorf("%s: the same is %t, want %t", name, same, c.same)
		}
	}
}

func TestRoutesLeadToServices(t *testing.T) {
	backend := func(fields ...any) map[string]any {
		all := map[string]any{}
		for i := 0; i < len(fields); i += 2 {
			all[fields[i].(string)] = fields[i+1]
		}
		return all
	}
	route := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": "shop", "name": "web"},
		"spec": map[string]any{"rules": []any{
			map[string]any{"backendRefs": []any{
				backend("name", "web"), backend("name", "api", "namespace", "back", "kind", "Service", "group", "", "weight", int64(1)),
				backend("name", "none", "weight", int64(0)), backend("name", "none", "weight", float64(0)), backend("name", "half", "weight", float64(50)),
			}},
			map[string]any{"backendRefs": []any{backend("name", "web"), backend("name", "import", "kind", "ServiceImport", "group", "multicluster.x-k8s.io")}},
		}},
	}}
	want := []live.Key{{Namespace: "back", Name: "api"}, {Namespace: "shop", Name: "half"}, {Namespace: "shop", Name: "web"}}
	if diff := cmp.Diff(want, RouteBackends(route)); diff != "" {
		t.Errorf("Services (-want +have):\n%s", diff)
	}
}
