// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/srenix/srenix/test/harness"
)

// raw follows findings by a bare watch, which goes on from its last version when it ends,
// and from a new list when that is gone, as client-go's RetryWatcher and Reflector do. It
// sees what an informer keeps from its handlers: events that repeat or go back.
type raw struct {
	client dynamic.ResourceInterface

	mu     sync.Mutex
	mirror *harness.Mirror
	err    error // why it does not follow any more

	events, bookmarks int
	// ended is how many watches ended, lists how often that led to a new list, and
	// repeated how many objects such a list had that were known as they are.
	ended, lists, repeated int
}

// followRaw follows findings until the end of the test.
func (r *rollout) followRaw() *raw {
	r.Helper()
	f := &raw{client: r.client(r.config).Resource(findings)}
	if err := f.list(r.Context()); err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil && f.err == nil {
			err := f.watch(ctx)
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				err = f.list(ctx)
			}
			f.mu.Lock()
			if ctx.Err() == nil {
				f.err = err
			}
			f.mu.Unlock()
		}
	})
	r.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return f
}

// list begins anew with what there is now.
func (f *raw) list(ctx context.Context) error {
	list, err := f.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing: %w", err)
	}
	mirror, err := harness.NewMirror(list)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mirror != nil {
		f.lists++
		for key, object := range mirror.Objects {
			if known := f.mirror.Objects[key]; known != nil && harness.SameContent(known, object) {
				f.repeated++
			}
		}
	}
	f.mirror = mirror
	return nil
}

// watch goes on from the last version until the watch ends. What a client takes for the
// end of a connection, or of the server behind it, is no error.
func (f *raw) watch(ctx context.Context) error {
	w, err := f.client.Watch(ctx, metav1.ListOptions{ResourceVersion: strconv.FormatUint(f.mirror.Version, 10), AllowWatchBookmarks: true})
	if err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			err := apierrors.FromObject(event.Object)
			var status apierrors.APIStatus
			if errors.As(err, &status) && (status.Status().Code == http.StatusInternalServerError || status.Status().Code == http.StatusGatewayTimeout) {
				break
			}
			return err
		}
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("%s of a %T", event.Type, event.Object)
		}
		if err := f.apply(event.Type, object); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended++
	return nil
}

func (f *raw) apply(kind watch.EventType, object *unstructured.Unstructured) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind == watch.Bookmark {
		f.bookmarks++
	} else {
		f.events++
	}
	return f.mirror.Apply(kind, object)
}

// content is what it knows; that an event was wrong fails the test.
func (f *raw) content(t *testing.T) map[string]string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		t.Fatalf("the raw watch: %v", f.err)
	}
	content := map[string]string{}
	for key, object := range f.mirror.Objects {
		content[key] = contentOf(object)
	}
	return content
}

// summary tells what was seen, and fails the test if that was nothing of the restarts.
func (f *raw) summary(t *testing.T) string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.events == 0 || f.ended == 0 {
		t.Errorf("the raw watch saw %d events and ended %d times: want some of both", f.events, f.ended)
	}
	return fmt.Sprintf("the raw watch: %d events and %d bookmarks; it ended %d times, and %d lists after 410 repeated %d objects", f.events, f.bookmarks, f.ended, f.lists, f.repeated)
}
