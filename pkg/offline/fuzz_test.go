// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// parts are what documents hands on.
type parts struct {
	objects []map[string]any
	lists   []string
	broken  int
}

func partsOf(t testing.TB, content string) parts {
	t.Helper()
	var have parts
	err := documents(strings.NewReader(content), 1<<16, handler{
		object: func(object map[string]any) error { have.objects = append(have.objects, object); return nil },
		list: func(version, kind string, n int) error {
			have.lists = append(have.lists, fmt.Sprint(version, kind, n))
			return nil
		},
		broken: func(error) { have.broken++ },
		cut:    func(string, string, error) { have.broken++ },
	})
	if err != nil {
		have.broken++
	}
	return have
}

// FuzzDocuments holds what is read item by item to what a whole parse of the document
// gives.
func FuzzDocuments(f *testing.F) {
	f.Add(list(f, object(f, webPod), object(f, wellPod)))
	f.Add("kind: List\nitems:\n  - kind: A\n    apiVersion: v1\n    t: |\n     - x\n    #c\n# c\n  - {kind: B, apiVersion: v1}\nx: y\n")
	f.Add("items:\n- kind: A\nkind: AList\napiVersion: v1\n")
	f.Add("items:\n\n-\n  - 1\n- a: \"x\n  y\"\nkind: List\n")
	f.Add("{\"kind\": \"AList\", \"items\": [{}]}")
	f.Fuzz(func(t *testing.T, content string) {
		have := partsOf(t, content)
		if have.broken > 0 || len(have.lists) != 1 || isJSON([]byte(content)) || strings.Contains(content, "\n---") || strings.Contains(content, "\n...") {
			return
		}
		converted, err := yaml.YAMLToJSONStrict([]byte(content))
		if err != nil {
			return // an item alone may be fit though the whole is not
		}
		value, err := decoded(converted)
		if err != nil {
			t.Fatal(err)
		}
		whole, _ := value.(map[string]any)
		items, _ := whole["items"].([]any)
		kind, _ := whole["kind"].(string)
		var want []map[string]any
		for _, item := range items {
			object, is := item.(map[string]any)
			if !is {
				return
			}
			if object["kind"] == nil || object["apiVersion"] == nil {
				return // which comes after the others
			}
			want = append(want, object)
		}
		if diff := cmp.Diff(want, have.objects); diff != "" {
			t.Errorf("%s (-whole +in parts)\n%s", kind, diff)
		}
	})
}
