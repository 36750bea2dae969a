// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	tableType        = "application/json;as=Table;v=v1;g=meta.k8s.io"
	metadataType     = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	metadataListType = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	protobufType     = "application/vnd.kubernetes.protobuf"
)

// rowsOf are the rows of a Table with the kind of object in each.
func rowsOf(t *testing.T, table *unstructured.Unstructured) (cells [][]any, kinds []string) {
	t.Helper()
	if table.GetKind() != "Table" || table.GetAPIVersion() != "meta.k8s.io/v1" {
		t.Fatalf("have %s %s, want a Table", table.GetAPIVersion(), table.GetKind())
	}
	if rows, found := table.Object["rows"]; found && rows == nil {
		return nil, nil // That is how kube-apiserver writes none.
	}
	rows, found, err := unstructured.NestedSlice(table.Object, "rows")
	if err != nil || !found {
		t.Fatalf("the table's rows: %v", err)
	}
	for _, row := range rows {
		row := row.(map[string]any)
		cells = append(cells, row["cells"].([]any))
		object, _ := row["object"].(map[string]any)
		kind, _ := object["kind"].(string)
		kinds = append(kinds, kind)
	}
	return cells, kinds
}

func columnsOf(table *unstructured.Unstructured) int {
	columns, _, _ := unstructured.NestedSlice(table.Object, "columnDefinitions")
	return len(columns)
}

func TestTables(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		list := s.client.get(t, s.path, "", jsonType).list(t)
		for query, kind := range map[string]string{
			"":                       "PartialObjectMetadata",
			"includeObject=Metadata": "PartialObjectMetadata",
			"includeObject=Object":   list.Items[0].GetKind(),
			"includeObject=None":     "",
		} {
			t.Run("listed with "+query, func(t *testing.T) {
				table := &unstructured.Unstructured{}
				must(t, table.UnmarshalJSON(s.client.get(t, s.path, query, tableType).body))
				cells, kinds := rowsOf(t, table)
				if len(cells) != len(list.Items) {
					t.Fatalf("%d rows, want %d", len(cells), len(list.Items))
				}
				for i := range cells {
					if cells[i][0] != list.Items[i].GetName() || kinds[i] != kind || len(cells[i]) != columnsOf(table) {
						t.Errorf("row %d of %d columns is %v with a %s, want %s with a %s", i, columnsOf(table), cells[i], kinds[i], list.Items[i].GetName(), kind)
					}
				}
				if table.GetResourceVersion() != list.GetResourceVersion() && version(t, table.GetResourceVersion()) < version(t, list.GetResourceVersion()) {
					t.Errorf("the table is of version %s, the list before it of %s", table.GetResourceVersion(), list.GetResourceVersion())
				}
			})
		}
		t.Run("in pages", func(t *testing.T) {
			table := &unstructured.UnstructuredList{}
			must(t, table.UnmarshalJSON(s.client.get(t, s.path, "limit=2", tableType).body))
			if table.GetContinue() == "" || table.GetRemainingItemCount() == nil || *table.GetRemainingItemCount() != int64(len(list.Items)-2) {
				t.Errorf("continue %q, remainingItemCount %v", table.GetContinue(), table.GetRemainingItemCount())
			}
		})
		t.Run("with an unknown sort of object", func(t *testing.T) {
			checkRefusal(t, s.client.get(t, s.path, "includeObject=Everything", tableType), http.StatusBadRequest, metav1.StatusReasonBadRequest)
		})
		t.Run("of nothing", func(t *testing.T) {
			table := &unstructured.Unstructured{}
			must(t, table.UnmarshalJSON(s.client.get(t, s.path, selecting("fieldSelector", "metadata.name=missing"), tableType).body))
			if cells, _ := rowsOf(t, table); len(cells) != 0 || columnsOf(table) == 0 {
				t.Errorf("%d rows and %d columns", len(cells), columnsOf(table))
			}
		})
		t.Run("watched", func(t *testing.T) {
			w := s.client.watch(t, s.path, selecting("resourceVersion", list.GetResourceVersion()), tableType)
			s.change(t, watch.Modified, "c")
			s.change(t, watch.Deleted, "d")
			s.change(t, watch.Added, "d")
			for i, kind := range []watch.EventType{watch.Modified, watch.Deleted, watch.Added} {
				e := w.next(t)
				cells, kinds := rowsOf(t, e.object)
				if e.kind != kind || len(cells) != 1 || kinds[0] != "PartialObjectMetadata" {
					t.Fatalf("have %s with rows %v of %v, want %s with one", e.kind, cells, kinds, kind)
				}
				// The columns are said once.
				if have := columnsOf(e.object) > 0; have != (i == 0) {
					t.Errorf("event %d has columns: %t", i, have)
				}
			}
		})
	})
}

