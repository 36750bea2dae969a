// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package livetest feeds a live.Engine in tests: a Cluster is a live.Source in
// memory, read by the same client-go reflectors as a real API server, whose
// objects and failures the test decides.
package livetest

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/live"
)

// Cluster holds objects by resource. The zero value is empty and ready to use.
// Every resource is served until NotInstalled, Forbid or Fail says otherwise. Its
// methods may be called from any goroutine.
type Cluster struct {
	// NoStreaming refuses to stream lists, as API servers before 1.32 do; set it
	// before use.
	NoStreaming bool

	mu        sync.Mutex
	version   int
	resources map[schema.GroupVersionResource]*served
}

var _ live.Source = &Cluster{}

// served is one resource.
type served struct {
	changed  sync.Cond
	objects  map[live.Key]live.Object
	history  []watch.Event
	versions []int // of history
	expired  int   // watches from before this version are refused
	failure  error
	session  int // watches of an earlier session end
	lists    int
}

func (c *Cluster) resource(resource schema.GroupVersionResource) *served {
	r := c.resources[resource]
	if r == nil {
		r = &served{objects: map[live.Key]live.Object{}}
		r.changed.L = &c.mu
		if c.resources == nil {
			c.resources = map[schema.GroupVersionResource]*served{}
		}
		c.resources[resource] = r
	}
	return r
}

// Set creates or updates objects. They are copied, and get a UID, if they have
// none, and a new resourceVersion.
func (c *Cluster) Set(resource schema.GroupVersionResource, objects ...live.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resource(resource)
	for _, object := range objects {
		stored := object.DeepCopyObject().(live.Object)
		key := keyOf(stored)
		old, exists := r.objects[key]
		c.version++
		stored.SetResourceVersion(strconv.Itoa(c.version))
		switch {
		case stored.GetUID() != "":
		case exists:
			stored.SetUID(old.GetUID())
		default:
			stored.SetUID(types.UID(fmt.Sprintf("uid-%d", c.version)))
		}
		r.objects[key] = stored
		event := watch.Added
		if exists {
			event = watch.Modified
		}
		r.record(c.version, event, stored)
	}
}

// Delete removes an object; it does nothing if there is none.
func (c *Cluster) Delete(resource schema.GroupVersionResource, key live.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resource(resource)
	object, exists := r.objects[key]
	if !exists {
		return
	}
	delete(r.objects, key)
	c.version++
	last := object.DeepCopyObject().(live.Object)
	last.SetResourceVersion(strconv.Itoa(c.version))
	r.record(c.version, watch.Deleted, last)
}

// Fail has lists and watches of a resource answered by err and ends those that
// run; nil serves the resource again. Objects stay, and can be changed meanwhile.
func (c *Cluster) Fail(resource schema.GroupVersionResource, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resource(resource)
	r.failure = err
	r.session++
	r.changed.Broadcast()
}

// Forbid is Fail with the answer of an API server that denies access.
func (c *Cluster) Forbid(resource schema.GroupVersionResource) {
	c.Fail(resource, apierrors.NewForbidden(resource.GroupResource(), "", fmt.Errorf("test says so")))
}

// NotInstalled is Fail with the answer of an API server without the resource. It has
// no definition then, unless it is served in another version.
func (c *Cluster) NotInstalled(resource schema.GroupVersionResource) {
	defer func() {
		if !c.serves(resource.GroupResource()) {
			c.Delete(live.InstallationResource(), live.Key{Name: resource.GroupResource().String()})
		}
	}()
	c.Fail(resource, apierrors.NewGenericServerResponse(404, "get", resource.GroupResource(), "", "", 0, false))
}

// Serve ends what Fail, Forbid or NotInstalled began. What was not installed has a
// definition from then on.
func (c *Cluster) Serve(resource schema.GroupVersionResource) {
	absent := c.absent(resource)
	c.Fail(resource, nil)
	if absent {
		c.Set(live.InstallationResource(), &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: resource.GroupResource().String()}})
	}
}

