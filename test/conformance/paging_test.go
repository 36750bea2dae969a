// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// roleNames are so many names, in order.
func roleNames(count int) []string {
	all := []string{}
	for i := range count {
		all = append(all, fmt.Sprintf("role-%03d", i))
	}
	return all
}

// continueWith is a continue token as k8s.io/apiserver writes it.
func continueWith(t *testing.T, resourceVersion int64, start string) string {
	t.Helper()
	token, err := json.Marshal(map[string]any{"v": "meta.k8s.io/v1", "rv": resourceVersion, "start": start})
	must(t, err)
	return base64.RawURLEncoding.EncodeToString(token)
}

func TestPagesMakeTheList(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		whole := s.client.get(t, s.path, "", jsonType).list(t)
		for _, size := range []int{1, 2, 3, len(whole.Items), len(whole.Items) + 1} {
			t.Run(fmt.Sprintf("pages of %d", size), func(t *testing.T) {
				var items []unstructured.Unstructured
				token, first := "", ""
				for {
					query := fmt.Sprintf("limit=%d", size)
					if token != "" {
						query += "&" + selecting("continue", token)
					}
					page := s.client.get(t, s.path, query, jsonType).list(t)
					checkVersions(t, page)
					if first == "" {
						first = page.GetResourceVersion()
					}
					if page.GetResourceVersion() != first {
						t.Errorf("a page is of version %s, and the first of %s", page.GetResourceVersion(), first)
					}
					items = append(items, page.Items...)
					left := int64(len(whole.Items) - len(items))
					if left < 0 {
						t.Fatalf("the pages have %d more than the list", -left)
					}
					switch remaining := page.GetRemainingItemCount(); {
					case left > 0 && (remaining == nil || *remaining != left || page.GetContinue() == ""):
						t.Errorf("%d are left, and remainingItemCount is %v and continue %q", left, remaining, page.GetContinue())
					case left == 0 && (remaining != nil || page.GetContinue() != ""):
						t.Errorf("nothing is left, and remainingItemCount is %v and continue %q", remaining, page.GetContinue())
					}
					if token = page.GetContinue(); token == "" {
						break
					}
				}
				if diff := cmp.Diff(whole.Items, items); diff != "" {
					t.Errorf("the pages differ from the list (-list +pages):\n%s", diff)
				}
			})
		}
	})
}

// TestPagesAreOfOneMoment changes what is listed between two pages.
func TestPagesAreOfOneMoment(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		_, want := s.current(t)
		page := s.client.get(t, s.path, "limit=2", jsonType).list(t)
		have := s.namesOf(page.Items)
		s.change(t, "DELETED", "e")
		s.change(t, "ADDED", "g")
		s.change(t, "ADDED", "a")
		rest := s.client.get(t, s.path, selecting("continue", page.GetContinue()), jsonType).list(t)
		have = append(have, s.namesOf(rest.Items)...)
		slices.Sort(want)
		slices.Sort(have)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("the pages do not make the list at the time of the first (-want +have):\n%s", diff)
		}
		if rest.GetResourceVersion() != page.GetResourceVersion() {
			t.Errorf("the pages are of versions %s and %s", page.GetResourceVersion(), rest.GetResourceVersion())
		}
	})
}

