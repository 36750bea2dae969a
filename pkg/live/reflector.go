// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/watchlist"
	"k8s.io/klog/v2"
)

// observed is a ListerWatcher which tells the input how listing and watching go,
// and trims what lists bring page by page, before the next page is asked for.
type observed struct {
	lw    cache.ListerWatcherWithContext
	input *input
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

func newObserved(lw cache.ListerWatcher, in *input) *observed {
	return &observed{
		lw:          cache.ToListerWatcherWithContext(lw),
		input:       in,
		noStreaming: watchlist.DoesClientNotSupportWatchListSemantics(lw),
	}
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
	list, err := o.lw.ListWithContext(ctx, options)
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
	w, err := o.lw.WatchWithContext(ctx, options)
	if ctx.Err() != nil {
		return w, err
	}
	initial := options.SendInitialEvents != nil && *options.SendInitialEvents
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

// reflect keeps an input up to date until ctx ends.
func (e *Engine) reflect(ctx context.Context, lw *observed) {
	k := lw.input.c.kind
	reflector := cache.NewReflectorWithOptions(lw, k.example(), lw.input, cache.ReflectorOptions{
		Logger:          &e.options.Logger,
		Name:            "live/" + k.name,
		TypeDescription: k.name,
		Backoff:         e.options.RetryBackoff,
	})
	// The Reflector logs each failed attempt as an error. Changes of state are
	// logged by the input; the attempts in between are of interest to few.
	if sink := e.options.Logger.GetSink(); sink != nil {
		ctx = klog.NewContext(ctx, e.options.Logger.WithSink(quietSink{sink}))
	} else {
		ctx = klog.NewContext(ctx, e.options.Logger)
	}
	reflector.RunWithContext(ctx)
	lw.listing.Lock() // until the last List has returned
	defer lw.listing.Unlock()
}

// connect makes the observed ListerWatcher of every input.
func (e *Engine) connect(source Source) ([]*observed, error) {
	var connected []*observed
	for _, c := range e.collections {
		if c.input == nil {
			continue
		}
		lw, err := source.ListerWatcher(c.kind.resource, c.kind.example())
		if err != nil {
			return nil, fmt.Errorf("connecting input %s: %w", c.kind.name, err)
		}
		connected = append(connected, newObserved(lw, c.input))
	}
	return connected, nil
}