func (c *Cluster) absent(resource schema.GroupVersionResource) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return apierrors.IsNotFound(c.resource(resource).failure)
}

// serves tells whether a resource is served in some version.
func (c *Cluster) serves(resource schema.GroupResource) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for version, r := range c.resources {
		if version.GroupResource() == resource && !apierrors.IsNotFound(r.failure) {
			return true
		}
	}
	return false
}

// CloseWatches ends running watches as an API server does every few minutes.
func (c *Cluster) CloseWatches(resource schema.GroupVersionResource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resource(resource)
	r.session++
	r.changed.Broadcast()
}

// Bookmark sends a bookmark on running watches, as an API server does every minute.
func (c *Cluster) Bookmark(resource schema.GroupVersionResource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bookmark := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(c.version)}}
	c.resource(resource).record(c.version, watch.Bookmark, bookmark)
}

// Expire ends running watches and forgets the history, so that whoever watches
// has to list again.
func (c *Cluster) Expire(resource schema.GroupVersionResource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resource(resource)
	c.version++
	r.expired = c.version
	r.history, r.versions = nil, nil
	r.session++
	r.changed.Broadcast()
}

// Lists is how many times a resource was listed, in one piece or streamed.
func (c *Cluster) Lists(resource schema.GroupVersionResource) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resource(resource).lists
}

func (c *Cluster) fails(resource schema.GroupVersionResource) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resource(resource).failure != nil
}

// versionsOf returns the resourceVersion of each object; a resource that is not
// installed has none.
func (c *Cluster) versionsOf(resource schema.GroupVersionResource) map[live.Key]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := map[live.Key]string{}
	r := c.resource(resource)
	if apierrors.IsNotFound(r.failure) {
		return versions
	}
	for key, object := range r.objects {
		versions[key] = object.GetResourceVersion()
	}
	return versions
}

func (r *served) record(version int, event watch.EventType, object live.Object) {
	r.history = append(r.history, watch.Event{Type: event, Object: object})
	r.versions = append(r.versions, version)
	r.changed.Broadcast()
}

// ListerWatcher implements live.Source.
func (c *Cluster) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	return &cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return c.list(resource, example, options)
		},
		WatchFuncWithContext: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return c.watch(resource, example, options)
		},
	}, nil
}

func (c *Cluster) list(resource schema.GroupVersionResource, example live.Object, options metav1.ListOptions) (runtime.Object, error) {
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resource(resource)
	if r.failure != nil {
		return nil, r.failure
	}
	r.lists++
	list := &metainternal.List{}
	list.ResourceVersion = strconv.Itoa(c.version)
	for _, object := range r.sorted() {
		if selector.Matches(labels.Set(object.GetLabels())) {
			list.Items = append(list.Items, as(example, object))
		}
	}
	return list, nil
}

func (r *served) sorted() []live.Object {
	objects := make([]live.Object, 0, len(r.objects))
	for _, object := range r.objects {
		objects = append(objects, object)
	}
	sort.Slice(objects, func(i, j int) bool { return keyOf(objects[i]).String() < keyOf(objects[j]).String() })
	return objects
}

// as copies an object in the form in which the reader wants it. What is stored by its
// metadata alone has nothing else for a reader of all of it either.
func as(example, object live.Object) live.Object {
	if _, metadataOnly := example.(*metav1.PartialObjectMetadata); metadataOnly {
		return meta.AsPartialObjectMetadata(object).DeepCopy()
	}
	stored, metadataOnly := object.(*metav1.PartialObjectMetadata)
	if _, untyped := example.(*unstructured.Unstructured); !metadataOnly || !untyped {
		return object.DeepCopyObject().(live.Object)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(stored)
	if err != nil {
		panic(err) // of a type that has nothing to fail with
	}
	return &unstructured.Unstructured{Object: content}
}

func keyOf(object metav1.Object) live.Key {
	return live.Key{Namespace: object.GetNamespace(), Name: object.GetName()}
}
