// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package livetest

import (
	"sort"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/srenix/srenix/pkg/live"
)

// watcher replays the history of a resource from a version on.
type watcher struct {
	cluster *Cluster
	from    *served
	session int
	example live.Object
	// selector is by labels that do not change: nothing leaves or enters it.
	selector labels.Selector
	initial  []watch.Event
	next     int // in history
	results  chan watch.Event
	stopped  chan struct{}
}

func (c *Cluster) watch(resource schema.GroupVersionResource, example live.Object, options metav1.ListOptions) (watch.Interface, error) {
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
	w := &watcher{
		selector: selector,
		cluster:  c,
		from:     r,
		session:  r.session,
		example:  example,
		results:  make(chan watch.Event),
		stopped:  make(chan struct{}),
	}
	if options.SendInitialEvents != nil && *options.SendInitialEvents {
		if c.NoStreaming {
			return nil, apierrors.NewBadRequest("sendInitialEvents is not supported")
		}
		r.lists++
		for _, object := range r.sorted() {
			w.initial = append(w.initial, watch.Event{Type: watch.Added, Object: object})
		}
		w.initial = append(w.initial, watch.Event{Type: watch.Bookmark, Object: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			ResourceVersion: strconv.Itoa(c.version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
		}}})
		w.next = len(r.history)
	} else {
		version, err := strconv.Atoi(options.ResourceVersion)
		if err != nil {
			return nil, apierrors.NewBadRequest("the resourceVersion is not one of this cluster: " + options.ResourceVersion)
		}
		if version < r.expired {
			return nil, apierrors.NewResourceExpired("the history does not go back that far")
		}
		w.next = sort.SearchInts(r.versions, version+1)
	}
	go w.run()
	return w, nil
}

// run ends when the reader stops the watch or the cluster ends its session.
func (w *watcher) run() {
	defer close(w.results)
	for _, event := range w.initial {
		if !w.send(event) {
			return
		}
	}
	for {
		event, ok := w.await()
		if !ok || !w.send(event) {
			return
		}
	}
}

func (w *watcher) await() (watch.Event, bool) {
	w.cluster.mu.Lock()
	defer w.cluster.mu.Unlock()
	for {
		select {
		case <-w.stopped:
			return watch.Event{}, false
		default:
		}
		if w.session != w.from.session {
			return watch.Event{}, false
		}
		if w.next < len(w.from.history) {
			w.next++
			return w.from.history[w.next-1], true
		}
		w.from.changed.Wait()
	}
}

func (w *watcher) send(event watch.Event) bool {
	object := event.Object.(live.Object)
	switch {
	case event.Type == watch.Bookmark:
		bookmark := w.example.DeepCopyObject().(live.Object)
		bookmark.SetResourceVersion(object.GetResourceVersion())
		bookmark.SetAnnotations(object.GetAnnotations())
		event.Object = bookmark
	case !w.selector.Matches(labels.Set(object.GetLabels())):
		return true
	default:
		event.Object = as(w.example, object)
	}
	select {
	case w.results <- event:
		return true
	case <-w.stopped:
		return false
	}
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// Stop implements watch.Interface. It may be called more than once.
func (w *watcher) Stop() {
	w.cluster.mu.Lock()
	defer w.cluster.mu.Unlock()
	select {
	case <-w.stopped:
	default:
		close(w.stopped)
		w.from.changed.Broadcast()
	}
}
