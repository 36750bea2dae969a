// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestWhatAWatcherLosesIsCounted also where as many events came twice.
func TestWhatAWatcherLosesIsCounted(t *testing.T) {
	event := func(kind, uid string) string {
		return fmt.Sprintf(`{"type":%q,"object":{"metadata":{"name":"f","uid":%q,"resourceVersion":"7"},"spec":{"subject":{"name":%q,"uid":"another"}}}}`, kind, uid, uid)
	}
	began, ended := func(uid string) string { return event("ADDED", uid) }, func(uid string) string { return event("DELETED", uid) }
	const sent = 6
	for name, test := range map[string]struct {
		events []string
		lost   int
	}{
		"all":                  {[]string{ended("old"), began("a"), event("MODIFIED", "a"), ended("a"), began("a"), ended("a"), ended("last")}, 0},
		"an end":               {[]string{ended("old"), began("a"), began("a"), ended("a"), ended("last")}, 1},
		"an end, a begin more": {[]string{ended("old"), began("a"), began("a"), began("a"), ended("a"), ended("last")}, 2},
		"a begin and an end":   {[]string{ended("old"), began("a"), ended("a"), ended("last")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for _, event := range test.events {
					_, _ = fmt.Fprintln(w, event)
				}
			}))
			defer server.Close()
			s := &stream{client: server.Client(), url: server.URL, last: []byte(`"name":"last"`), present: map[string]bool{"old": true, "last": true}}
			s.run(t.Context())
			if s.err != nil {
				t.Fatal(s.err)
			}
			if got := s.lost(sent); got != test.lost {
				t.Errorf("%d are lost, want %d", got, test.lost)
			}
		})
	}
}
