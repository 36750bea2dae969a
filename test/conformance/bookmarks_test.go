// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/watch"
)

// bookmarkDeadline is how long a periodic bookmark may take: they come about once
// a minute (k8s.io/apiserver, pkg/storage/cacher, defaultBookmarkFrequency).
const bookmarkDeadline = 100 * time.Second

// checkResumable checks that a watch from a bookmark misses nothing: the first
// event is the change that is made now.
func checkResumable(t *testing.T, c client, ns, path string, bookmark event, role string) {
	t.Helper()
	w := c.watch(t, path, selecting("resourceVersion", bookmark.object.GetResourceVersion()), jsonType)
	must(t, createRole(t.Context(), ns, role))
	if first := w.next(t); !about(watch.Added, role)(first) {
		t.Errorf("a watch from the bookmark begins with %s of %s, want %s added", first.kind, subject(first.object), role)
	}
}

// checkBookmark checks that a bookmark has a version, its kind, and nothing else.
func checkBookmark(t *testing.T, e event) {
	t.Helper()
	if e.kind != watch.Bookmark {
		t.Fatalf("have %s of %s, want a bookmark", e.kind, subject(e.object))
	}
	if e.object.GetKind() != "Finding" || e.object.GetAPIVersion() != "srenix.io/v1alpha1" || e.object.GetName() != "" {
		t.Errorf("the bookmark is %v", e.object)
	}
}

func TestPeriodicBookmarks(t *testing.T) {
	t.Parallel()
	ns, elsewhere := namespace(t), namespace(t)
	c := newClient(t, admin)
	from := selecting("resourceVersion", withFindings(t, ns, "a").GetResourceVersion())
	// A selector that nothing matches, for that is where bookmarks matter most.
	quiet := c.watch(t, findings(ns), from+"&allowWatchBookmarks=true&"+selecting("fieldSelector", "spec.severity=Info"), jsonType)
	silent := c.watch(t, findings(ns), from, jsonType)
	// What happens in another namespace moves the version on.
	moved := version(t, withFindings(t, elsewhere, "b").GetResourceVersion())

	var bookmark event
	select {
	case bookmark = <-quiet.events:
	case <-time.After(bookmarkDeadline):
		t.Fatal("no bookmark came")
	}
	checkBookmark(t, bookmark)
	if bookmark.endsInitial() {
		t.Error("the bookmark ends initial events that nobody asked for")
	}
	if have := bookmark.version(t); have < moved {
		t.Errorf("the bookmark is of version %d, want at least %d", have, moved)
	}
	checkResumable(t, c, ns, findings(ns), bookmark, "c")
	// The watch without the flag has been open all the while, and has only that.
	if first := silent.next(t); !about(watch.Added, "c")(first) {
		t.Errorf("without allowWatchBookmarks: have %s of %s first, want c added", first.kind, subject(first.object))
	}
}

// TestBookmarkBeforeTheTimeout is about the bookmark that comes two seconds
// before a watch times out, so that the next watch begins close to now. It is
// offered, not promised: a server that is late lets the watch end without one.
func TestBookmarkBeforeTheTimeout(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	list := withFindings(t, ns, "a")
	from := selecting("resourceVersion", list.GetResourceVersion()) + "&timeoutSeconds=5"
	without := c.watch(t, findings(ns), from, jsonType)
	var with *stream
	var bookmark event
	eventually(t, "a watch that ends with a bookmark", func(context.Context) (bool, string) {
		with = c.watch(t, findings(ns), from+"&allowWatchBookmarks=true", jsonType)
		var open bool
		bookmark, open = receive(t, "a bookmark, or the end of the watch", with.events)
		return open, fmt.Sprintf("a watch ended with none: %v", with.err)
	})
	checkBookmark(t, bookmark)
	if have := bookmark.version(t); have < version(t, list.GetResourceVersion()) {
		t.Errorf("the bookmark is of version %d, before the list's %s", have, list.GetResourceVersion())
	}
	checkResumable(t, c, ns, findings(ns), bookmark, "b")
	for _, e := range with.rest(t) {
		if e.kind == watch.Bookmark && e.version(t) < bookmark.version(t) {
			t.Errorf("bookmarks go back from %d to %d", bookmark.version(t), e.version(t))
		}
	}
	for _, e := range without.rest(t) {
		if e.kind == watch.Bookmark {
			t.Errorf("a bookmark came without allowWatchBookmarks: %v", e.object)
		}
	}
}

