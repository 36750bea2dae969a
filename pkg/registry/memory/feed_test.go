// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/apis/srenix"
)

func bare() *Store {
	return NewStore(srenix.Resource("findings"), key, func() runtime.Object { return &srenix.Finding{} }, clock.RealClock{})
}

// feeds are those that a store sends its changes to.
func feeds(s *Store) (all []*feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.feeds {
		all = append(all, f)
	}
	return all
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

func TestAFeedThatFallsTooFarBehindEnds(t *testing.T) {
	store := bare()
	w, err := store.Watch(t.Context(), prefix, storage.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := feeds(store)[0]
	const some = longestBacklog / 2
	for i := range some {
		put(t, store, finding("a", "1", fmt.Sprint(i)))
	}
	for i := range some {
		if have := next(t, w).Object.(*srenix.Finding).Spec.Message; have != fmt.Sprint(i) {
			t.Fatalf("event %d is %q", i, have)
		}
	}
	// Who keeps up is fed for ever; nobody takes any of these.
	for i := range longestBacklog + 2*cap(f.out) {
		put(t, store, finding("a", "1", fmt.Sprint(some+i)))
	}
	eventually(t, "the feed to be forgotten", func() bool { return len(feeds(store)) == 0 })
	put(t, store, finding("a", "1", "after it"))
	f.mu.Lock()
	if n := len(f.pending); n != 0 {
		t.Errorf("%d events wait for a feed that has ended", n)
	}
	f.mu.Unlock()
	// What was on its way comes, in order and without a gap, and then the end.
	following := some
	for event := range w.ResultChan() {
		if have := event.Object.(*srenix.Finding).Spec.Message; have != fmt.Sprint(following) {
			t.Fatalf("the event after %d is %q", following-1, have)
		}
		following++
	}
}

func TestWhatAFeedBeginsWithIsNoBacklog(t *testing.T) {
	store := bare()
	const count = longestBacklog + 1000
	for i := range count {
		put(t, store, finding(fmt.Sprint(i), "1", ""))
	}
	stream := true
	w, err := store.Watch(t.Context(), prefix, storage.ListOptions{SendInitialEvents: &stream})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	put(t, store, finding("0", "1", "changed"))
	for i := range count {
		if event := next(t, w); event.Type != watch.Added {
			t.Fatalf("event %d is %s", i, event.Type)
		}
	}
	if event := next(t, w); event.Type != watch.Bookmark {
		t.Errorf("after the initial events comes %s", event.Type)
	}
	if event := next(t, w); event.Type != watch.Modified {
		t.Errorf("after the bookmark comes %s", event.Type)
	}
}

// TestTheCacherGetsOverTheEndOfItsFeed: what was not fed to it, it lists.
func TestTheCacherGetsOverTheEndOfItsFeed(t *testing.T) {
	store, front := cached(t)
	put(t, store, finding("a", "1", "before"))
	w, err := front.Watch(t.Context(), prefix, storage.ListOptions{ResourceVersion: "0", Predicate: everything(), Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	next(t, w)
	f := feeds(store)[0]
	f.mu.Lock()
	f.limit = 0 // as if it were that far behind
	f.mu.Unlock()
	put(t, store, finding("a", "1", "missed"))
	for event := range w.ResultChan() {
		t.Errorf("have %s, want the end of the watch", event.Type)
	}
	eventually(t, "the cacher to be fed again", func() bool { return len(feeds(store)) == 1 && front.ReadinessCheck() == nil })
	again, err := front.Watch(t.Context(), prefix, storage.ListOptions{ResourceVersion: "0", Predicate: everything(), Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	put(t, store, finding("a", "1", "after"))
	for _, want := range []string{"missed", "after"} {
		if have := unwrap(next(t, again).Object).Spec.Message; have != want {
			t.Errorf("have %q, want %q", have, want)
		}
	}
}
