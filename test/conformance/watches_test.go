// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// TestWatchVersions goes through the table "resourceVersion in watch" of
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
// and through that of streaming lists. After what a watch begins with comes a
// change, so that a watch which sends too much fails as one that sends too little.
func TestWatchVersions(t *testing.T) {
	t.Parallel()
	const (
		nothing = iota // Only what happens from now on.
		state          // The present objects.
		replay         // What followed the old version, in order.
		lastOne        // The one change that followed the last but one version.
	)
	specimens(t, func(t *testing.T, s *specimen) {
		for name, test := range map[string]struct {
			query string
			want  int
			// ends is whether the initial events end with a bookmark.
			ends bool
		}{
			"unset":            {query: "", want: state},
			"any":              {query: "resourceVersion=0", want: state},
			"an old one":       {query: "resourceVersion={old}", want: replay},
			"the last but one": {query: "resourceVersion={previous}", want: lastOne},
			"the current":      {query: "resourceVersion={current}", want: nothing},

			"initial events, unset":                   {query: "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", want: state, ends: true},
			"initial events, any":                     {query: "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0", want: state, ends: true},
			"initial events, no older than an old":    {query: "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={old}", want: state, ends: true},
			"initial events, no older than current":   {query: "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={current}", want: state, ends: true},
			"initial events, and no bookmarks wanted": {query: "sendInitialEvents=true&resourceVersionMatch=NotOlderThan", want: state},
			"no initial events, unset":                {query: "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", want: nothing},
			"no initial events, any":                  {query: "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0", want: nothing},
			"no initial events, an old one":           {query: "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={old}", want: replay},
			"no initial events, the current":          {query: "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={current}", want: nothing},
		} {
			t.Run(name, func(t *testing.T) {
				list := s.client.get(t, s.path, "", jsonType).list(t)
				all := s.namesOf(list.Items)
				want := []change{}
				switch test.want {
				case state:
					want = added(all)
				case replay:
					want = slices.Clone(s.history)
				case lastOne:
					want = slices.Clone(s.history[len(s.history)-1:])
				}
				w := s.client.watch(t, s.path, s.query(t, test.query), jsonType)
				var have []event
				for range want {
					have = append(have, w.next(t))
				}
				changes := s.eventsOf(have)
				if test.want == state {
					// The order of the present objects is nobody's promise.
					slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.Name, b.Name) })
				}
				if diff := cmp.Diff(want, changes); diff != "" {
					t.Fatalf("events (-want +have):\n%s", diff)
				}
				if test.want == state {
					checkInitial(t, list, have)
				}
				if test.ends {
					if end := w.next(t); !end.endsInitial() || end.version(t) < version(t, list.GetResourceVersion()) {
						t.Fatalf("have %s %v, want the bookmark that ends the initial events", end.kind, end.object)
					}
				}
				next := change{watch.Added, s.marker(t)}
				following := w.next
				if strings.Contains(test.query, "allowWatchBookmarks") {
					following = w.change
				}
				if diff := cmp.Diff([]change{next}, s.eventsOf([]event{following(t)})); diff != "" {
					t.Errorf("the first event afterwards (-want +have):\n%s", diff)
				}
			})
		}
	})
}

// checkInitial checks that initial events are the list's objects as they are.
func checkInitial(t *testing.T, list *unstructured.UnstructuredList, events []event) {
	t.Helper()
	want, have := map[string]any{}, map[string]any{}
	for _, item := range list.Items {
		want[item.GetName()] = item.Object
	}
	for _, e := range events {
		have[e.object.GetName()] = e.object.Object
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("the initial events differ from the list (-list +events):\n%s", diff)
	}
}

// TestWatchesThatExpired are told so inside of the stream, as by kube-apiserver:
// a client that watches looks there. There are no rows for kube-apiserver: its
// history begins with version 1, and for a version that it has not reached it
// waits, because all of its replicas have one etcd. Replicas of srenix have a
// history each, so that waiting would be in vain.
func TestWatchesThatExpired(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	future := foreign(t, withFindings(t, ns, "a").GetResourceVersion())
	for name, query := range map[string]string{
		"a version before the window":             "resourceVersion=1",
		"before the window, no initial events":    "resourceVersion=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
		"a foreign version":                       "resourceVersion=" + future,
		"a foreign version, initial events":       "resourceVersion=" + future + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
		"a foreign version, no initial events":    "resourceVersion=" + future + "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
		"a foreign version of one object by name": "resourceVersion=" + future + "&fieldSelector=metadata.name%3Dany",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events := c.watch(t, findings(ns), query, jsonType).rest(t)
			if len(events) != 1 || events[0].kind != watch.Error || events[0].code() != http.StatusGone || events[0].reason() != metav1.StatusReasonExpired {
				t.Errorf("have %v, want one ERROR with 410 Expired", events)
			}
		})
	}
}

func TestWatchesThatAreRefused(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		for name, test := range map[string]struct {
			query  string
			code   int
			reason metav1.StatusReason
		}{
			"initial events without a match":    {"sendInitialEvents=true", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"no initial events without a match": {"sendInitialEvents=false", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"initial events of an exact one":    {"sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion={old}", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"a match without initial events":    {"resourceVersionMatch=NotOlderThan&resourceVersion={old}", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"a continue token with a match":     {"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"a word for a version":              {"resourceVersion=newest", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"a negative version":                {"resourceVersion=-1", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		} {
			t.Run(name, func(t *testing.T) {
				code, reason := s.refusal(test.code, test.reason)
				checkRefusal(t, s.client.get(t, s.path, "watch=true&timeoutSeconds=5&"+s.query(t, test.query), jsonType), code, reason)
			})
		}
	})
}
