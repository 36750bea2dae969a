// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

func TestMirrorRefusesWhatCannotBe(t *testing.T) {
	object := func(name, uid, version, text string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"text": text}}
		o.SetNamespace("shop")
		o.SetName(name)
		o.SetUID(types.UID(uid))
		o.SetResourceVersion(version)
		return o
	}
	for name, test := range map[string]struct {
		kind   watch.EventType
		object *unstructured.Unstructured
		want   string
	}{
		"a new object":                {watch.Added, object("b", "2", "11", "x"), ""},
		"an object that is there":     {watch.Added, object("a", "1", "11", "y"), "is there"},
		"another of the same name":    {watch.Added, object("a", "2", "11", "y"), "is there"},
		"a change":                    {watch.Modified, object("a", "1", "11", "y"), ""},
		"a change of nothing":         {watch.Modified, object("a", "1", "11", "x"), "what it is already"},
		"a change of what is not":     {watch.Modified, object("b", "2", "11", "x"), "is not there"},
		"a change of another":         {watch.Modified, object("a", "2", "11", "y"), "is not there"},
		"a deletion":                  {watch.Deleted, object("a", "1", "11", "x"), ""},
		"a deletion of what is not":   {watch.Deleted, object("b", "2", "11", "x"), "is not there"},
		"a deletion of another":       {watch.Deleted, object("a", "2", "11", "x"), "is not there"},
		"the version of the list":     {watch.Modified, object("a", "1", "10", "y"), "came after version 10"},
		"a version before":            {watch.Modified, object("a", "1", "9", "y"), "came after version 10"},
		"no version":                  {watch.Modified, object("a", "1", "", "y"), "reading the version"},
		"a bookmark":                  {watch.Bookmark, object("", "", "11", ""), ""},
		"a bookmark of where it is":   {watch.Bookmark, object("", "", "10", ""), ""},
		"a bookmark of what is past":  {watch.Bookmark, object("", "", "9", ""), "came after version 10"},
		"an error":                    {watch.Error, object("", "", "", ""), "failed"},
		"what no watch may ever tell": {"RENAMED", object("a", "1", "11", "y"), "no event"},
	} {
		t.Run(name, func(t *testing.T) {
			list := &unstructured.UnstructuredList{Items: []unstructured.Unstructured{*object("a", "1", "7", "x")}}
			list.SetResourceVersion("10")
			m, err := NewMirror(list)
			if err != nil {
				t.Fatal(err)
			}
			err = m.Apply(test.kind, test.object)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("have %v, want %q", err, test.want)
			}
		})
	}
}
