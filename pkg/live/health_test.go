// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestTheCauseThatIsShownIsTheOneOfNow, without a status that changes with every
// attempt.
func TestTheCauseThatIsShownIsTheOneOfNow(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	live.Feed(t, f.engine)
	live.FeedReplace(f.engine, pods)
	live.FeedReplace(f.engine, configs)
	changes := 0
	if err := live.Subscribe(f.engine, live.Statuses(), func(_, _ *live.Status) { changes++ }); err != nil {
		t.Fatal(err)
	}
	shows := func(what string) {
		t.Helper()
		if status := f.status("rule"); status.Reason != live.ReasonInputFailing || !strings.Contains(status.Message, what) {
			t.Errorf("got status %s: %q, want %q", status.Reason, status.Message, what)
		}
	}
	failed := func(err error) { live.FeedError(f.engine, configs.Ref(), err) }
	for port := range 3 {
		failed(fmt.Errorf("reading from port %d: connection reset", port))
	}
	shows("port 2")
	since, before := f.status("rule").Since, changes
	for port := range 10 {
		f.clock.Step(time.Second)
		failed(fmt.Errorf("reading from port %d: connection reset", 1000+port))
	}
	shows("port 2")
	if changes != before {
		t.Errorf("the status changed %d times with the text of an error", changes-before)
	}
	f.clock.Step(time.Minute)
	failed(errors.New("the certificate has expired"))
	shows("certificate has expired")
	failed(apierrors.NewInternalError(errors.New("etcd is away"))) // of another kind
	shows("etcd is away")
	if got := f.status("rule").Since; !got.Equal(&since) {
		t.Errorf("it is %s since %s, want since %s", live.Degraded, got, since)
	}
}

func TestWhatAnOverdueInputWasAnsweredLastIsShown(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	live.Feed(t, f.engine)
	live.FeedReplace(f.engine, pods)
	live.FeedReplace(f.engine, configs)
	for _, err := range []error{apierrors.NewResourceExpired("first"), tooLargeVersion()} {
		live.FeedError(f.engine, configs.Ref(), err)
		f.pass(time.Minute)
		want := "has not been read for more than 30s: " + err.Error()
		if status := f.status("rule"); status.Reason != live.ReasonInputFailing || !strings.Contains(status.Message, want) {
			t.Errorf("got status %q: %s, want %q", status.Reason, status.Message, want)
		}
	}
}

// TestWhatADegradedRuleSaysIsNotOfThisProcess: each replica has a port of its own,
// has started at another time, and has met failures in another order.
func TestWhatADegradedRuleSaysIsNotOfThisProcess(t *testing.T) {
	fails := live.Rule{
		Name: "fails", Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(*live.View, live.Key) ([]live.Output, error) { return nil, errors.New("no") },
	}
	refused := func(port int) error {
		return &url.Error{Op: "Get", URL: "https://10.0.0.1:443/api/v1/configmaps", Err: &net.OpError{
			Op: "read", Net: "tcp", Err: errors.New("connection reset by peer"),
			Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: port}, Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443},
		}}
	}
	messages := func(first string, port int) (all []string) {
		f := newFixture(t, readsConfig("reads"), fails)
		f.cluster.Set(podResource, pod("ns", first, nil))
		f.run()
		f.cluster.Fail(configResource, refused(port))
		f.eventuallyStatus("fails", live.ReasonFailed)
		for _, name := range []string{"a", "b", "c"} {
			f.cluster.Set(podResource, pod("ns", name, nil))
		}
		livetest.Settle(t, f.engine, f.cluster, pods)
		all = append(all, f.eventuallyStatus("reads", live.ReasonInputFailing).Message, f.status("fails").Message)
		f.cluster.Delete(podResource, key("ns", "a"))
		livetest.Settle(t, f.engine, f.cluster, pods)
		return append(all, f.status("fails").Message)
	}
	one, another := messages("a", 40001), messages("c", 40002)
	if diff := cmp.Diff(one, another); diff != "" {
		t.Errorf("one replica and another (-one +another):\n%s", diff)
	}
	for i, want := range []string{"connection reset by peer", "evaluating ns/a: no", "evaluating ns/b: no"} {
		if !strings.Contains(one[i], want) {
			t.Errorf("got %q, want %q in it", one[i], want)
		}
	}
}

// TestWhatIsToBeGrantedIsTheOneOfNow: two inputs change places between two looks
// at them, so that as many are forbidden, and as many unknown, as before.
func TestWhatIsToBeGrantedIsTheOneOfNow(t *testing.T) {
	rules := []live.Rule{readsConfig("first"), readsConfig("second")}
	for i := range rules {
		rules[i].Reads, rules[i].Outputs = append(rules[i].Reads, widgets.Ref()), nil
	}
	f := newFixture(t, rules...)
	live.Feed(t, f.engine)
	forbid := func(ref live.KindRef) {
		live.FeedError(f.engine, ref, apierrors.NewForbidden(ref.Resource().GroupResource(), "", nil))
	}
	fail := func(ref live.KindRef) {
		for range 3 {
			live.FeedError(f.engine, ref, errors.New("away"))
		}
	}
	fail(pods.Ref())
	forbid(configs.Ref())
	fail(widgets.Ref())
	missing := func() []rbacv1.PolicyRule { return f.status("second").Missing }
	if got := missing(); len(got) != 1 || got[0].Resources[0] != "configmaps" {
		t.Fatalf("got missing rules %v, want one for configmaps", got)
	}

	entered, leave := make(chan struct{}), make(chan struct{})
	first := true
	if err := live.Subscribe(f.engine, live.Statuses(), func(old, s *live.Status) {
		if old != nil && first {
			first = false
			close(entered)
			<-leave
		}
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() { fail(configs.Ref()); done <- struct{}{} }()
	<-entered // the first rule is told; the second is not yet
	go func() { forbid(widgets.Ref()); done <- struct{}{} }()
	livetest.Eventually(t, "the widgets are forbidden", func() bool {
		v := f.engine.Snapshot()
		widgets.List(v, "", nil)
		var unknown *live.UnknownError
		return errors.As(v.Unknown(), &unknown) && unknown.Reason == live.ReasonInputForbidden
	})
	close(leave)
	<-done
	<-done
	want := []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"list", "watch"}}}
	if diff := cmp.Diff(want, missing()); diff != "" {
		t.Errorf("missing rules (-want +got):\n%s", diff)
	}
}

// TestASubscriberOfStatusesMayReadTheEngine as any other may.
func TestASubscriberOfStatusesMayReadTheEngine(t *testing.T) {
	f := newFixture(t, readsConfig("config"))
	told := 0
	if err := live.Subscribe(f.engine, live.Statuses(), func(_, _ *live.Status) { told += len(f.engine.Unreliable()) }); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	go func() { defer close(begun); live.Feed(t, f.engine) }()
	livetest.Eventually(t, "the engine has begun", func() bool {
		select {
		case <-begun:
			return true
		default:
			return false
		}
	})
	if told == 0 {
		t.Error("nobody was told that the rule is not reliable yet")
	}
}
