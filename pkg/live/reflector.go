// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/watchlist"
	"k8s.io/klog/v2"
)

// observed is a ListerWatcher which tells the input how listing and watching go,
// and trims what lists bring page by page, before the next page is asked for. Of
// an input with several versions it reads the first that is served.
type observed struct {
	input *input
	// versions read the same resource, in order of preference.
	versions []cache.ListerWatcherWithContext
	// version is the index of the one that is read.
	version atomic.Int32
	// noStreaming is whether the client cannot stream lists.
	noStreaming bool
	// listing is held for reading by each call of List: the Reflector does not
	// wait for the goroutine it lists in.
	listing sync.RWMutex
}

var (
	_ cache.ListerWatcher            = &observed{}
	_ cache.ListerWatcherWithContext = &observed{}
)

// served has a request made in the version that is read, or else in the first
// that the cluster serves. moved tells that it is not the version of before.
func (o *observed) served(request func(cache.ListerWatcherWithContext) error) (moved bool, err error) {
	before := o.version.Load()
	err = request(o.versions[before])
	if !apierrors.IsNotFound(err) {
		return false, err
	}
	for version := range o.versions {
		if version == int(before) {
			continue
		}
		if other := request(o.versions[version]); !apierrors.IsNotFound(other) {
			o.version.Store(int32(version))
			return true, other
		}
	}
	return false, err
}

// IsWatchListSemanticsUnSupported is how a Reflector asks whether to stream lists.
func (o *observed) IsWatchListSemanticsUnSupported() bool { return o.noStreaming }

// List implements cache.ListerWatcher; the Reflector calls ListWithContext.
func (o *observed) List(options metav1.ListOptions) (runtime.Object, error) {
	return o.ListWithContext(context.Background(), options)
}

// Watch implements cache.ListerWatcher; the Reflector calls WatchWithContext.
func (o *observed) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return o.WatchWithContext(context.Background(), options)
}

func (o *observed) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	o.listing.RLock()
	defer o.listing.RUnlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	options.LabelSelector, options.FieldSelector = o.input.c.kind.labels, o.input.c.kind.fields
	var list runtime.Object
	_, err := o.served(func(lw cache.ListerWatcherWithContext) (err error) {
		list, err = lw.ListWithContext(ctx, options)
		return err
	})
	if err == nil {
		err = o.trim(list)
	}
	if ctx.Err() != nil {
		return list, err
	}
	if err != nil {
		o.input.listFailed(err)
		return nil, err
	}
	o.input.listSucceeded()
	return list, nil
}

func (o *observed) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.LabelSelector, options.FieldSelector = o.input.c.kind.labels, o.input.c.kind.fields
	var w watch.Interface
	moved, err := o.served(func(lw cache.ListerWatcherWithContext) (err error) {
		w, err = lw.WatchWithContext(ctx, options)
		return err
	})
	if ctx.Err() != nil {
		return w, err
	}
	initial := options.SendInitialEvents != nil && *options.SendInitialEvents
	if err == nil && moved && !initial {
		// What is stored is of another version: list again.
		w.Stop()
		return nil, apierrors.NewResourceExpired("the version of " + o.input.c.kind.name + " that was read is not served any more")
	}
	if err != nil {
		o.input.watchFailed(err, initial)
		return nil, err
	}
	o.input.watchSucceeded(initial)
	return w, nil
}

func (o *observed) trim(list runtime.Object) error {
	if o.input.c.kind.trim == nil {
		return nil
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		object, err := o.input.accept(item)
		if err != nil {
			return err
		}
		trimmed, err := o.input.trim(object)
		if err != nil {
			return err
		}
		if trimmed != object {
			reflect.ValueOf(object).Elem().Set(reflect.ValueOf(trimmed).Elem())
		}
		return nil
	})
}

// reflect keeps an input up to date until ctx ends. A new Reflector starts at
// once when there is reason to think that the resource came or went.
func (e *Engine) reflect(ctx context.Context, lw *observed) {
	// The Reflector logs each failed attempt as an error. Changes of state are
	// logged by the input; the attempts in between are of interest to few.
	if sink := e.options.Logger.GetSink(); sink != nil {
		ctx = klog.NewContext(ctx, e.options.Logger.WithSink(quietSink{sink}))
	} else {
		ctx = klog.NewContext(ctx, e.options.Logger)
	}
	for ctx.Err() == nil {
		e.reflectUntil(ctx, lw, lw.input.again)
	}
	lw.listing.Lock() // until the last List has returned
	defer lw.listing.Unlock()
}

func (e *Engine) reflectUntil(ctx context.Context, lw *observed, again <-chan struct{}) {
	k := lw.input.c.kind
	reflector := cache.NewReflectorWithOptions(lw, k.example(), lw.input, cache.ReflectorOptions{
		Logger:          &e.options.Logger,
		Name:            "live/" + k.name,
		TypeDescription: k.name,
		Backoff:         e.options.RetryBackoff,
	})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { reflector.RunWithContext(ctx) })
	select {
	case <-ctx.Done():
	case <-again:
	}
}

// connect makes the observed ListerWatcher of every input.
func (e *Engine) connect(source Source) ([]*observed, error) {
	var connected []*observed
	for _, c := range e.collections {
		if c.input == nil {
			continue
		}
		o := &observed{input: c.input}
		for _, version := range c.kind.versions {
			resource := c.kind.resource
			resource.Version = version
			lw, err := source.ListerWatcher(resource, c.kind.example())
			if err != nil {
				return nil, fmt.Errorf("connecting input %s: %w", c.kind.name, err)
			}
			o.versions = append(o.versions, cache.ToListerWatcherWithContext(lw))
			o.noStreaming = o.noStreaming || watchlist.DoesClientNotSupportWatchListSemantics(lw)
		}
		connected = append(connected, o)
	}
	return connected, nil
}
