// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/util/wait"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// site is a cluster with a chain, a checkpointer and a clock.
type site struct {
	cluster      client.WithWatch
	clock        *clocktesting.FakeClock
	chain        *Chain
	keys         *KeyStore
	checkpointer *Checkpointer
	inEffect     func() (int64, bool, error)
}

const retention = 30 * 24 * time.Hour

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{cluster: newCluster(t), clock: clocktesting.NewFakeClock(start)}
	s.keys = newKeys(t, s.cluster)
	s.inEffect = func() (int64, bool, error) { return 0, false, nil }
	s.chain = NewChain(s.cluster, "apiserver", s.clock, nil)
	s.checkpointer = s.replica(t, s.cluster)
	return s
}

// replica is another checkpointer of the same cluster.
func (s *site) replica(t testing.TB, through client.Client) *Checkpointer {
	t.Helper()
	replica, err := NewCheckpointer(CheckpointerOptions{
		Client: through, Chain: NewChain(through, "apiserver", s.clock, nil), Keys: s.keys, Clock: s.clock, Retention: retention,
		InEffect: func(context.Context) (int64, bool, error) { return s.inEffect() },
	})
	if err != nil {
		t.Fatal(err)
	}
	return replica
}

// once runs the checkpointer after a time.
func (s *site) once(t testing.TB, after time.Duration) {
	t.Helper()
	s.clock.Step(after)
	if err := s.checkpointer.once(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *site) latest(t testing.TB) opsv1alpha1.AuditCheckpointSpec {
	t.Helper()
	latest, err := s.checkpointer.latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return latest.Spec
}

// verify holds all that is in the cluster against its checkpoint.
func (s *site) verify(t testing.TB) Checked {
	t.Helper()
	keys, latest := publishedKeys(t, s.cluster), s.latest(t)
	checked, err := VerifyAgainst(sequence(specs(stored(t, s.cluster))), Evidence{Latest: &latest, Keys: &keys, Whole: true})
	if err != nil {
		t.Fatal(err)
	}
	return checked
}

func TestCheckpointsFollowTheChainAndNotEachOther(t *testing.T) {
	s := newSite(t)
	s.once(t, 0)
	if size := s.latest(t).Size; size != 0 {
		t.Fatalf("a checkpoint of %d events where there are none", size)
	}
	appendAll(t, s.chain, 4)
	for _, step := range []struct {
		what   string
		add    int
		after  time.Duration
		size   int64
		events int // in the chain afterwards
	}{
		{"the first comes at once", 0, 0, 5, 6},
		{"nothing new but the checkpoint itself", 0, 24 * time.Hour, 5, 6},
		{"and still", 0, 24 * time.Hour, 5, 6},
		{"something new, and long ago", 1, 0, 7, 8},
		{"something new, too early", 3, DefaultCheckpointInterval - time.Second, 7, 11},
		{"something new, late enough", 0, time.Second, 11, 12},
		{"nearly enough new, early", DefaultCheckpointEvents - 2, time.Second, 11, 110},
		{"enough new, early", 1, time.Second, 111, 112},
	} {
		appendAll(t, s.chain, step.add)
		s.once(t, step.after)
		if size, events := s.latest(t).Size, len(stored(t, s.cluster)); size != step.size || events != step.events {
			t.Errorf("%s: the checkpoint covers %d events of %d, want %d of %d", step.what, size, events, step.size, step.events)
		}
		s.verify(t)
	}
	if checked := s.verify(t); checked.Checkpoints != 5 || checked.Size != 111 {
		t.Errorf("%+v, want 4 checkpoints in the chain and one beside it, of 111 events", checked)
	}
}

func TestLogAloneCarriesTheCheckpoints(t *testing.T) {
	s := newSite(t)
	log := &bytes.Buffer{}
	s.checkpointer.options.Chain = NewChain(s.cluster, "apiserver", s.clock, log)
	appendAll(t, s.checkpointer.options.Chain, 6)
	s.once(t, 0)
	keys := publishedKeys(t, s.cluster)
	text := log.String()
	checked, err := VerifyAgainst(ReadJSONL(log), Evidence{Keys: &keys})
	if err != nil || checked.Checkpoints != 1 || checked.Size != 7 {
		t.Errorf("%+v, %v in %s", checked, err, text)
	}
}

func TestCheckpointCostsOnlyTheNewEvents(t *testing.T) {
	s := newSite(t)
	appendAll(t, s.chain, 40)
	s.once(t, 0)
	read := map[string]int{}
	lists := 0
	counting := interceptor.NewClient(s.cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if _, event := object.(*opsv1alpha1.AuditEvent); event {
				read[key.Name]++
			}
			return c.Get(ctx, key, object, options...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			lists++
			return c.List(ctx, list, options...)
		},
	})
	s.checkpointer.options.Client = counting
	appendAll(t, s.chain, 3)
	s.clock.Step(DefaultCheckpointInterval)
	if err := s.checkpointer.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	// 41 events and their checkpoint came before.
	want := map[string]int{EventName(41): 1, EventName(42): 1, EventName(43): 1, EventName(44): 1}
	if diff := gocmp.Diff(want, read); diff != "" || lists != 0 || s.latest(t).Size != 45 {
		t.Errorf("%d lists; events read (-want +have):\n%s", lists, diff)
	}
}