func TestContinueWithOtherParameters(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	all := roleNames(9)
	withFindings(t, ns, all...)
	sorted := subjects(c.get(t, findings(ns), "", jsonType).list(t).Items)
	page := c.get(t, findings(ns), "limit=3", jsonType).list(t)
	for name, test := range map[string]struct {
		query string
		want  []string
		more  bool
	}{
		"no limit":           {"", sorted[3:], false},
		"a smaller limit":    {"limit=1", sorted[3:4], true},
		"a larger limit":     {"limit=5", sorted[3:8], true},
		"a field selector":   {selecting("fieldSelector", "spec.subject.name="+sorted[7]), sorted[7:8], false},
		"another selector":   {selecting("fieldSelector", "spec.subject.name="+sorted[0]), []string{}, false},
		"a label selector":   {selecting("labelSelector", "srenix.io/severity=Critical"), []string{}, false},
		"any version":        {"resourceVersion=0", sorted[3:], false},
		"limit and selector": {"limit=2&" + selecting("labelSelector", "srenix.io/severity=Warning"), sorted[3:5], true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := c.get(t, findings(ns), selecting("continue", page.GetContinue())+"&"+test.query, jsonType).list(t)
			if diff := cmp.Diff(test.want, subjects(list.Items)); diff != "" {
				t.Errorf("continued (-want +have):\n%s", diff)
			}
			if (list.GetContinue() != "") != test.more {
				t.Errorf("the continue token is %q", list.GetContinue())
			}
			if list.GetResourceVersion() != page.GetResourceVersion() {
				t.Errorf("continued at version %s, want that of the first page, %s", list.GetResourceVersion(), page.GetResourceVersion())
			}
			if list.GetRemainingItemCount() != nil && test.query != "limit=1" && test.query != "limit=5" {
				t.Errorf("remainingItemCount is %d, which nobody can know", *list.GetRemainingItemCount())
			}
		})
	}
}

func TestContinueTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		page := s.client.get(t, s.path, "limit=2", jsonType).list(t)
		good := page.GetContinue()
		number := int64(version(t, page.GetResourceVersion()))
		for name, test := range map[string]struct {
			query  string
			code   int
			reason metav1.StatusReason
		}{
			"a mangled one":             {selecting("continue", good[1:]), http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"half of one":               {selecting("continue", good[:len(good)/2]), http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"no token":                  {"continue=token", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"of another form":           {selecting("continue", base64.RawURLEncoding.EncodeToString([]byte(`{"v":"v2","rv":1,"start":"a"}`))), http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"of no version":             {selecting("continue", continueWith(t, 0, "a")), http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"of no start":               {selecting("continue", continueWith(t, number, "")), http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"into another namespace":    {selecting("continue", continueWith(t, number, "../default/a")), http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"beside a version":          {selecting("continue", good) + "&resourceVersion=" + page.GetResourceVersion(), http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"beside a match":            {selecting("continue", good) + "&resourceVersionMatch=NotOlderThan&resourceVersion=0", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"beside an exact version":   {selecting("continue", good) + "&resourceVersionMatch=Exact&resourceVersion=" + page.GetResourceVersion(), http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"beside a match of nothing": {selecting("continue", good) + "&resourceVersionMatch=Exact", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
		} {
			t.Run(name, func(t *testing.T) {
				checkRefusal(t, s.client.get(t, s.path, test.query, jsonType), test.code, test.reason)
			})
		}
	})
}

// TestContinueTokensThatExpired are answered as the documentation of
// ListOptions.continue has it: with 410 and a token to go on with from the same
// place at another moment, for clients that can live with that.
func TestContinueTokensThatExpired(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	list := withFindings(t, ns, roleNames(5)...)
	after := list.Items[1].GetName() + "\x00"
	current := int64(version(t, list.GetResourceVersion()))
	for name, token := range map[string]string{
		"a version before the window": continueWith(t, 1, after),
		// Asking again cannot help, as 504 would say: this server never gets there.
		"a version of another server": continueWith(t, current+1<<40, after),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answered := c.get(t, findings(ns), "limit=2&"+selecting("continue", token), jsonType)
			checkRefusal(t, answered, http.StatusGone, metav1.StatusReasonExpired)
			fresh := answered.status(t).Continue
			if fresh == "" {
				t.Fatal("there is no token to go on with")
			}
			rest := c.get(t, findings(ns), selecting("continue", fresh), jsonType).list(t)
			if diff := cmp.Diff(names(list.Items[2:]), names(rest.Items)); diff != "" {
				t.Errorf("going on (-want +have):\n%s", diff)
			}
		})
	}
	t.Run("going on at whatever moment", func(t *testing.T) {
		t.Parallel()
		rest := c.get(t, findings(ns), selecting("continue", continueWith(t, -1, after)), jsonType).list(t)
		if diff := cmp.Diff(names(list.Items[2:]), names(rest.Items)); diff != "" {
			t.Errorf("going on (-want +have):\n%s", diff)
		}
	})
}
