// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package virtual serves the read side of computed resources: get, list, watch
// and tables, and nothing that writes. It is the frame that the resources of
// srenix.io fill in; it knows none of them.
package virtual

import (
	"context"
	"fmt"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/registry/memory"
)

// Category is the category that every kind of srenix belongs to: `kubectl get srenix`.
const Category = "srenix"

// Resource describes one computed resource.
type Resource struct {
	// Plural and Singular are its names, as "findings" and "finding".
	Plural, Singular string
	ShortNames       []string
	Namespaced       bool
	NewFunc          func() runtime.Object
	NewListFunc      func() runtime.Object
	// Attrs gives the labels and fields that selectors match.
	Attrs storage.AttrFunc
	Table rest.TableConvertor
}

// Options are what serving needs beside the resource.
type Options struct {
	Scheme *runtime.Scheme
	Codec  runtime.Codec
	Clock  clock.WithTicker
}

// REST serves one computed resource.
type REST struct {
	resource Resource
	store    *genericregistry.Store
	memory   *memory.Store
}

var (
	_ rest.Storage              = &REST{}
	_ rest.Scoper               = &REST{}
	_ rest.Getter               = &REST{}
	_ rest.Lister               = &REST{}
	_ rest.Watcher              = &REST{}
	_ rest.SingularNameProvider = &REST{}
	_ rest.ShortNamesProvider   = &REST{}
	_ rest.CategoriesProvider   = &REST{}
)

// NewREST returns the storage of a resource with no objects in it.
func NewREST(resource Resource, options Options) (*REST, error) {
	r := &REST{resource: resource}
	strategy := readOnly{ObjectTyper: options.Scheme, NameGenerator: names.SimpleNameGenerator, namespaced: resource.Namespaced}
	r.store = &genericregistry.Store{
		NewFunc:                   resource.NewFunc,
		NewListFunc:               resource.NewListFunc,
		DefaultQualifiedResource:  srenix.Resource(resource.Plural),
		SingularQualifiedResource: srenix.Resource(resource.Singular),
		CreateStrategy:            strategy,
		DeleteStrategy:            strategy,
		TableConvertor:            resource.Table,
	}
	config := storagebackend.Config{Codec: options.Codec}
	restOptions := memory.NewRESTOptions(resource.Plural, config.ForResource(srenix.Resource(resource.Plural)), options.Clock,
		func(store *memory.Store) { r.memory = store })
	if err := r.store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: restOptions, AttrFunc: resource.Attrs}); err != nil {
		return nil, fmt.Errorf("making the storage of %s: %w", resource.Plural, err)
	}
	return r, nil
}

// Objects is where the computed objects go.
func (r *REST) Objects() *memory.Store { return r.memory }

// New implements rest.Storage.
func (r *REST) New() runtime.Object { return r.resource.NewFunc() }

// NewList implements rest.Lister.
func (r *REST) NewList() runtime.Object { return r.resource.NewListFunc() }

// Destroy implements rest.Storage.
func (r *REST) Destroy() { r.store.Destroy() }

// NamespaceScoped implements rest.Scoper.
func (r *REST) NamespaceScoped() bool { return r.resource.Namespaced }

// GetSingularName implements rest.SingularNameProvider.
func (r *REST) GetSingularName() string { return r.resource.Singular }

// ShortNames implements rest.ShortNamesProvider.
func (r *REST) ShortNames() []string { return r.resource.ShortNames }

// Categories implements rest.CategoriesProvider.
func (r *REST) Categories() []string { return []string{Category} }

// Get implements rest.Getter.
func (r *REST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// List implements rest.Lister.
func (r *REST) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	return r.store.List(ctx, options)
}

// Watch implements rest.Watcher.
func (r *REST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	return r.store.Watch(ctx, options)
}

// ConvertToTable implements rest.TableConvertor.
func (r *REST) ConvertToTable(ctx context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, object, tableOptions)
}

// readOnly satisfies the library's demand for strategies. Nothing calls the
// writing ones, because REST exposes no verb that writes.
type readOnly struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
}

func (s readOnly) NamespaceScoped() bool                                   { return s.namespaced }
func (readOnly) PrepareForCreate(context.Context, runtime.Object)          {}
func (readOnly) Validate(context.Context, runtime.Object) field.ErrorList  { return nil }
func (readOnly) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (readOnly) Canonicalize(runtime.Object)                               {}
