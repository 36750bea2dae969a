// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// content is what a list is wanted to hold.
type content int

const (
	// present is what there is now, at no older a version than was asked for.
	present content = iota
	// past is what there was at the version asked for, which the list has.
	past
	// presentExactly is what there is now, at the version asked for.
	presentExactly
)

// TestListVersions goes through the table "resourceVersion in list" of
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.
func TestListVersions(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		for name, test := range map[string]struct {
			query string
			want  content
			// first is how many objects come with a continue token; 0 means all and none.
			first int
		}{
			"unset":                               {query: ""},
			"any":                                 {query: "resourceVersion=0"},
			"no older than an old one":            {query: "resourceVersion={old}"},
			"no older than the current":           {query: "resourceVersion={current}"},
			"explicitly any":                      {query: "resourceVersion=0&resourceVersionMatch=NotOlderThan"},
			"explicitly no older than an old one": {query: "resourceVersion={old}&resourceVersionMatch=NotOlderThan"},
			"explicitly no older than current":    {query: "resourceVersion={current}&resourceVersionMatch=NotOlderThan"},
			// The cache keeps a snapshot for every change in its window, so an old
			// version is served as it was, and 410 only once it has left the window.
			"exactly an old one":  {query: "resourceVersion={old}&resourceVersionMatch=Exact", want: past},
			"exactly the current": {query: "resourceVersion={current}&resourceVersionMatch=Exact", want: presentExactly},

			"limited, unset": {query: "limit=2", first: 2},
			// A limit may be ignored where any version will do, and kube-apiserver does.
			"limited, any":                      {query: "limit=2&resourceVersion=0"},
			"limited, explicitly any":           {query: "limit=2&resourceVersion=0&resourceVersionMatch=NotOlderThan"},
			"limited, from an old one":          {query: "limit=2&resourceVersion={old}", want: past, first: 2},
			"limited, exactly an old one":       {query: "limit=2&resourceVersion={old}&resourceVersionMatch=Exact", want: past, first: 2},
			"limited, exactly the current":      {query: "limit=2&resourceVersion={current}&resourceVersionMatch=Exact", want: presentExactly, first: 2},
			"limited, no older than an old one": {query: "limit=2&resourceVersion={old}&resourceVersionMatch=NotOlderThan", first: 2},
			"limited to more than there are":    {query: "limit=100"},
		} {
			t.Run(name, func(t *testing.T) {
				asked := s.query(t, test.query)
				list := s.client.get(t, s.path, asked, jsonType).list(t)
				checkVersions(t, list)
				current, all := s.current(t)
				want := all
				if test.want == past {
					want = s.oldNames
				}
				if test.first > 0 {
					want = want[:test.first]
				}
				if diff := cmp.Diff(want, s.namesOf(list.Items)); diff != "" {
					t.Errorf("content (-want +have):\n%s", diff)
				}
				if (list.GetContinue() != "") != (test.first > 0) {
					t.Errorf("the continue token is %q", list.GetContinue())
				}
				have := version(t, list.GetResourceVersion())
				switch test.want {
				case past:
					if list.GetResourceVersion() != s.old {
						t.Errorf("the list is of version %d, want exactly %s", have, s.old)
					}
				case presentExactly:
					if want := s.queryVersion(t, asked); list.GetResourceVersion() != want {
						t.Errorf("the list is of version %d, want exactly %s", have, want)
					}
				case present:
					if have < version(t, s.old) || have > version(t, current) {
						t.Errorf("the list is of version %d, want one between %s and %s", have, s.old, current)
					}
				}
			})
		}
	})
}

