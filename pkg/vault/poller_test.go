// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live/livetest"
)

// shelf is a Looker over what a test puts in.
type shelf struct {
	mu   sync.Mutex
	has  map[Path]Seen
	fail error
	asks [][]Path
}

func (s *shelf) Look(_ context.Context, paths []Path) (map[Path]Seen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks = append(s.asks, paths)
	seen := map[Path]Seen{}
	for _, path := range paths {
		seen[path] = s.has[path]
	}
	return seen, s.fail
}

func (s *shelf) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func next(t *testing.T, w watch.Interface) string {
	t.Helper()
	select {
	case event, open := <-w.ResultChan():
		if !open {
			return "closed"
		}
		if object, is := event.Object.(*unstructured.Unstructured); is {
			return fmt.Sprintf("%s %s", event.Type, SeenOf(object).State)
		}
		return fmt.Sprintf("%s expired: %t", event.Type, apierrors.IsResourceExpired(apierrors.FromObject(event.Object)))
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return ""
	}
}

func TestAPollerListsAndWatches(t *testing.T) {
	a, b := in("secret", "a"), in("secret", "b")
	s := &shelf{has: map[Path]Seen{a: {State: Missing}, b: {State: Exists, Keys: map[string]any{"k": nil}}}}
	wanted := []Path{a}
	clock := testingclock.NewFakeClock(time.Unix(0, 0))
	p := NewPoller(s, func(context.Context) ([]Path, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return wanted, nil
	}, time.Minute, clock)

	list, err := p.ListWithContext(t.Context(), metav1.ListOptions{})
	if err != nil || meta.LenList(list) != 1 {
		t.Fatalf("have %v, %v", list, err)
	}
	version := list.(*unstructured.UnstructuredList).GetResourceVersion()
	if _, err := p.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "0"}); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch from elsewhere begins: %v", err)
	}
	w, err := p.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	livetest.Eventually(t, "it waits for its time", clock.HasWaiters)

	s.set(func() { wanted = []Path{a, b} })
	p.Changed()
	if have := next(t, w); have != "ADDED Exists" {
		t.Errorf("have %s", have)
	}
	if diff := cmp.Diff([]Path{b}, s.asks[len(s.asks)-1]); diff != "" {
		t.Errorf("more than what is new is asked for (-want +have):\n%s", diff)
	}
	s.set(func() { s.has[a] = Seen{State: Exists} })
	clock.Step(time.Minute)
	if have := next(t, w); have != "MODIFIED Exists" {
		t.Errorf("have %s", have)
	}
	s.set(func() { wanted = []Path{b} })
	p.Changed()
	if have := next(t, w); have != "DELETED Exists" {
		t.Errorf("have %s", have)
	}
	s.set(func() { s.fail = errors.New("sealed") })
	clock.Step(time.Minute)
	if have := next(t, w) + ", " + next(t, w); have != "ERROR expired: true, closed" {
		t.Errorf("have %s", have)
	}
	if _, err := p.ListWithContext(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("a list goes well while Vault does not")
	}
	s.set(func() { s.fail = nil })
	if list, err = p.ListWithContext(t.Context(), metav1.ListOptions{}); err != nil || meta.LenList(list) != 1 {
		t.Errorf("have %v, %v", list, err)
	}
}

func TestWhatWasKnownStandsForAPathThatVaultFailsAt(t *testing.T) {
	a, b, c := in("secret", "a"), in("secret", "b"), in("secret", "c")
	s := &shelf{has: map[Path]Seen{a: {State: Missing}, b: {State: Exists, Keys: map[string]any{"k": nil}}, c: {State: failing}}}
	p := NewPoller(s, func(context.Context) ([]Path, error) { return []Path{a, b, c}, nil }, time.Minute, testingclock.NewFakeClock(time.Unix(0, 0)))
	if _, err := p.ListWithContext(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // however long it lasts
		s.set(func() { s.has[a], s.has[b] = Seen{State: failing}, Seen{State: failing} })
		if _, err := p.round(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		want := map[Path]Seen{a: {State: Missing, Stale: true}, b: {State: Exists, Keys: map[string]any{"k": nil}, Stale: true}, c: {State: Hidden, Stale: true}}
		if diff := cmp.Diff(want, p.seen); diff != "" {
			t.Errorf("-want +have:\n%s", diff)
		}
	}
	s.set(func() { s.has[b] = Seen{State: Exists} })
	if _, err := p.round(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Seen{State: Exists}, p.seen[b]); diff != "" {
		t.Errorf("-want +have:\n%s", diff)
	}
}

func TestAWatchEndsWhenItIsStopped(t *testing.T) {
	p := NewPoller(&shelf{}, func(context.Context) ([]Path, error) { return nil, nil }, time.Minute, testingclock.NewFakeClock(time.Unix(0, 0)))
	list, err := p.ListWithContext(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: list.(*unstructured.UnstructuredList).GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	if have := next(t, w); have != "closed" {
		t.Errorf("have %s", have)
	}
}

func TestObjectsHoldNoValues(t *testing.T) {
	path := in("secret", "a")
	object := Object(path, Seen{State: Exists, Keys: map[string]any{"k": "value", "in": map[string]any{"k": "value"}}, Stale: true})
	want := Seen{State: Exists, Keys: map[string]any{"k": nil, "in": map[string]any{"k": nil}}, Stale: true}
	if diff := cmp.Diff(want, SeenOf(object)); diff != "" {
		t.Errorf("-want +have:\n%s", diff)
	}
	if diff := cmp.Diff(object, object.DeepCopy()); diff != "" {
		t.Errorf("a copy is another one:\n%s", diff)
	}
	if have := SeenOf(&unstructured.Unstructured{Object: map[string]any{"status": "odd"}}); have.State != "" || have.Keys != nil {
		t.Errorf("have %v", have)
	}
}