func TestManyNewEventsAreReadInPages(t *testing.T) {
	s := newSite(t)
	appendAll(t, s.chain, 3)
	s.once(t, 0)
	appendAll(t, s.chain, pageSize+3)
	s.once(t, 0)
	if size := s.latest(t).Size; size != 4+1+pageSize+3 {
		t.Errorf("the checkpoint covers %d events", size)
	}
	s.verify(t)
}

func gauge(t testing.TB, c prometheus.Collector, name string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestBrokenChainIsNeverCheckpointed(t *testing.T) {
	edit := func(index int, rehashed bool) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			event := stored(t, s.cluster)[index]
			event.Spec.Actor = "mallory"
			if rehashed {
				rehash(t, &event.Spec)
			}
			update(t, s.cluster, &event)
		}
	}
	remove := func(indices ...int) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			events := stored(t, s.cluster)
			for _, index := range indices {
				if err := s.cluster.Delete(t.Context(), &events[index]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// Event 5 is the checkpoint of the first 5, and the head is event 9.
	for name, test := range map[string]struct {
		damage func(*testing.T, *site)
		index  int64
		// knows is for a process that has seen the head. A new one takes a gap for
		// the end, if it is where it looks.
		knows bool
	}{
		"a new event was edited":                      {edit(7, false), 7, false},
		"a new event was replaced":                    {edit(7, true), 8, false},
		"the last event that is covered was replaced": {edit(4, true), -1, false},
		"the first new event was replaced":            {edit(5, true), 6, false},
		"a new event was removed":                     {remove(7), 7, true},
		"the tail was cut":                            {remove(3, 4, 5, 6, 7, 8, 9), 3, false},
		"everything was removed":                      {remove(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			appendAll(t, s.chain, 4)
			s.once(t, 0)
			appendAll(t, s.chain, 4)
			s.clock.Step(DefaultCheckpointInterval)
			restarted := s.replica(t, s.cluster)
			if test.knows {
				if err := restarted.options.Chain.CheckHead(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			test.damage(t, s)
			err := restarted.once(t.Context())
			if test.index < 0 {
				// What was covered is not read again to checkpoint; verify and prune do.
				if err != nil {
					t.Errorf("error is %v", err)
				}
				keys, latest := publishedKeys(t, s.cluster), s.latest(t)
				if _, err := VerifyAgainst(sequence(specs(stored(t, s.cluster))), Evidence{Latest: &latest, Keys: &keys}); err == nil {
					t.Error("verifying finds nothing")
				}
				return
			}
			var bad *BadLink
			if !errors.As(err, &bad) || bad.Index != test.index {
				t.Errorf("error is %v, want event %d", err, test.index)
			}
			if size := s.latest(t).Size; size != 5 {
				t.Errorf("it is checkpointed: %d events", size)
			}
			if gauge(t, restarted, "srenix_audit_chain_broken") != 1 {
				t.Error("no metric tells")
			}
		})
	}
}

func TestDamagedCheckpointIsNotGoneOnFrom(t *testing.T) {
	for name, damage := range map[string]func(*opsv1alpha1.AuditCheckpointSpec){
		"its size":      func(spec *opsv1alpha1.AuditCheckpointSpec) { spec.Size-- },
		"its frontier":  func(spec *opsv1alpha1.AuditCheckpointSpec) { spec.Frontier[0] = strings.Repeat("ab", 32) },
		"its note":      func(spec *opsv1alpha1.AuditCheckpointSpec) { spec.Note = strings.Replace(spec.Note, "5", "4", 1) },
		"its last hash": func(spec *opsv1alpha1.AuditCheckpointSpec) { spec.LastHash = "sha256:" + strings.Repeat("ab", 32) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			appendAll(t, s.chain, 4)
			s.once(t, 0)
			appendAll(t, s.chain, 1)
			latest, err := s.checkpointer.latest(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			damage(&latest.Spec)
			if err := s.cluster.Update(t.Context(), latest); err != nil {
				t.Fatal(err)
			}
			s.clock.Step(DefaultCheckpointInterval)
			if err := s.checkpointer.once(t.Context()); err == nil {
				t.Error("no error")
			}
			if diff := gocmp.Diff(latest.Spec.Note, s.latest(t).Note); diff != "" {
				t.Errorf("it was replaced (-before +after):\n%s", diff)
			}
			if gauge(t, s.checkpointer, "srenix_audit_chain_broken") != 1 {
				t.Error("no metric tells")
			}
		})
	}
}

func TestErrorOfTheClusterDoesNotMakeTheChainBroken(t *testing.T) {
	s := newSite(t)
	appendAll(t, s.chain, 4)
	down := errors.New("etcd is down")
	failing := s.replica(t, interceptor.NewClient(s.cluster, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		},
	}))
	if err := failing.once(t.Context()); !errors.Is(err, down) {
		t.Errorf("error is %v", err)
	}
	want := `
# HELP srenix_audit_checkpoint_failures_total Attempts to checkpoint or prune the audit chain that failed, for whatever reason.
# TYPE srenix_audit_checkpoint_failures_total counter
srenix_audit_checkpoint_failures_total 1
`
	if err := testutil.CollectAndCompare(failing, strings.NewReader(want), "srenix_audit_checkpoint_failures_total"); err != nil {
		t.Error(err)
	}
	if gauge(t, failing, "srenix_audit_chain_broken") != 0 {
		t.Error("the chain is called broken")
	}
}

// Two replicas compute the same checkpoint; one stores it and appends the event.
func TestReplicasThatRaceMakeOneCheckpoint(t *testing.T) {
	for name, before := range map[string]int{"the first": 0, "a later one": 1} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			for range before {
				appendAll(t, s.chain, 2)
				s.once(t, DefaultCheckpointInterval)
			}
			appendAll(t, s.chain, 4)
			s.clock.Step(DefaultCheckpointInterval)
			count := len(stored(t, s.cluster))
			rival := s.replica(t, s.cluster)
			overtake := func(ctx context.Context, object client.Object) error {
				if _, checkpoint := object.(*opsv1alpha1.AuditCheckpoint); checkpoint && rival != nil {
					faster := rival
					rival = nil
					return faster.once(ctx)
				}
				return nil
			}
			slower := s.replica(t, interceptor.NewClient(s.cluster, interceptor.Funcs{
				Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
					return errors.Join(overtake(ctx, object), c.Create(ctx, object, options...))
				},
				Update: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.UpdateOption) error {
					return errors.Join(overtake(ctx, object), c.Update(ctx, object, options...))
				},
			}))
			if err := slower.checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			if rival != nil {
				t.Fatal("nobody was overtaken")
			}
			if after := len(stored(t, s.cluster)); after != count+1 {
				t.Errorf("%d events were appended, want 1", after-count)
			}
			s.verify(t)
		})
	}
}

