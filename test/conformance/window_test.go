// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// window is how long changes are kept at least (k8s.io/apiserver,
// pkg/storage/storagebackend, DefaultEventsHistoryWindow), and with that how long
// a client may be away and still go on from its version.
const window = 75 * time.Second

// longestBuffer is more than there can be of young changes, twice.
const longestBuffer = 1000

// TestVersionsLeaveTheWindow watches a version age. It has the clusterfindings almost
// to itself: history is kept longer where there is much of it.
func TestVersionsLeaveTheWindow(t *testing.T) {
	t.Parallel()
	clusterScope.Lock()
	t.Cleanup(clusterScope.Unlock)
	withoutClusterRoles(t)
	t.Cleanup(func() { deleteClusterRoles(t) })
	const first, second = "window-1", "window-2"
	about := kinds["clusterfindings"].name
	path := groupPath + "/clusterfindings"
	c := newClient(t, admin)
	for _, name := range []string{first, second} {
		must(t, createClusterRole(t.Context(), "", name))
		eventually(t, "the clusterfinding of "+name, func(context.Context) (bool, string) {
			found := subjects(c.get(t, path, selecting("fieldSelector", "spec.subject.name="+clusterRolePrefix+name), jsonType).list(t).Items)
			return len(found) == 1, fmt.Sprint(found)
		})
	}
	page := c.get(t, path, "limit=1", jsonType).list(t)
	old := page.GetResourceVersion()
	changes := 0
	change := func() {
		changes++
		from := c.get(t, path, "", jsonType).list(t).GetResourceVersion()
		w := c.watch(t, path, selecting("resourceVersion", from), jsonType)
		defer w.stop()
		must(t, updateClusterRole(t.Context(), "", first, changes))
		of := w.until(t, func(e event) bool { return about(e.object) == first })
		if e := of[len(of)-1]; e.kind != watch.Modified {
			t.Fatalf("have %s of %s, want it modified", e.kind, first)
		}
	}
	// The buffer has room for a hundred changes at least, and grows if it is full of
	// young ones.
	for range 60 {
		change()
	}
	filled := time.Now()
	// Others may have findings about their own.
	inWindow := func() (own int) {
		for _, e := range replay(t, c, path, old) {
			if name := about(e.object); name == first || name == second {
				own++
			}
		}
		return own
	}
	if have := inWindow(); have != 60 {
		t.Fatalf("a watch from the old version replays %d changes, want 60", have)
	}
	eventuallyWithin(t, 2*window, "the window to pass", func(context.Context) (bool, string) {
		age := time.Since(filled)
		return age > window, age.String()
	})
	// What is old is dropped only for what is new.
	if have := inWindow(); have != 60 {
		t.Fatalf("a watch from the old version replays %d changes, want 60", have)
	}
	var events []event
	for range longestBuffer / 50 {
		for range 50 {
			change()
		}
		events = c.watch(t, path, selecting("resourceVersion", old)+"&timeoutSeconds=1", jsonType).rest(t)
		if len(events) == 1 {
			break
		}
	}
	if len(events) != 1 || events[0].kind != watch.Error || events[0].code() != http.StatusGone || events[0].reason() != metav1.StatusReasonExpired {
		t.Errorf("watching from what left the window: have %d events, want one ERROR with 410 Expired", len(events))
	}
	for name, query := range map[string]string{
		"exactly the old version": "resourceVersionMatch=Exact&resourceVersion=" + old,
		"the second page":         "limit=1&" + selecting("continue", page.GetContinue()),
	} {
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, c.get(t, path, query, jsonType), http.StatusGone, metav1.StatusReasonExpired)
		})
	}
	// No older than the old one is what there is now.
	if have := c.get(t, path, selecting("resourceVersion", old), jsonType).list(t).GetResourceVersion(); version(t, have) <= version(t, old) {
		t.Errorf("no older than %s: have version %s", old, have)
	}
}

// replay returns what a watch begins with, up to a change that is known to be last.
func replay(t *testing.T, c client, path, from string) []event {
	t.Helper()
	current := version(t, c.get(t, path, "", jsonType).list(t).GetResourceVersion())
	w := c.watch(t, path, selecting("resourceVersion", from), jsonType)
	defer w.stop()
	return w.until(t, func(e event) bool { return e.version(t) >= current })
}