// TestInitialEvents compares streamed lists with lists, on results of every size.
func TestInitialEvents(t *testing.T) {
	t.Parallel()
	ns, empty := namespace(t), namespace(t)
	c := newClient(t, admin)
	one := withFindings(t, ns, "a", "b", "c").Items[0].GetName()
	for name, test := range map[string]struct {
		path, query string
		want        int
	}{
		"an empty namespace":                       {findings(empty), "", 0},
		"a namespace that does not exist":          {findings("does-not-exist"), "", 0},
		"a full namespace":                         {findings(ns), "", 3},
		"all namespaces, one by a field":           {findings(""), selecting("fieldSelector", "metadata.namespace="+ns), 3},
		"a field selector that matches one":        {findings(ns), selecting("fieldSelector", "spec.subject.name=b"), 1},
		"a field selector that matches nothing":    {findings(ns), selecting("fieldSelector", "spec.severity=Info"), 0},
		"a label selector that matches all":        {findings(ns), selecting("labelSelector", "srenix.io/severity=Warning"), 3},
		"a label selector that matches nothing":    {findings(ns), selecting("labelSelector", "srenix.io/severity=Info"), 0},
		"one object by its name":                   {findings(ns), selecting("fieldSelector", "metadata.name="+one), 1},
		"an object that does not exist, by name":   {findings(ns), selecting("fieldSelector", "metadata.name=missing"), 0},
		"proposals, of which there are none":       {collection(groupPath, ns, "proposals"), "", 0},
		"clusterfindings, by one that is not":      {groupPath + "/clusterfindings", selecting("fieldSelector", "metadata.name=missing"), 0},
		"a limit, which watches do not care about": {findings(ns), "limit=1", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := c.get(t, test.path, selecting("resourceVersion", "0")+"&"+test.query, jsonType).list(t)
			initial := c.watch(t, test.path, test.query+"&"+streamedList, jsonType).until(t, event.endsInitial)
			events := initial[:len(initial)-1]
			if len(events) != test.want {
				t.Fatalf("%d initial events, want %d", len(events), test.want)
			}
			checkInitial(t, list, events)
			end := initial[len(initial)-1]
			if end.version(t) < version(t, list.GetResourceVersion()) {
				t.Errorf("the bookmark is of version %d, before the list's %s", end.version(t), list.GetResourceVersion())
			}
			if test.path == findings(ns) || test.path == findings(empty) {
				checkBookmark(t, end)
			}
		})
	}
}

// TestStreamedListOfOneObjectGoesOn watches a single name, as `kubectl get NAME -w`
// and `kubectl wait` do, through its deletion and return.
func TestStreamedListOfOneObjectGoesOn(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	one := withFindings(t, ns, "a", "b").Items[0]
	w := c.watch(t, findings(ns), "fieldSelector="+url.QueryEscape("metadata.name="+one.GetName())+"&"+streamedList, jsonType)
	w.until(t, event.endsInitial)
	role := subject(&one)
	must(t, deleteRole(t.Context(), ns, "b"))
	must(t, deleteRole(t.Context(), ns, role))
	must(t, createRole(t.Context(), ns, role))
	want := []change{{watch.Deleted, role}, {watch.Added, role}}
	var have []change
	var uids []string
	for range want {
		e := w.change(t)
		have, uids = append(have, change{e.kind, subject(e.object)}), append(uids, string(e.object.GetUID()))
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("events (-want +have):\n%s", diff)
	}
	// The name is the same, and the finding is about another Role.
	if uids[0] != string(one.GetUID()) || uids[1] == uids[0] {
		t.Errorf("the listed one has UID %s, the deleted and the added one %s", one.GetUID(), uids)
	}
}
