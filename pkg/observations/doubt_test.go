// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// of is a condition that a rule observes.
func of(rule, name string) live.Observation {
	o := about(name)
	o.Rule = rule
	return o
}

// TestARuleThatFailsKeepsItsOwnEntriesOnly after a failover to a replica that observes
// nothing of what the other did.
func TestARuleThatFailsKeepsItsOwnEntriesOnly(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	unreliable := []string{"broken", "reads what it writes"}
	before, after := newStore(clock), NewStore(Options{Clock: clock, Unreliable: func() []string { return unreliable }})
	kept := map[string]string{}
	for _, o := range []live.Observation{of("broken", "ended"), of("broken", "holds"), of("reads what it writes", "ended"), of("sound", "ended"), of("sound", "holds")} {
		saw(before, o, epoch)
		if o.Rule != "sound" || o.Subject.Name == "holds" {
			kept[nameOf(o)] = "2026-01-02T12:00:00Z"
		}
	}
	data := written(before, nil)
	clock.Step(time.Minute)
	after.learn(state{data: data})
	saw(after, of("sound", "holds"), clock.Now())
	after.Synced()
	for range 12 { // three hours
		data = written(after, data)
		if diff := cmp.Diff(kept, data); diff != "" {
			t.Fatalf("stored while one rule is broken, at %s (-want +got):\n%s", clock.Now(), diff)
		}
		clock.Step(orphaned / 4)
	}
	if at := since(t, after, of("sound", "ended")); at != "" {
		t.Errorf("what ended is recalled since %s", at)
	}
	saw(after, of("broken", "holds"), clock.Now())
	unreliable = nil
	after.look()
	for o, want := range map[live.Observation]string{of("broken", "holds"): "12:00:00", of("broken", "ended"): "", of("reads what it writes", "ended"): ""} {
		if got := since(t, after, o); got != want {
			t.Errorf("once all can be relied on, %v is recalled since %q, want %q", o, got, want)
		}
	}
	delete(kept, nameOf(of("broken", "ended")))
	delete(kept, nameOf(of("reads what it writes", "ended")))
	if diff := cmp.Diff(kept, written(after, data)); diff != "" {
		t.Errorf("stored at last (-want +got):\n%s", diff)
	}
}

// TestARuleThatIsNoMoreKeepsNothing: no rule has that name, so none that cannot be relied
// on has.
func TestARuleThatIsNoMoreKeepsNothing(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	before, after := newStore(clock), NewStore(Options{Clock: clock, Unreliable: func() []string { return []string{"broken"} }})
	saw(before, of("switched off", "a"), epoch)
	data := written(before, nil)
	after.learn(state{data: data})
	after.Synced()
	if data = written(after, data); len(data) != 0 {
		t.Errorf("stored: %v", data)
	}
}

// TestWhatWasStoredBeforeEntriesHadAMarkIsReadable, beside replicas that store without.
func TestWhatWasStoredBeforeEntriesHadAMarkIsReadable(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch.Add(time.Hour))
	unreliable := []string{"broken"}
	s := NewStore(Options{Clock: clock, Unreliable: func() []string { return unreliable }})
	data := map[string]string{
		keyOf(about("holds")):   "2026-01-02T12:00:00Z",
		keyOf(about("both")):    "2026-01-02T12:00:02Z",
		nameOf(about("both")):   "2026-01-02T12:00:01Z",
		keyOf(about("ended")):   "2026-01-02T12:00:00Z",
		nameOf(about("over")):   "2026-01-02T12:00:00Z",
		"." + keyOf(about("a")): "2026-01-02T12:00:00Z", // which nothing ever wrote
	}
	s.learn(state{data: data})
	saw(s, about("holds"), clock.Now())
	saw(s, about("both"), clock.Now())
	s.Synced()
	want := stored("holds", "12:00:00")
	want[nameOf(about("both"))] = "2026-01-02T12:00:01Z"
	want[keyOf(about("ended"))] = "2026-01-02T12:00:00Z" // it may be the broken rule's
	data = written(s, data)
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("stored while a rule is broken (-want +got):\n%s", diff)
	}
	unreliable = nil
	s.look()
	delete(want, keyOf(about("ended")))
	if diff := cmp.Diff(want, written(s, data)); diff != "" {
		t.Errorf("stored once none is (-want +got):\n%s", diff)
	}
}

