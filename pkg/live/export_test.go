// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Feed runs the engine without reflectors until the test ends: the test calls
// the stores itself.
func Feed(t testing.TB, e *Engine) (stop func()) {
	t.Helper()
	if err := e.watchInstallations(); err != nil {
		t.Fatal(err)
	}
	if err := e.begin(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	e.startWork(ctx, &running)
	stop = sync.OnceFunc(func() {
		cancel()
		e.stopWork()
		running.Wait()
	})
	t.Cleanup(stop)
	if c := e.lookup(definitions.kind); c != nil {
		c.input.listFailed(apierrors.NewForbidden(InstallationResource().GroupResource(), "", nil))
	}
	return stop
}

// FeedInstalled is what a reflector does after a list of definitions: these resources
// have one. Until it is called, definitions are forbidden.
func FeedInstalled(e *Engine, installed ...KindRef) {
	var all []*metav1.PartialObjectMetadata
	for _, ref := range installed {
		all = append(all, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: ref.kind.definition()}})
	}
	FeedReplace(e, definitions, all...)
}

// Definitions are the CustomResourceDefinitions.
func Definitions() KindRef { return definitions.Ref() }

// FeedReplace is what a reflector does after a list.
func FeedReplace[T Object](e *Engine, k Kind[T], objects ...T) { FeedReplaceAt(e, k, "", objects...) }

// FeedReplaceAt is FeedReplace with the version of the list.
func FeedReplaceAt[T Object](e *Engine, k Kind[T], version string, objects ...T) {
	items := make([]any, len(objects))
	for i := range objects {
		items[i] = objects[i]
	}
	if err := e.lookup(k.kind).input.Replace(items, version); err != nil {
		panic(err)
	}
}

// FeedSet is what a reflector does with an addition or update.
func FeedSet[T Object](e *Engine, k Kind[T], object T) {
	if err := e.lookup(k.kind).input.Add(object); err != nil {
		panic(err)
	}
}

// FeedDelete is what a reflector does with a deletion.
func FeedDelete[T Object](e *Engine, k Kind[T], object T) {
	if err := e.lookup(k.kind).input.Delete(object); err != nil {
		panic(err)
	}
}

// FeedError is what the observed ListerWatcher does after a list that failed.
func FeedError(e *Engine, ref KindRef, err error) {
	e.lookup(ref.kind).input.listFailed(err)
}

// FeedRequest is what the observed ListerWatcher does before it lists.
func FeedRequest(e *Engine, ref KindRef) { e.lookup(ref.kind).input.asks(true) }

// FeedRest is what a reflector does once it was given up, until ctx ends.
func FeedRest(ctx context.Context, e *Engine, ref KindRef) { e.lookup(ref.kind).input.rest(ctx) }

// Footprint counts what is remembered beside objects: nodes, recorded reads,
// alarms and tasks.
func Footprint(e *Engine) (nodes, reads, alarms, tasks int) {
	for _, r := range e.rules {
		r.mu.Lock()
		nodes += len(r.nodes)
		r.mu.Unlock()
	}
	for _, c := range e.collections {
		d := &c.dependents
		d.mu.Lock()
		reads += len(d.byKey) + len(d.byIndex) + len(d.bySelector) + len(c.waiting)
		d.mu.Unlock()
	}
	e.timers.mu.Lock()
	alarms = len(e.timers.byTask)
	e.timers.mu.Unlock()
	tasks = int(e.outstanding.Load())
	return nodes, reads, alarms, tasks
}

// LookAtClock is what the timers do every few seconds, which a clock that stands
// still never gets them to.
func LookAtClock(e *Engine) { e.watch(e.now()) }

// StartAnew has the reflector of an input give up what it does, and start anew.
func StartAnew(e *Engine, ref KindRef) { e.lookup(ref.kind).input.startAnew() }

// Unrecord forgets that a view has read a kind, as a bug of the engine would.
func Unrecord(v *View, ref KindRef) {
	var kept depSet
	for _, d := range v.deps.list {
		if d.collection.kind == ref.kind {
			d.collection.dependents.remove(d, v.node)
			continue
		}
		kept.add(d)
	}
	v.deps = kept
}
