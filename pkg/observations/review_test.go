// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestWhatEndedWhileNobodyRanIsNotRecalled once the first view is complete.
func TestWhatEndedWhileNobodyRanIsNotRecalled(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	data := stored("ended", "12:00:00")
	data[nameOf(about("holds"))] = "2026-01-02T12:00:01Z"
	s.learn(state{data: data})
	clock.Step(time.Minute)
	saw(s, about("holds"), clock.Now())
	s.Synced()
	for name, want := range map[string]string{"ended": "", "holds": "12:00:01"} {
		if got := since(t, s, about(name)); got != want {
			t.Errorf("%s is recalled since %q, want %q", name, got, want)
		}
	}
	clock.Step(time.Minute)
	saw(s, about("ended"), clock.Now()) // anew
	want := stored("ended", "12:02:00")
	want[nameOf(about("holds"))] = "2026-01-02T12:00:01Z"
	if diff := cmp.Diff(want, written(s, data)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestWhatAnotherReplicaObservesComesBack, though one that has just started does not
// observe it yet.
func TestWhatAnotherReplicaObservesComesBack(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	other, s := newStore(clock), newStore(clock)
	saw(other, about("a"), epoch)
	data := written(other, nil)
	clock.Step(time.Minute)
	s.learn(state{data: data})
	s.Synced()
	data = written(s, data)
	if len(data) != 0 {
		t.Fatalf("stored %v, want nothing", data)
	}
	data = written(other, data)
	s.learn(state{data: data})
	saw(s, about("a"), clock.Now())
	if got := since(t, s, about("a")); got != "12:00:00" {
		t.Errorf("it is recalled since %q", got)
	}
	// What comes later is another replica's, and not reviewed.
	s.Synced()
	if diff := cmp.Diff(stored("a", "12:00:00"), written(s, data)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// unless names the rule that the tests' conditions are of, unless all is known.
func unless(known *bool) func() []string {
	return func() []string {
		if *known {
			return nil
		}
		return []string{"rule"}
	}
}

func TestNothingIsDroppedWhileItMayHold(t *testing.T) {
	for name, set := range map[string]func(o *Options, now *bool){
		"as something cannot be read":              func(o *Options, now *bool) { o.Unreliable = unless(now) },
		"as what can be read is not evaluated yet": func(o *Options, now *bool) { o.Settled = func() bool { return *now } },
	} {
		t.Run(name, func(t *testing.T) {
			clock := testingclock.NewFakeClock(epoch)
			known := false
			options := Options{Clock: clock}
			set(&options, &known)
			s := NewStore(options)
			unreliable := s.unreliable
			if options.Settled != nil { // it could not be relied on when it was synced
				s.unreliable = unless(new(bool))
			}
			data := stored("a", "12:00:00")
			s.learn(state{data: data})
			s.look()
			s.Synced()
			s.unreliable = unreliable
			s.look()
			if got := since(t, s, about("a")); got != "12:00:00" {
				t.Errorf("it is recalled since %q", got)
			}
			known = true
			s.look()
			if got := since(t, s, about("a")); got != "" {
				t.Errorf("it is recalled since %q once all is known", got)
			}
			if data = written(s, data); len(data) != 0 {
				t.Errorf("it stays: %v", data)
			}
		})
	}
}

// TestWhatCouldNotBeReadAtTheStartIsReviewedOnceItIs is about the ConfigMap itself.
func TestWhatCouldNotBeReadAtTheStartIsReviewedOnceItIs(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	s.Synced()
	s.learn(state{data: stored("a", "12:00:00")})
	s.look()
	if got := since(t, s, about("a")); got != "" {
		t.Errorf("it is recalled since %q", got)
	}
}

// TestARunningStoreLooksByItself, though nothing begins or ends.
func TestARunningStoreLooksByItself(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	client := fake.NewClientset(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "srenix-system", Name: Name}, Data: stored("a", "12:00:00"),
	}).CoreV1().ConfigMaps("srenix-system")
	var healthy atomic.Bool
	s := NewStore(Options{Clock: clock, Unreliable: func() []string {
		is := healthy.Load()
		return unless(&is)()
	}})
	if err := s.Load(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	s.Synced()
	ctx := t.Context()
	go func() { _ = s.Run(ctx, client, func(string, live.Key) {}) }()
	healthy.Store(true)
	livetest.Eventually(t, "it looks, and what nobody observes is dropped", func() bool {
		clock.Step(looking)
		s.mu.Lock()
		looked := len(s.unreviewed) == 0 // and not that an hour has passed by this clock
		s.mu.Unlock()
		now, err := client.Get(ctx, Name, metav1.GetOptions{})
		return looked && err == nil && len(now.Data) == 0
	})
}
