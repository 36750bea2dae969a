// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// metric reads the sum of a metric of the aggregated server over the label
// values that match.
func metric(t *testing.T, name string, labels ...string) int {
	t.Helper()
	c := newClient(t, directConfig(t, srenix.APIPort()))
	answered := c.get(t, "/metrics", "", "text/plain")
	if answered.code != http.StatusOK {
		t.Fatalf("reading metrics: %d: %s", answered.code, answered.body)
	}
	sum := 0
	for _, line := range regexp.MustCompile(`(?m)^`+name+`(\{.*\})? (\S+)$`).FindAllStringSubmatch(string(answered.body), -1) {
		if slices.ContainsFunc(labels, func(label string) bool { return !strings.Contains(line[1], label) }) {
			continue
		}
		value, err := strconv.ParseFloat(line[2], 64)
		must(t, err)
		sum += int(value)
	}
	return sum
}

// neverRead opens a watch over a connection of its own and never reads from it.
func neverRead(t *testing.T, path string) net.Conn {
	t.Helper()
	config, err := rest.TLSConfigFor(admin)
	must(t, err)
	config.NextProtos = []string{"http/1.1"}
	host, err := url.Parse(admin.Host)
	must(t, err)
	raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host.Host)
	must(t, err)
	t.Cleanup(func() { _ = raw.Close() })
	// What the kernel takes in for the client is as if it had been read.
	must(t, raw.(*net.TCPConn).SetReadBuffer(4096))
	config.ServerName = host.Hostname()
	conn := tls.Client(raw, config)
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+host.Host+"\r\nAccept: application/json\r\n\r\n")
	must(t, err)
	return conn
}

// TestStuckClientsHarmNobody has clients that never read. What they do not take
// fills one buffer after the other, and the server then cuts them: it neither
// waits for them nor keeps what it has for them.
func TestStuckClientsHarmNobody(t *testing.T) {
	const stuck, roles, rounds = 3, 40, 50
	ns := namespace(t)
	c := newClient(t, admin)
	all := roleNames(roles)
	for i := range all {
		all[i] += "-" + strings.Repeat("long", 55) // it is in the finding many times
	}
	list := withFindings(t, ns, all...)
	before := metric(t, "apiserver_terminated_watchers_total", `resource="findings"`)
	for range stuck {
		neverRead(t, findings(ns)+"?watch=true&resourceVersion="+list.GetResourceVersion())
	}
	// A good reader follows all findings at the same time, each to its last state.
	// Every event must fit to what it knows, so that none can have been lost.
	var group errgroup.Group
	// Writing begins before the wait for the cut, and ends after it.
	ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
	defer cancel()
	var reopened atomic.Int64
	group.Go(func() error {
		m, finished := begin(t, list), map[string]bool{}
		return c.followCounting(ctx, &reopened, findings(ns), list.GetResourceVersion(), func(e event) (bool, error) {
			if strings.Contains(message(e), "the-last") {
				finished[subject(e.object)] = true
			}
			return len(finished) == roles, m.Apply(e.kind, e.object)
		})
	})
	var enough atomic.Bool
	for worker := range 4 {
		group.Go(func() error {
			for round := 0; round < rounds || !enough.Load(); round++ {
				for i := worker; i < roles; i += 4 {
					if err := updateRole(ctx, ns, all[i], longNames(strconv.Itoa(round))...); err != nil {
						return err
					}
				}
			}
			for i := worker; i < roles; i += 4 {
				if err := updateRole(ctx, ns, all[i], "the-last"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	eventually(t, "the stuck clients to be cut", func(context.Context) (bool, string) {
		now, again := metric(t, "apiserver_terminated_watchers_total", `resource="findings"`), int(reopened.Load())
		return now-again >= before+stuck, fmt.Sprintf("%d watches were cut before, and now %d, of which the good reader's were %d", before, now, again)
	})
	enough.Store(true)
	must(t, group.Wait())
	if have := len(c.get(t, findings(ns), "", jsonType).list(t).Items); have != roles {
		t.Errorf("the server lists %d findings, want %d", have, roles)
	}
}

// longNames make a finding as large as a message can be, so that buffers fill
// soon, and another one with each prefix.
func longNames(prefix string) []string {
	resources := []string{}
	for i := range 5 {
		resources = append(resources, fmt.Sprintf("%s-%d-%s", prefix, i, strings.Repeat("x", 100)))
	}
	return resources
}

// message is what a finding says.
func message(e event) string {
	spec, _ := e.object.Object["spec"].(map[string]any)
	text, _ := spec["message"].(string)
	return text
}

// TestManyWatchersSeeTheSame opens a hundred watches and compares all that each got.
func TestManyWatchersSeeTheSame(t *testing.T) {
	t.Parallel()
	const watchers, operations = 100, 200
	ns := namespace(t)
	c := newClient(t, admin)
	from := withFindings(t, ns, "first").GetResourceVersion()
	sequences := make([][]string, watchers)
	var group errgroup.Group
	ctx := limited(t)
	for i := range watchers {
		group.Go(func() error {
			return c.follow(ctx, findings(ns), from, func(e event) (bool, error) {
				if e.kind == watch.Error {
					return false, fmt.Errorf("the watch failed: %v", e.object)
				}
				sequences[i] = append(sequences[i], fmt.Sprint(e.object.GetResourceVersion(), e.kind, e.object.GetName()))
				return about(watch.Added, "last")(e), nil
			})
		})
	}
	var done atomic.Int64
	left, err := churn(ctx, ns, operations, &done)
	must(t, err)
	awaitSubjects(t, ns, append(left, "first")...)
	must(t, createRole(t.Context(), ns, "last"))
	must(t, group.Wait())
	for i := range sequences {
		if diff := cmp.Diff(sequences[0], sequences[i]); diff != "" {
			t.Fatalf("watcher %d saw something else than watcher 0 (-0 +%d):\n%s", i, i, diff)
		}
	}
	if len(sequences[0]) < 2 {
		t.Errorf("they saw only %v", sequences[0])
	}
}

// TestClientsThatLeaveAreForgotten opens many watches, and goes away without a word.
func TestClientsThatLeaveAreForgotten(t *testing.T) {
	const watchers = 200
	ns := namespace(t)
	from := selecting("resourceVersion", withFindings(t, ns, "a").GetResourceVersion())
	before := metric(t, "go_goroutines")
	c := newClient(t, admin)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for range watchers {
		_, err := c.open(ctx, findings(ns), from, jsonType)
		must(t, err)
	}
	open := metric(t, "go_goroutines")
	if open < before+watchers {
		t.Fatalf("%d goroutines before and %d with %d watches: the metric does not show them", before, open, watchers)
	}
	leave()
	// Some slack for what else the server does; one goroutine a watch left is far more.
	eventually(t, "the goroutines of the watches to end", func(context.Context) (bool, string) {
		now := metric(t, "go_goroutines")
		return now < before+watchers/4, fmt.Sprintf("%d before, %d with the watches, %d now", before, open, now)
	})
}
