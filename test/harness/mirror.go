// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// Mirror is what a client knows from a list and the watch that follows. Unlike an
// informer, it does not put up with events that repeat or go back.
type Mirror struct {
	// Objects are by namespace and name.
	Objects map[string]*unstructured.Unstructured
	// Version is that of the list, then of the last event.
	Version uint64
}

// NewMirror returns what a client knows from a list.
func NewMirror(list *unstructured.UnstructuredList) (*Mirror, error) {
	version, err := strconv.ParseUint(list.GetResourceVersion(), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the version of a list: %w", err)
	}
	m := &Mirror{Objects: map[string]*unstructured.Unstructured{}, Version: version}
	for i := range list.Items {
		m.Objects[KeyOf(&list.Items[i])] = &list.Items[i]
	}
	return m, nil
}

// KeyOf is an object's key in a Mirror.
func KeyOf(object *unstructured.Unstructured) string {
	return object.GetNamespace() + "/" + object.GetName()
}

// Apply takes the next event over, or refuses one that cannot be: an object added that
// is there, changed or deleted that is not, changed to what it is already, or a version
// that does not go on.
func (m *Mirror) Apply(kind watch.EventType, object *unstructured.Unstructured) error {
	if kind == watch.Error {
		return fmt.Errorf("the watch failed: %v", object)
	}
	key := KeyOf(object)
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return fmt.Errorf("reading the version of %s in %s: %w", key, kind, err)
	}
	// Two events never share a version, for each has one change. A bookmark has that of
	// what came before it.
	if version < m.Version || version == m.Version && kind != watch.Bookmark {
		return fmt.Errorf("%s of %s at version %d came after version %d", kind, key, version, m.Version)
	}
	m.Version = version
	known := m.Objects[key]
	switch kind {
	case watch.Bookmark:
	case watch.Added:
		if known != nil {
			return fmt.Errorf("%s was added, and is there", key)
		}
		m.Objects[key] = object
	case watch.Modified:
		if known == nil || known.GetUID() != object.GetUID() {
			return fmt.Errorf("%s was modified, and is not there", key)
		}
		if SameContent(known, object) {
			return fmt.Errorf("%s was modified to what it is already", key)
		}
		m.Objects[key] = object
	case watch.Deleted:
		if known == nil || known.GetUID() != object.GetUID() {
			return fmt.Errorf("%s was deleted, and is not there", key)
		}
		delete(m.Objects, key)
	default:
		return fmt.Errorf("%s is no event", kind)
	}
	return nil
}

// SameContent tells whether two objects differ in their versions at most.
func SameContent(a, b *unstructured.Unstructured) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	a.SetResourceVersion("")
	b.SetResourceVersion("")
	return equality.Semantic.DeepEqual(a.Object, b.Object)
}