func TestListsThatAreRefused(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		for name, test := range map[string]struct {
			query  string
			code   int
			reason metav1.StatusReason
		}{
			"a match without a version":            {"resourceVersionMatch=NotOlderThan", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"exactly no version":                   {"resourceVersionMatch=Exact", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"exactly any version":                  {"resourceVersion=0&resourceVersionMatch=Exact", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"an unknown match":                     {"resourceVersion={old}&resourceVersionMatch=Newest", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"initial events":                       {"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={old}", http.StatusUnprocessableEntity, metav1.StatusReasonInvalid},
			"a word for a version":                 {"resourceVersion=newest", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"a negative version":                   {"resourceVersion=-1", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"a word for an exact version":          {"resourceVersion=newest&resourceVersionMatch=Exact", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"a word for a version, limited":        {"limit=2&resourceVersion=newest", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"a version that is not reached":        {"resourceVersion={future}", http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
			"no older than one not reached":        {"resourceVersion={future}&resourceVersionMatch=NotOlderThan", http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
			"exactly one not reached":              {"resourceVersion={future}&resourceVersionMatch=Exact", http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
			"limited, from one not reached":        {"limit=2&resourceVersion={future}", http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
			"exactly one that is no longer known":  {"resourceVersion=1&resourceVersionMatch=Exact", http.StatusGone, metav1.StatusReasonExpired},
			"limited, from one no longer known":    {"limit=2&resourceVersion=1", http.StatusGone, metav1.StatusReasonExpired},
			"a limit that is no number":            {"limit=few", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"a label selector that does not parse": {"labelSelector=a%3D%3D%3Db", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		} {
			t.Run(name, func(t *testing.T) {
				if !s.own {
					t.Parallel() // kube-apiserver waits three seconds for some.
				}
				answered := s.client.get(t, s.path, s.query(t, test.query), jsonType)
				if !s.own && test.code == http.StatusGone && answered.code == http.StatusOK {
					return // kube-apiserver asks etcd, which keeps versions until its compaction
				}
				checkRefusal(t, answered, test.code, test.reason)
			})
		}
	})
}

// TestGetVersions goes through the table "resourceVersion in get" of the same page.
func TestGetVersions(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		list := s.client.get(t, s.path, "", jsonType).list(t)
		one := list.Items[0]
		path := s.path + "/" + one.GetName()
		for name, query := range map[string]string{
			"unset":                    "",
			"any":                      "resourceVersion=0",
			"no older than an old one": "resourceVersion={old}",
			"no older than current":    "resourceVersion={current}",
		} {
			t.Run(name, func(t *testing.T) {
				have := &unstructured.Unstructured{}
				answered := s.client.get(t, path, s.query(t, query), jsonType)
				if answered.code != http.StatusOK {
					t.Fatalf("have %d: %s", answered.code, answered.body)
				}
				must(t, have.UnmarshalJSON(answered.body))
				// In a list of a served kind the items leave out what the list says.
				have.SetKind(one.GetKind())
				have.SetAPIVersion(one.GetAPIVersion())
				if diff := cmp.Diff(one.Object, have.Object); diff != "" {
					t.Errorf("the object differs from the list's (-list +get):\n%s", diff)
				}
			})
		}
		for name, test := range map[string]struct {
			path, query string
			code        int
			reason      metav1.StatusReason
		}{
			"a version that is not reached":             {path, "resourceVersion={future}", http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
			"a word for a version":                      {path, "resourceVersion=newest", http.StatusBadRequest, metav1.StatusReasonBadRequest},
			"what does not exist":                       {s.path + "/missing", "", http.StatusNotFound, metav1.StatusReasonNotFound},
			"what does not exist, any version":          {s.path + "/missing", "resourceVersion=0", http.StatusNotFound, metav1.StatusReasonNotFound},
			"what does not exist, no older than an old": {s.path + "/missing", "resourceVersion={old}", http.StatusNotFound, metav1.StatusReasonNotFound},
		} {
			t.Run(name, func(t *testing.T) {
				if !s.own {
					t.Parallel()
				}
				code, reason := s.refusal(test.code, test.reason)
				checkRefusal(t, s.client.get(t, test.path, s.query(t, test.query), jsonType), code, reason)
			})
		}
	})
}

// TestExactlyTheCurrentOfOneName takes a path of its own through the cache, which
// keeps no snapshots of single objects: the version that a list has just told must be
// there still, whatever happens to other objects meanwhile.
func TestExactlyTheCurrentOfOneName(t *testing.T) {
	t.Parallel()
	specimens(t, func(t *testing.T, s *specimen) {
		one := s.client.get(t, s.path, "", jsonType).list(t).Items[0]
		byName := selecting("fieldSelector", "metadata.name="+one.GetName())
		current, _ := s.current(t)
		answered := s.client.get(t, s.path, byName+"&resourceVersionMatch=Exact&resourceVersion="+current, jsonType)
		if answered.code != http.StatusOK {
			t.Fatalf("have %d: %s", answered.code, answered.body)
		}
		list := answered.list(t)
		if diff := cmp.Diff([]unstructured.Unstructured{one}, list.Items); diff != "" || list.GetResourceVersion() != current {
			t.Errorf("have version %s, want exactly %s (-want +have):\n%s", list.GetResourceVersion(), current, diff)
		}
	})
}
