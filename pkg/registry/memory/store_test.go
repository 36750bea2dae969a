// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/apis/srenix/install"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const prefix = "/srenix.io/findings"

func key(object runtime.Object) (string, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return "", err
	}
	return prefix + "/" + accessor.GetNamespace() + "/" + accessor.GetName(), nil
}

func finding(name, uid, message string) *srenix.Finding {
	return &srenix.Finding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), Labels: map[string]string{"name": name}},
		Spec:       srenix.FindingSpec{Message: message},
	}
}

func attrs(object runtime.Object) (labels.Set, fields.Set, error) {
	f := object.(*srenix.Finding)
	return f.Labels, fields.Set{"metadata.name": f.Name, "metadata.namespace": f.Namespace}, nil
}

func everything() storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: labels.Everything(), Field: fields.Everything(), GetAttrs: attrs, AllowWatchBookmarks: true}
}

// cached returns a store behind the cacher, as the server uses it.
func cached(t testing.TB) (*Store, storage.Interface) {
	t.Helper()
	return cachedAt(t, clock.RealClock{})
}

func cachedAt(t testing.TB, c clock.WithTicker) (*Store, storage.Interface) {
	t.Helper()
	if err := ConfigureCachers(); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	config := storagebackend.Config{Codec: serializer.NewCodecFactory(scheme).LegacyCodec(v1alpha1.SchemeGroupVersion)}
	var store *Store
	options := NewRESTOptions("findings", config.ForResource(srenix.Resource("findings")), c, func(s *Store) { store = s })
	front, destroy, err := options.Decorator(options.StorageConfig, prefix, key,
		func() runtime.Object { return &srenix.Finding{} }, func() runtime.Object { return &srenix.FindingList{} }, attrs, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	err = wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		return front.ReadinessCheck() == nil, nil
	})
	if err != nil {
		t.Fatal("the watch cache did not get ready")
	}
	return store, front
}

func put(t testing.TB, store *Store, f *srenix.Finding) {
	t.Helper()
	if err := store.Put(f); err != nil {
		t.Fatal(err)
	}
}

func next(t testing.TB, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case event, open := <-w.ResultChan():
		if !open {
			t.Fatal("the watch ended")
		}
		return event
	case <-time.After(10 * time.Second):
		t.Fatal("no event came")
	}
	return watch.Event{}
}

// unwrap returns the object in an event that the cacher shares among watchers.
func unwrap(object runtime.Object) *srenix.Finding {
	if shared, ok := object.(runtime.CacheableObject); ok {
		object = shared.GetObject()
	}
	return object.(*srenix.Finding)
}

func TestVersionsOfReplicasDoNotMeet(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	same := map[uint64]bool{}
	for range 100 {
		earlier, later := InitialVersion(start), InitialVersion(start.Add(2*time.Millisecond))
		if later <= earlier+1<<20 {
			t.Errorf("a process that starts later begins at %d, and one before at %d", later, earlier)
		}
		same[earlier] = true
	}
	if len(same) < 90 {
		t.Errorf("a hundred replicas that start at once begin at %d versions", len(same))
	}
	if before := InitialVersion(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)); before >= 1<<20 {
		t.Errorf("a clock of the last century begins at %d", before)
	}
}

