// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"reflect"
	"slices"
	"sort"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// Key identifies one object of a collection. Namespace is empty for
// cluster-scoped objects.
type Key = types.NamespacedName

// Object is what a collection holds: any pointer to a Kubernetes API type.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is the typed handle of one collection. It holds no data: the same handle
// may be used with any number of engines. Two handles are equal only when they
// come from the same call of NewInput or NewDerived, so declare each once.
//
// Objects that a handle returns are shared and read-only: whoever wants to
// change one makes a DeepCopy first.
type Kind[T Object] struct{ kind *kind }

// KindRef is the untyped form of a Kind, comparable by identity.
type KindRef struct{ kind *kind }

// kind is the declaration behind a handle.
type kind struct {
	name     string
	resource schema.GroupVersionResource
	derived  bool
	optional bool
	advisory bool
	labels   string   // label selector of what is read of an input, "" for all
	fields   string   // field selector of the same
	versions []string // in order of preference; those of resource, of an input
	indexes  []index
	example  func() Object
	holds    func(Object) bool
	trim     func(Object) Object
}

// index extracts the values under which an object is found by ByIndex.
type index struct {
	name    string
	extract func(Object) []string
}

// InputOptions says what is kept of an input and how it can be looked up.
type InputOptions[T Object] struct {
	// Trim keeps only what rules read. It runs before anything is stored, may
	// change and return its argument, and must leave name, namespace and labels
	// alone. Trimming a trimmed object must change nothing. If Trim also clears
	// the resourceVersion, an update which touched only what was trimmed away
	// makes no event at all.
	Trim func(T) T
	// Indexes are functions from an object to the values it is found under, by
	// index name. They must depend on nothing but the object.
	Indexes map[string]func(T) []string
	// Optional says that the resource may be absent from the cluster, as with a
	// CRD: "not installed" is then a known state, in which the collection is
	// empty. Without it, absence is unknown like any other failure.
	Optional bool
	// Advisory says that the objects only add to what is so, and nothing follows
	// from their absence that must not be said: while they cannot be read, rules go
	// on with what was read last, or with none, and are reported as degraded all
	// the same. It is for annotations that people make, never for what is looked for.
	Advisory bool
	// LabelSelector limits what is read to objects with such labels, as kubectl
	// writes it; everything if empty.
	LabelSelector string
	// FieldSelector limits what is read to objects with such fields, as the API
	// server supports them for the resource; everything if empty.
	FieldSelector string
	// Versions are read instead of the resource's own version where the cluster
	// does not serve that one, the first that it serves. Objects tell by their
	// apiVersion which one it is, so they must be *unstructured.Unstructured or
	// *metav1.PartialObjectMetadata.
	Versions []string
}

// NewInput declares a collection fed from the API server by listing and
// watching resource in all namespaces. T must be a pointer type.
func NewInput[T Object](resource schema.GroupVersionResource, options InputOptions[T]) Kind[T] {
	k := newKind(resource.GroupResource().String(), options.Indexes)
	k.resource = resource
	k.optional, k.advisory = options.Optional, options.Advisory
	k.labels, k.fields = options.LabelSelector, options.FieldSelector
	k.versions = append([]string{resource.Version}, options.Versions...)
	switch k.example().(type) {
	case *metav1.PartialObjectMetadata:
		k.name += " (metadata)"
	case *unstructured.Unstructured:
	default:
		if len(options.Versions) > 0 {
			panic("live: " + k.name + " is read as a type, which has one version only")
		}
	}
	if trim := options.Trim; trim != nil {
		k.trim = func(object Object) Object { return trim(object.(T)) }
	}
	return Kind[T]{k}
}

// NewDerived declares a collection computed by rules. Its name shows in errors,
// statuses and metrics. T must be a pointer type without unexported fields, since
// objects are compared by value.
func NewDerived[T Object](name string, indexes map[string]func(T) []string) Kind[T] {
	k := newKind(name, indexes)
	k.derived = true
	return Kind[T]{k}
}