func TestCheckpointThatWasNotAppendedIsAppendedLater(t *testing.T) {
	s := newSite(t)
	appendAll(t, s.chain, 4)
	stopped := errors.New("the process stopped")
	stopping := s.replica(t, interceptor.NewClient(s.cluster, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if _, event := object.(*opsv1alpha1.AuditEvent); event {
				return stopped
			}
			return c.Create(ctx, object, options...)
		},
	}))
	if err := stopping.once(t.Context()); !errors.Is(err, stopped) {
		t.Fatalf("error is %v", err)
	}
	s.once(t, time.Minute)
	if have := len(stored(t, s.cluster)); have != 5 {
		t.Errorf("%d events: another replica may still be about to append it", have)
	}
	s.once(t, DefaultCheckpointInterval)
	s.once(t, DefaultCheckpointInterval)
	events := stored(t, s.cluster)
	if last := events[len(events)-1].Spec; len(events) != 6 || last.Type != opsv1alpha1.AuditCheckpointSigned || last.Message != s.latest(t).Note {
		t.Errorf("%d events, the last %+v", len(events), last)
	}
}

func TestCheckpointsGoOnAfterTheKeyWasRotated(t *testing.T) {
	s := newSite(t)
	for range 3 {
		appendAll(t, s.chain, 2)
		s.once(t, DefaultCheckpointInterval)
		if err := s.keys.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if checked := s.verify(t); checked.Checkpoints != 4 {
		t.Errorf("%+v, want 4 checkpoints", checked)
	}
}

func TestRunLooksAgainAndEndsWithItsContext(t *testing.T) {
	s := newSite(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.checkpointer.Run(ctx) }()
	for range 2 {
		appendAll(t, s.chain, 2)
		count := int64(len(stored(t, s.cluster)))
		if err := wait.PollUntilContextTimeout(ctx, time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
			s.clock.Step(lookEvery)
			latest := s.latest(t)
			events := stored(t, s.cluster)
			// The event follows the object.
			return latest.Size >= count && events[len(events)-1].Spec.Message == latest.Note, nil
		}); err != nil {
			t.Fatalf("waiting for a checkpoint of %d events: %v", count, err)
		}
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("Run goes on")
	}
}

func TestCheckpointerRefusesOptionsThatCannotBe(t *testing.T) {
	nothing := func(context.Context) (int64, bool, error) { return 0, false, nil }
	for name, options := range map[string]CheckpointerOptions{
		"a negative interval":               {Interval: -1},
		"a negative number of events":       {Events: -1},
		"a negative retention":              {Retention: -time.Hour, InEffect: nothing},
		"a retention shorter than two days": {Retention: MinimumRetention - 1, InEffect: nothing},
		"no way to know what is needed":     {Retention: MinimumRetention},
	} {
		if _, err := NewCheckpointer(options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewCheckpointer(CheckpointerOptions{}); err != nil {
		t.Error(fmt.Errorf("the defaults: %w", err))
	}
}