// TestTablesOfInitialEvents is what `kubectl get -w` asks for where it streams.
func TestTablesOfInitialEvents(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		_, names := s.current(t)
		w := s.client.watch(t, s.path, streamedList, tableType)
		for range names {
			e := w.next(t)
			if cells, _ := rowsOf(t, e.object); e.kind != watch.Added || len(cells) != 1 {
				t.Errorf("have %s with %d rows, want ADDED with one", e.kind, len(cells))
			}
		}
		end := w.next(t)
		_, kinds := rowsOf(t, end.object)
		if end.kind != watch.Bookmark || len(kinds) != 1 || kinds[0] != "PartialObjectMetadata" {
			t.Fatalf("have %s with rows of %v, want a bookmark with one", end.kind, kinds)
		}
		rows, _, _ := unstructured.NestedSlice(end.object.Object, "rows")
		annotations, _, _ := unstructured.NestedStringMap(rows[0].(map[string]any), "object", "metadata", "annotations")
		if diff := cmp.Diff(map[string]string{metav1.InitialEventsAnnotationKey: "true"}, annotations); diff != "" {
			t.Errorf("the bookmark's annotations (-want +have):\n%s", diff)
		}
	})
}

func TestMetadataOnly(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		whole := s.client.get(t, s.path, "", jsonType).list(t)
		bare := func(object *unstructured.Unstructured) map[string]any {
			metadata, _, _ := unstructured.NestedMap(object.Object, "metadata")
			return map[string]any{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
		}
		list := s.client.get(t, s.path, "", metadataListType).list(t)
		if list.GetKind() != "PartialObjectMetadataList" {
			t.Errorf("the list is a %s", list.GetKind())
		}
		checkVersions(t, list)
		for i := range whole.Items {
			have := list.Items[i].Object
			have["kind"], have["apiVersion"] = "PartialObjectMetadata", "meta.k8s.io/v1"
			if diff := cmp.Diff(bare(&whole.Items[i]), have); diff != "" {
				t.Errorf("listed (-want +have):\n%s", diff)
			}
		}
		one := &unstructured.Unstructured{}
		must(t, one.UnmarshalJSON(s.client.get(t, s.path+"/"+whole.Items[0].GetName(), "", metadataType).body))
		if diff := cmp.Diff(bare(&whole.Items[0]), one.Object); diff != "" {
			t.Errorf("got (-want +have):\n%s", diff)
		}
		w := s.client.watch(t, s.path, streamedList, metadataType)
		initial := w.until(t, event.endsInitial)
		for _, e := range append(initial, func() event { s.change(t, watch.Deleted, "d"); return w.change(t) }()) {
			if _, has := e.object.Object["spec"]; has || e.object.Object["rules"] != nil || e.object.GetKind() != "PartialObjectMetadata" {
				t.Errorf("%s of %v, want metadata only", e.kind, e.object)
			}
		}
		if len(initial) != len(whole.Items)+1 {
			t.Errorf("%d initial events, want %d", len(initial), len(whole.Items)+1)
		}
	})
}

// TestAcceptedTypes is about clients that would rather have another encoding:
// they get it, or the next that they name, or 406.
func TestAcceptedTypes(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	name := withFindings(t, ns, "a").Items[0].GetName()
	for accept, want := range map[string]struct {
		code int
		kind string // What comes, as Content-Type.
	}{
		jsonType:                                  {http.StatusOK, jsonType},
		"*/*":                                     {http.StatusOK, jsonType},
		"application/yaml":                        {http.StatusOK, "application/yaml"},
		protobufType + "," + jsonType:             {http.StatusOK, jsonType},
		protobufType:                              {http.StatusNotAcceptable, ""},
		"application/vnd.other":                   {http.StatusNotAcceptable, ""},
		"application/vnd.other," + jsonType:       {http.StatusOK, jsonType},
		tableType + "," + jsonType:                {http.StatusOK, jsonType},
		"application/json;as=Other;v=v1;g=x":      {http.StatusNotAcceptable, ""},
		"application/json;as=Other;v=v1;g=x, */*": {http.StatusOK, jsonType},
	} {
		for what, path := range map[string]string{"list": findings(ns), "get": findings(ns) + "/" + name, "watch": findings(ns) + "?watch=true&timeoutSeconds=1"} {
			want := want
			if what == "watch" && accept == "application/yaml" {
				want.code = http.StatusNotAcceptable // YAML has no framing for a stream.
			}
			t.Run(what+" as "+accept, func(t *testing.T) {
				t.Parallel()
				answered := c.get(t, path, "", accept)
				if answered.code != want.code {
					t.Fatalf("have %d, want %d: %.300q", answered.code, want.code, answered.body)
				}
				if have := answered.header.Get("Content-Type"); want.code == http.StatusOK && have != want.kind {
					t.Errorf("have %s, want %s", have, want.kind)
				}
			})
		}
	}
}