var (
	blueResource  = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "blues"}
	greenResource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "greens"}

	blues   = live.NewInput(blueResource, live.InputOptions[*corev1.ConfigMap]{})
	greens  = live.NewInput(greenResource, live.InputOptions[*corev1.ConfigMap]{})
	derived = live.NewDerived[*corev1.ConfigMap]("derived", nil)
	begun   = live.NewDerived[*corev1.ConfigMap]("begun", nil)
)

// replica is an engine that remembers what it observes in a ConfigMap.
type replica struct {
	engine *live.Engine
	store  *Store
}

// startReplica runs one until stop is called. It tells since when each green thing is
// seen, and each thing that is derived from a blue one.
func startReplica(t *testing.T, cluster *livetest.Cluster, clock *testingclock.FakeClock, client corev1client.ConfigMapInterface) (r replica, stop func()) {
	t.Helper()
	store := NewStore(Options{
		Clock: clock, Unreliable: func() []string { return r.engine.Unreliable() }, Settled: func() bool { return r.engine.Settled() },
	})
	r = replica{store: store, engine: live.New(live.Options{
		Clock: clock, Memory: store, RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1},
	})}
	dates := func(subject live.KindRef) func(*live.View, live.Key) ([]live.Output, error) {
		return func(v *live.View, key live.Key) ([]live.Output, error) {
			at := v.FirstObserved("it")
			return []live.Output{live.Emit(begun, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: subject.String() + "-" + key.Name}, Data: map[string]string{"since": at.Format(time.TimeOnly)},
			})}, nil
		}
	}
	for _, rule := range []live.Rule{
		{Name: "derives", Subject: blues.Ref(), Outputs: []live.KindRef{derived.Ref()}, Evaluate: func(_ *live.View, key live.Key) ([]live.Output, error) {
			return []live.Output{live.Emit(derived, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: key.Name}})}, nil
		}},
		{Name: "dates what is derived", Subject: derived.Ref(), Outputs: []live.KindRef{begun.Ref()}, Evaluate: dates(derived.Ref())},
		{Name: "dates greens", Subject: greens.Ref(), Outputs: []live.KindRef{begun.Ref()}, Evaluate: dates(greens.Ref())},
	} {
		if err := r.engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Load(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = store.Run(ctx, client, r.engine.Reconsider) })
	running.Go(func() { _ = r.engine.Run(ctx, cluster) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	if err := r.engine.WaitForSync(ctx); err != nil {
		t.Fatal(err)
	}
	store.Synced()
	return r, stop
}

// says is since when a replica says that things are seen.
func (r replica) says() map[string]string {
	said := map[string]string{}
	for _, object := range live.List(r.engine, begun) {
		said[object.Name] = object.Data["since"]
	}
	return said
}

// TestAFailoverToAReplicaThatCannotReadAllForgetsWhatItCan has two replicas with engines
// follow each other, while one resource cannot be read.
func TestAFailoverToAReplicaThatCannotReadAllForgetsWhatItCan(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	client := fake.NewClientset().CoreV1().ConfigMaps("srenix-system")
	cluster := &livetest.Cluster{}
	for _, name := range []string{"holds", "ends"} {
		cluster.Set(blueResource, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}})
		cluster.Set(greenResource, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	storedAre := func(what string, want int) {
		t.Helper()
		livetest.Eventually(t, what, func() bool {
			clock.Step(looking)
			now, err := client.Get(t.Context(), Name, metav1.GetOptions{})
			return err == nil && len(now.Data) == want
		})
	}
	_, stop := startReplica(t, cluster, clock, client)
	storedAre("all four are stored", 4)
	stop()

	cluster.Delete(blueResource, live.Key{Name: "ends"})
	cluster.Delete(greenResource, live.Key{Name: "ends"})
	cluster.Forbid(blueResource)
	next, _ := startReplica(t, cluster, clock, client)
	if unreliable, want := next.engine.Unreliable(), []string{"derives", "dates what is derived"}; !slices.Equal(unreliable, want) {
		t.Fatalf("%q cannot be relied on, want %q", unreliable, want)
	}
	if diff := cmp.Diff(map[string]string{"greens.example.com-holds": "12:00:00"}, next.says()); diff != "" {
		t.Errorf("the next replica says (-want +got):\n%s", diff)
	}
	storedAre("what is gone of what can be read is forgotten", 3)

	cluster.Serve(blueResource)
	storedAre("the rest of what is gone is forgotten", 2)
	want := map[string]string{"greens.example.com-holds": "12:00:00", "derived-holds": "12:00:00"}
	if diff := cmp.Diff(want, next.says()); diff != "" {
		t.Errorf("in the end the next replica says (-want +got):\n%s", diff)
	}
}