func newKind[T Object](name string, indexes map[string]func(T) []string) *kind {
	pointer := reflect.TypeFor[T]()
	if pointer.Kind() != reflect.Pointer {
		panic("live: the objects of " + name + " must be of a pointer type, not " + pointer.String())
	}
	k := &kind{
		name:    name,
		example: func() Object { return reflect.New(pointer.Elem()).Interface().(Object) },
		holds: func(object Object) bool {
			typed, ok := object.(T)
			return ok && !reflect.ValueOf(typed).IsNil()
		},
	}
	for indexName, values := range indexes {
		k.indexes = append(k.indexes, index{
			name:    indexName,
			extract: func(object Object) []string { return values(object.(T)) },
		})
	}
	sort.Slice(k.indexes, func(i, j int) bool { return k.indexes[i].name < k.indexes[j].name })
	return k
}

// try returns the values of an object, or that the function panicked.
func (ix *index) try(object Object) (found []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = nil, fmt.Errorf("index function %s panicked for %s: %v", ix.name, keyOf(object), p)
		}
	}()
	return ix.extract(object), nil
}

// values are those of an object that is indexable. Should the function not be one
// of the object only, a panic leaves the object out of the index.
func (ix *index) values(object Object) []string {
	found, err := ix.try(object)
	if err != nil {
		klog.Background().Error(err, "Index function is not a function of the object")
	}
	return found
}

// indexable tells why an object could not be found under some index. It is asked
// before anything is stored.
func (k *kind) indexable(object Object) error {
	for i := range k.indexes {
		if _, err := k.indexes[i].try(object); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// fits tells whether there is anything to do with an object before it is stored.
func (k *kind) fits() bool { return k.trim != nil || len(k.indexes) > 0 }

func (k *kind) hasIndex(name string) bool {
	for i := range k.indexes {
		if k.indexes[i].name == name {
			return true
		}
	}
	return false
}

// Ref is the untyped handle, as a Rule names its subject, reads and outputs.
func (k Kind[T]) Ref() KindRef { return KindRef(k) }

// String is the name of the collection: resource and group of an input, for
// example "deployments.apps", or the declared name of a derived one.
func (r KindRef) String() string {
	if r.kind == nil {
		return "<none>"
	}
	return r.kind.name
}

// Resource is what an input is listed and watched from; zero for a derived kind.
func (r KindRef) Resource() schema.GroupVersionResource {
	if r.kind == nil {
		return schema.GroupVersionResource{}
	}
	return r.kind.resource
}

// Versions are those that an input can be read in, in order of preference; none of a
// derived kind.
func (r KindRef) Versions() []string {
	if r.kind == nil {
		return nil
	}
	return slices.Clone(r.kind.versions)
}

// Optional tells whether the cluster may be without the resource of an input.
func (r KindRef) Optional() bool { return r.kind != nil && r.kind.optional }

// Get returns one object, and whether it exists.
func (k Kind[T]) Get(v *View, key Key) (T, bool) {
	object, ok := v.get(k.kind, key)
	if !ok {
		var none T
		return none, false
	}
	return object.(T), true
}

// List returns the objects of a namespace, or of all when namespace is empty,
// whose labels match the selector (nil matches everything), sorted by namespace
// and name. It looks at every object of the namespace: where an index serves,
// ByIndex is cheaper, both to evaluate and to keep up to date.
func (k Kind[T]) List(v *View, namespace string, selector labels.Selector) []T {
	return typed[T](v.list(k.kind, namespace, selector))
}

// ByIndex returns the objects for which the index function gave value, sorted by
// namespace and name.
func (k Kind[T]) ByIndex(v *View, index, value string) []T {
	return typed[T](v.byIndex(k.kind, index, value))
}

func typed[T Object](objects []Object) []T {
	if len(objects) == 0 {
		return nil
	}
	result := make([]T, len(objects))
	for i, object := range objects {
		result[i] = object.(T)
	}
	return result
}

func keyOf(object metav1.Object) Key {
	return Key{Namespace: object.GetNamespace(), Name: object.GetName()}
}
