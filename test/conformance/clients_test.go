// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// source is a ListerWatcher of the findings of a namespace that counts, and that
// can be moved to another server.
type source struct {
	namespace string
	client    atomic.Pointer[dynamic.Interface]
	lists     atomic.Int64
	// expired counts the watches that were refused with 410.
	expired atomic.Int64
	// timeout is how many seconds a watch lasts; what the client asks for if 0.
	timeout int64
}

func newSource(namespace string, client dynamic.Interface) *source {
	s := &source{namespace: namespace}
	s.client.Store(&client)
	return s
}

func (s *source) resource() dynamic.ResourceInterface {
	return (*s.client.Load()).Resource(findingsResource).Namespace(s.namespace)
}

func (s *source) listWatch() *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			s.lists.Add(1)
			return s.resource().List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			if s.timeout > 0 {
				options.TimeoutSeconds = &s.timeout
			}
			w, err := s.resource().Watch(ctx, options)
			if err != nil {
				return nil, err
			}
			return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
				if e.Type == watch.Error && apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
					s.expired.Add(1)
				}
				return e, true
			}), nil
		},
	}
}

// move sends the client's next request to another server.
func (s *source) move(to dynamic.Interface) { s.client.Store(&to) }

// withoutWatchList tells a reflector that the server cannot stream lists.
type withoutWatchList struct{ cache.ListerWatcher }

func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// runReflector runs a reflector into a store until the test ends.
func runReflector(t *testing.T, from cache.ListerWatcher) cache.Store {
	t.Helper()
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	reflector := cache.NewReflectorWithOptions(from, &unstructured.Unstructured{}, store, cache.ReflectorOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		reflector.RunWithContext(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return store
}

// awaitEqual waits until a client's store is what a list of the server is now.
func awaitEqual(t *testing.T, store cache.Store, fresh dynamic.ResourceInterface) {
	t.Helper()
	eventually(t, "the client's store to equal a fresh list", func(ctx context.Context) (bool, string) {
		list, err := fresh.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		want, have := map[string]any{}, map[string]any{}
		for _, item := range list.Items {
			want[item.GetName()] = item.Object
		}
		for _, stored := range store.List() {
			object := stored.(*unstructured.Unstructured)
			have[object.GetName()] = object.Object
		}
		diff := cmp.Diff(want, have)
		return diff == "", diff
	})
}

func TestReflectors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		wrap  func(cache.ListerWatcher) cache.ListerWatcher
		lists int64
	}{
		"streaming lists": {func(lw cache.ListerWatcher) cache.ListerWatcher { return lw }, 0},
		"with lists":      {func(lw cache.ListerWatcher) cache.ListerWatcher { return withoutWatchList{lw} }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			withFindings(t, ns, "a", "b")
			s := newSource(ns, objects)
			store := runReflector(t, test.wrap(s.listWatch()))
			awaitEqual(t, store, s.resource())
			var done atomic.Int64
			left, err := churn(limited(t), ns, 200, &done)
			must(t, err)
			awaitSubjects(t, ns, append(left, "a", "b")...)
			awaitEqual(t, store, s.resource())
			// One that falls back to lists, or lists again, does so for an error.
			if lists := s.lists.Load(); lists != test.lists || s.expired.Load() != 0 {
				t.Errorf("it listed %d times, want %d, and had %d watches expire", lists, test.lists, s.expired.Load())
			}
		})
	}
}

// TestMetadataInformers runs the informers that kube-controller-manager's quota,
// garbage collection and namespace deletion have: metadata only, and rather in
// protobuf, streamed. They pass our kinds over, which nobody can make or delete, and
// other clients of that sort need not.
func TestMetadataInformers(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		client, err := metadata.NewForConfig(admin)
		must(t, err)
		informer := metadatainformer.NewFilteredMetadataInformer(client, s.resource, s.namespace, 0, cache.Indexers{}, nil).Informer()
		var failures atomic.Int64
		must(t, informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) { failures.Add(1) }))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			informer.RunWithContext(ctx)
		}()
		defer func() { cancel(); <-done }()
		equal := func() {
			t.Helper()
			eventually(t, "the informer's store to equal a fresh list", func(context.Context) (bool, string) {
				want, have := map[string]string{}, map[string]string{}
				for _, item := range s.client.get(t, s.path, "", jsonType).list(t).Items {
					want[item.GetName()] = item.GetResourceVersion()
				}
				for _, stored := range informer.GetStore().List() {
					object := stored.(*metav1.PartialObjectMetadata)
					have[object.Name] = object.ResourceVersion
				}
				diff := cmp.Diff(want, have)
				return informer.HasSynced() && diff == "", diff
			})
		}
		equal()
		s.change(t, watch.Deleted, "d")
		equal()
		if n := failures.Load(); n > 0 {
			t.Errorf("%d requests failed", n)
		}
	})
}

// TestRetryWatcher goes through the end of every watch without a gap.
func TestRetryWatcher(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	from := withFindings(t, ns, "a").GetResourceVersion()
	s := newSource(ns, objects)
	s.timeout = 1
	lw := s.listWatch()
	watches := atomic.Int64{}
	watcher, err := watchtools.NewRetryWatcherWithContext(t.Context(), from, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			watches.Add(1)
			return lw.WatchFuncWithContext(ctx, options)
		},
	})
	must(t, err)
	defer watcher.Stop()
	for i, name := range roleNames(5) {
		must(t, createRole(t.Context(), ns, name))
		e, _ := receive(t, "an event", watcher.ResultChan())
		object, ok := e.Object.(*unstructured.Unstructured)
		if !ok || e.Type != watch.Added || subject(object) != name {
			t.Fatalf("have %s %v, want %s added", e.Type, e.Object, name)
		}
		// The next change falls into another watch.
		eventually(t, "the next watch", func(context.Context) (bool, string) {
			return watches.Load() > int64(i)+1, fmt.Sprint(watches.Load())
		})
	}
}

// TestRetryWatcherGivesUpOnWhatIsGone is told 410 and hands that on, for only its
// owner can list again.
func TestRetryWatcherGivesUpOnWhatIsGone(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	current := withFindings(t, ns, "a").GetResourceVersion()
	for name, from := range map[string]string{"expired": "1", "foreign": foreign(t, current)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			watcher, err := watchtools.NewRetryWatcherWithContext(t.Context(), from, newSource(ns, objects).listWatch())
			must(t, err)
			defer watcher.Stop()
			e, _ := receive(t, "an event", watcher.ResultChan())
			if e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
				t.Errorf("have %s %v, want ERROR 410 Expired", e.Type, e.Object)
			}
			if _, open := receive(t, "the end", watcher.ResultChan()); open {
				t.Error("it goes on after 410")
			}
		})
	}
}

// TestUntilWithSync is what `kubectl wait` and many scripts stand on.
func TestUntilWithSync(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	withFindings(t, ns, "a")
	ctx := limited(t)
	onceSynced := func(store cache.Store) (bool, error) {
		if len(store.ListKeys()) != 1 {
			return false, fmt.Errorf("synced with %v", store.ListKeys())
		}
		return false, deleteRole(ctx, ns, "a")
	}
	last, err := watchtools.UntilWithSync(ctx, newSource(ns, objects).listWatch(), &unstructured.Unstructured{}, onceSynced, func(e watch.Event) (bool, error) {
		return e.Type == watch.Deleted, nil
	})
	must(t, err)
	if object, ok := last.Object.(*unstructured.Unstructured); !ok || subject(object) != "a" {
		t.Errorf("what was deleted is %v", last.Object)
	}
}
