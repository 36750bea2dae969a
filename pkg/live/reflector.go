// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

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

// served has a request made in the first version that the cluster serves, so that
// all who read agree, whenever they began. moved tells that it is not the version
// of before.
func (o *observed) served(request func(cache.ListerWatcherWithContext) error) (moved bool, err error) {
	for version := range o.versions {
		other := request(o.versions[version])
		switch {
		case other == nil:
			return o.input.version.Swap(int32(version)) != int32(version), nil
		case !apierrors.IsNotFound(other):
			return false, other // which tells nothing of the version
		case err == nil:
			err = other
		}
	}
	return false, err
}

// moves tells whether the next list would be of another version, which is one that is
// preferred to that of the last, and is asked for one object only.
func (o *observed) moves(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	for _, better := range o.versions[:o.input.version.Load()] {
		if _, err := better.ListWithContext(ctx, metav1.ListOptions{Limit: 1}); !apierrors.IsNotFound(err) {
			return true // or it cannot be told
		}
	}
	return false
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
	if seen := o.input.lastSeen(); options.ResourceVersion == "0" && seen != "" {
		// A Reflector made anew takes any version, be it older than what is here. With a
		// limit, a version would mean exactly that one.
		options.ResourceVersion, options.Limit = seen, 0
		options.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan
	}
	var list runtime.Object
	request := func(lw cache.ListerWatcherWithContext) (err error) {
		list, err = lw.ListWithContext(ctx, options)
		return err
	}
	o.input.asks(true)
	var err error
	if options.Continue == "" {
		o.input.listBegins()
		_, err = o.served(request)
	} else {
		err = request(o.versions[o.input.version.Load()]) // a list is of one version
	}
	if err == nil {
		err = o.fit(list)
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
	initial := options.SendInitialEvents != nil && *options.SendInitialEvents
	o.input.asks(initial)
	var w watch.Interface
	moved, err := o.served(func(lw cache.ListerWatcherWithContext) (err error) {
		w, err = lw.WatchWithContext(ctx, options)
		return err
	})
	if ctx.Err() != nil {
		return w, err
	}
	if err == nil && moved && !initial {
		// What is stored is of another version: list again.
		w.Stop()
		return nil, apierrors.NewResourceExpired(o.input.c.kind.name + " is served in another version than the one that was read")
	}
	if err != nil {
		o.input.watchFailed(err, initial)
		return nil, err
	}
	if reflect.TypeOf(w) == emptyWatch {
		o.input.watchFailed(errNoAnswer, initial)
		return w, nil // for the Reflector to go on from where it was
	}
	if !o.input.watchStarted(initial) {
		w.Stop()
		return nil, apierrors.NewResourceExpired(o.input.c.kind.name + " has not been watched for too long")
	}
	return &observedWatch{Interface: w, ended: sync.OnceFunc(o.input.watchEnded)}, nil
}

// emptyWatch is what client-go returns in place of an error if the connection is
// closed before there is an answer, as by a load balancer with nothing behind it. It
// has ended already.
var emptyWatch = reflect.TypeOf(watch.NewEmptyWatch())

var errNoAnswer = errors.New("the connection was closed before there was an answer")

// observedWatch tells when a watch ends: however it does, the Reflector stops it.
type observedWatch struct {
	watch.Interface
	ended func()
}

func (w *observedWatch) Stop() {
	w.ended()
	w.Interface.Stop()
}

// fit does to the items of a list what has to be done before they are stored.
func (o *observed) fit(list runtime.Object) error {
	if !o.input.c.kind.fits() {
		return nil
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		object, err := o.input.accept(item)
		if err != nil {
			return err
		}
		if fitted := o.input.fitListed(object); fitted != object {
			reflect.ValueOf(object).Elem().Set(reflect.ValueOf(fitted).Elem())
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
	lw.input.awaitDefinitions(ctx)
	for ctx.Err() == nil {
		e.reflectUntil(ctx, lw, lw.input.again)
		// What a List answers late must not be taken for an answer to the next one.
		lw.awaitLists()
		lw.input.listGivenUp()
		lw.input.rest(ctx)
	}
}

// awaitLists waits until the lists that a Reflector left behind have returned.
func (o *observed) awaitLists() {
	o.listing.Lock()
	o.listing.Unlock() //nolint:staticcheck // holding it once is what it is for
}

// reflectUntil is reflect with one Reflector.
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
	running.Go(func() { lw.input.followLooks(ctx, lw.moves) })
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
