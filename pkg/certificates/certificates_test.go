// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func of(issuer any, status map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"issuerRef": issuer}, "status": status}}
}

func TestWhenACertificateIsNearlyOver(t *testing.T) {
	for name, c := range map[string]struct{ begins, ends, renewal, want string }{
		"a quarter of a year":             {"2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z", "", "2026-03-30T00:00:00Z"},
		"a day":                           {"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "", "2026-01-01T21:36:00Z"},
		"a day, to be renewed late":       {"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-01T23:00:00Z", "2026-01-01T23:15:00Z"},
		"a day, to be renewed at its end": {"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-01T23:50:00Z", "2026-01-02T00:00:00Z"},
		"to be renewed a month before":    {"2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-30T00:00:00Z"},
		"nobody knows since when":         {"", "2026-04-01T00:00:00Z", "", "2026-04-01T00:00:00Z"},
		"nobody knows until when":         {"2026-01-01T00:00:00Z", "", "", ""},
		"it ends before it begins":        {"2026-05-01T00:00:00Z", "2026-04-01T00:00:00Z", "", "2026-04-01T00:00:00Z"},
		"times that nobody can read":      {"x", "y", "z", ""},
	} {
		var want time.Time
		if c.want != "" {
			parsed, err := time.Parse(time.RFC3339, c.want)
			if err != nil {
				t.Fatal(err)
			}
			want = parsed
		}
		if have := NearlyOver(of(nil, map[string]any{"notBefore": c.begins, "notAfter": c.ends, "renewalTime": c.renewal})); !have.Equal(want) {
			t.Errorf("%s: have %s, want %s", name, have, want)
		}
	}
}

func TestWhetherTwoAreOfOneIssuer(t *testing.T) {
	whole := map[string]any{"group": "cert-manager.io", "kind": "Issuer", "name": "ca"}
	for name, c := range map[string]struct {
		a, b any
		want bool
	}{
		"the same":               {whole, whole, true},
		"the standards left out": {whole, map[string]any{"name": "ca"}, true},
		"another name":           {whole, map[string]any{"name": "letsencrypt"}, false},
		"another kind":           {whole, map[string]any{"name": "ca", "kind": "ClusterIssuer"}, false},
		"another group":          {whole, map[string]any{"name": "ca", "group": "example.com"}, false},
		"no names":               {map[string]any{}, map[string]any{}, false},
		"none":                   {nil, nil, false},
		"junk":                   {"ca", []any{int64(1)}, false},
	} {
		if SameIssuer(of(c.a, nil), of(c.b, nil)) != c.want || SameIssuer(of(c.b, nil), of(c.a, nil)) != c.want {
			t.Errorf("%s: want %t", name, c.want)
		}
	}
}