func TestAReplacedObjectIsDeletedAndAdded(t *testing.T) {
	store, front := cached(t)
	put(t, store, finding("a", "1", "first"))
	w, err := front.Watch(t.Context(), prefix, storage.ListOptions{ResourceVersion: "0", Predicate: everything(), Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	put(t, store, finding("a", "1", "second"))
	put(t, store, finding("a", "2", "third"))
	if err := store.Remove(finding("a", "2", "")); err != nil {
		t.Fatal(err)
	}
	var have []string
	last := uint64(0)
	for range 5 {
		event := next(t, w)
		f := unwrap(event.Object)
		have = append(have, fmt.Sprint(event.Type, " ", f.UID, " ", f.Spec.Message))
		version, err := strconv.ParseUint(f.ResourceVersion, 10, 64)
		if err != nil || version <= last {
			t.Errorf("version %q after %d: %v", f.ResourceVersion, last, err)
		}
		last = version
	}
	want := []string{"ADDED 1 first", "MODIFIED 1 second", "DELETED 1 second", "ADDED 2 third", "DELETED 2 third"}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("events (-want +have):\n%s", diff)
	}
}

func TestReadsAfterWritesSeeThem(t *testing.T) {
	store, front := cached(t)
	for i := range 100 {
		put(t, store, finding(fmt.Sprint(i), "1", ""))
		list := &srenix.FindingList{}
		if err := front.GetList(t.Context(), prefix, storage.ListOptions{Predicate: everything(), Recursive: true}, list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != i+1 {
			t.Fatalf("after %d writes a list has %d items", i+1, len(list.Items))
		}
	}
	var one srenix.Finding
	if err := front.Get(t.Context(), prefix+"/ns/42", storage.GetOptions{}, &one); err != nil || one.Name != "42" {
		t.Errorf("get: %q, %v", one.Name, err)
	}
	if err := front.Get(t.Context(), prefix+"/ns/none", storage.GetOptions{}, &one); !storage.IsNotFound(err) {
		t.Errorf("get of what is not there: %v", err)
	}
}

func TestInitialEventsEndWithABookmark(t *testing.T) {
	stream := true
	for name, count := range map[string]int{"full": 3, "empty": 0} {
		t.Run(name, func(t *testing.T) {
			store, front := cached(t)
			for i := range count {
				put(t, store, finding(fmt.Sprint(i), "1", ""))
			}
			w, err := front.Watch(t.Context(), prefix, storage.ListOptions{
				SendInitialEvents: &stream, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, Predicate: everything(), Recursive: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			for range count {
				if event := next(t, w); event.Type != watch.Added {
					t.Errorf("have %s, want ADDED", event.Type)
				}
			}
			event := next(t, w)
			accessor, err := meta.Accessor(event.Object)
			if err != nil || event.Type != watch.Bookmark || accessor.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
				t.Errorf("have %s %+v, want the annotated BOOKMARK", event.Type, event.Object)
			}
		})
	}
}

func TestForeignVersionsAreRefusedAtOnce(t *testing.T) {
	store, front := cached(t)
	put(t, store, finding("a", "1", ""))
	current, err := store.GetCurrentResourceVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]uint64{"newer": current + 1, "much older": 7} {
		w, err := front.Watch(t.Context(), prefix, storage.ListOptions{ResourceVersion: strconv.FormatUint(version, 10), Predicate: everything(), Recursive: true})
		if err != nil {
			t.Fatal(err)
		}
		event := next(t, w)
		if event.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
			t.Errorf("watch from a %s version: %s %v, want 410", name, event.Type, event.Object)
		}
		w.Stop()
	}
	newer := strconv.FormatUint(current+1, 10)
	if err := front.GetList(t.Context(), prefix, storage.ListOptions{ResourceVersion: newer, Predicate: everything(), Recursive: true}, &srenix.FindingList{}); !storage.IsTooLargeResourceVersion(err) {
		t.Errorf("list at a newer version: %v", err)
	}
	if err := front.Get(t.Context(), prefix+"/ns/a", storage.GetOptions{ResourceVersion: newer}, &srenix.Finding{}); !storage.IsTooLargeResourceVersion(err) {
		t.Errorf("get at a newer version: %v", err)
	}
}

func TestLeavingASelectorIsADeletion(t *testing.T) {
	store, front := cached(t)
	put(t, store, finding("a", "1", ""))
	predicate := everything()
	predicate.Label = labels.SelectorFromSet(labels.Set{"name": "a"})
	w, err := front.Watch(t.Context(), prefix, storage.ListOptions{ResourceVersion: "0", Predicate: predicate, Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	left := finding("a", "1", "")
	left.Labels = map[string]string{"name": "other"}
	put(t, store, left)
	put(t, store, finding("a", "1", "back"))
	for i, want := range []watch.EventType{watch.Added, watch.Deleted, watch.Added} {
		if event := next(t, w); event.Type != want {
			t.Errorf("event %d is %s, want %s", i, event.Type, want)
		}
	}
}

func TestPagesContinueAtOneVersion(t *testing.T) {
	store, front := cached(t)
	for i := range 5 {
		put(t, store, finding(fmt.Sprint(i), "1", ""))
	}
	predicate := everything()
	predicate.Limit = 2
	var have []string
	for page := 0; ; page++ {
		list := &srenix.FindingList{}
		if err := front.GetList(t.Context(), prefix, storage.ListOptions{Predicate: predicate, Recursive: true}, list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			have = append(have, item.Name)
		}
		if page == 0 {
			// What comes in between is not in the pages that follow.
			put(t, store, finding("3a", "1", ""))
		}
		if predicate.Continue = list.Continue; predicate.Continue == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "3", "4"}, have); diff != "" {
		t.Errorf("names (-want +have):\n%s", diff)
	}
}

// The cacher asks the store for one name at exactly a version.
func TestOneNameAtAVersionSinceWhichOnlyOthersChanged(t *testing.T) {
	store, front := cached(t)
	put(t, store, finding("one", "u1", "first"))
	at, err := store.GetCurrentResourceVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exactly := func() (*srenix.FindingList, error) {
		list := &srenix.FindingList{}
		return list, front.GetList(t.Context(), prefix+"/ns/one", storage.ListOptions{
			ResourceVersion: strconv.FormatUint(at, 10), ResourceVersionMatch: metav1.ResourceVersionMatchExact, Predicate: everything(),
		}, list)
	}
	put(t, store, finding("other", "u2", "first"))
	list, err := exactly()
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Name != "one" || list.ResourceVersion != strconv.FormatUint(at, 10) {
		t.Errorf("have %d items at version %s, want one at %d", len(list.Items), list.ResourceVersion, at)
	}
	put(t, store, finding("one", "u1", "second"))
	if list, err := exactly(); !apierrors.IsResourceExpired(err) {
		t.Errorf("have %d items and error %v of an object that has changed, want it expired", len(list.Items), err)
	}
	if err := store.Remove(finding("one", "u1", "second")); err != nil {
		t.Fatal(err)
	}
	if list, err := exactly(); !apierrors.IsResourceExpired(err) {
		t.Errorf("have %d items and error %v of an object that is gone, want it expired", len(list.Items), err)
	}
}

func TestWritingIsRefused(t *testing.T) {
	store := NewStore(srenix.Resource("findings"), key, func() runtime.Object { return &srenix.Finding{} }, testingclock.NewFakePassiveClock(time.Now()))
	for verb, err := range map[string]error{
		"create": store.Create(t.Context(), "", nil, nil, 0),
		"delete": store.Delete(t.Context(), "", nil, nil, nil, nil, storage.DeleteOptions{}),
		"update": store.GuaranteedUpdate(t.Context(), "", nil, false, nil, nil, nil),
	} {
		if !apierrors.IsMethodNotSupported(err) {
			t.Errorf("%s: %v, want 405", verb, err)
		}
	}
}
