// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// aged is a site with 10 old events, a checkpoint of them (event 10), 5 young
// events, and a checkpoint of all 16 (event 16).
func aged(t testing.TB) *site {
	t.Helper()
	s := newSite(t)
	appendAll(t, s.chain, 9)
	s.once(t, 0)
	s.clock.Step(retention)
	appendAll(t, s.chain, 5)
	// Without pruning, which the next run begins with.
	if err := s.checkpointer.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.clock.Step(time.Second)
	return s
}

// first is the index of the oldest event in the cluster.
func (s *site) first(t testing.TB) int64 {
	t.Helper()
	return stored(t, s.cluster)[0].Spec.Index
}

// proveAll proves every event that is left and that the checkpoint covers.
func (s *site) proveAll(t testing.TB) {
	t.Helper()
	latest, keys, events := s.latest(t), publishedKeys(t, s.cluster), stored(t, s.cluster)
	tree := newTree(t, latest.Pruned)
	for _, event := range events {
		if event.Spec.Index >= tree.Size() && tree.Size() < latest.Size {
			if err := tree.Append(event.Spec.Hash); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, event := range events {
		if event.Spec.Index < tree.before || event.Spec.Index >= latest.Size {
			continue
		}
		if _, err := prove(t, tree, event.Spec, latest.Note).Check(keys); err != nil {
			t.Errorf("event %d, with %d pruned: %v", event.Spec.Index, tree.before, err)
		}
	}
}

func TestOnlyWhatIsOldAndNotNeededIsPruned(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*site)
		want   int64
		fails  bool
	}{
		"what is older than the retention": {func(*site) {}, 11, false},
		"nothing that is in effect": {func(s *site) {
			s.inEffect = func() (int64, bool, error) { return 6, true, nil }
		}, 6, false},
		"nothing if the first is in effect": {func(s *site) {
			s.inEffect = func() (int64, bool, error) { return 0, true, nil }
		}, 0, false},
		"nothing if nobody knows what is in effect": {func(s *site) {
			s.inEffect = func() (int64, bool, error) { return 99, true, errors.New("no answer") }
		}, 0, true},
		"nothing if events are kept for ever": {func(s *site) { s.checkpointer.options.Retention = 0 }, 0, false},
		"nothing that no checkpoint covers":   {func(s *site) { s.clock.Step(2 * retention) }, 16, false},
		"nothing if nothing is old enough":    {func(s *site) { s.checkpointer.options.Retention = 2 * retention }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := aged(t)
			test.change(s)
			for range 2 { // written, and then deleted
				err := s.checkpointer.once(t.Context())
				if (err != nil) != test.fails {
					t.Fatalf("error is %v", err)
				}
			}
			if have := s.first(t); have != test.want {
				t.Errorf("the chain begins with event %d, want %d", have, test.want)
			}
			s.verify(t)
			s.proveAll(t)
		})
	}
}

func TestPruningLeavesTheNewestEvent(t *testing.T) {
	s := newSite(t)
	appendAll(t, s.chain, 3)
	s.once(t, 0)
	// The checkpoint's own event is the newest, and no checkpoint covers it; so
	// make one that does, as nothing but another event would.
	appendAll(t, s.chain, 1)
	s.clock.Step(DefaultCheckpointInterval)
	stopped := errors.New("the process stopped")
	stopping := s.replica(t, interceptor.NewClient(s.cluster, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			return stopped
		},
	}))
	if err := stopping.checkpoint(t.Context()); !errors.Is(err, stopped) {
		t.Fatal(err)
	}
	if latest := s.latest(t); latest.Size != 6 {
		t.Fatalf("the checkpoint covers %d events, want all 6", latest.Size)
	}
	s.clock.Step(2 * retention)
	for range 2 {
		if err := stopping.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if events := stored(t, s.cluster); len(events) != 1 || events[0].Spec.Index != 5 {
		t.Errorf("%d events are left, the first %d", len(events), events[0].Spec.Index)
	}
	s.verify(t)
	appendAll(t, s.chain, 2)
	s.once(t, DefaultCheckpointInterval)
	s.verify(t)
}

// The object is written before anything is deleted, and whoever comes after a
// stop deletes the rest, oldest first.
func TestStopAtAnyDeletionIsMadeUpFor(t *testing.T) {
	for stops := range 12 {
		t.Run(fmt.Sprintf("after %d", stops), func(t *testing.T) {
			s := aged(t)
			if err := s.checkpointer.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			if pruned := s.latest(t).Pruned; s.first(t) != 0 || pruned == nil || pruned.Before != 11 {
				t.Fatalf("the chain begins with %d and %+v was written", s.first(t), pruned)
			}
			deleted := 0
			stopped := errors.New("the process stopped")
			stopping := s.replica(t, interceptor.NewClient(s.cluster, interceptor.Funcs{
				Delete: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.DeleteOption) error {
					if deleted == stops {
						return stopped
					}
					deleted++
					return c.Delete(ctx, object, options...)
				},
			}))
			if err := stopping.prune(t.Context()); (err != nil) != (stops < 11) {
				t.Fatalf("error is %v", err)
			}
			if first := s.first(t); first != int64(min(stops, 11)) {
				t.Errorf("the chain begins with event %d", first)
			}
			s.verify(t)
			s.proveAll(t)
			// Also where events are now kept for ever.
			s.checkpointer = s.replica(t, s.cluster)
			s.checkpointer.options.Retention = 0
			s.once(t, 0)
			if first := s.first(t); first != 11 {
				t.Errorf("afterwards the chain begins with event %d", first)
			}
			s.verify(t)
		})
	}
}

// Deleting would destroy the evidence, so the whole chain is looked at before.
func TestNothingIsPrunedFromAChainThatDoesNotFitItsCheckpoint(t *testing.T) {
	for name, damage := range map[string]func(*testing.T, *site){
		"an old event was edited": func(t *testing.T, s *site) {
			event := stored(t, s.cluster)[2]
			event.Spec.Actor = "mallory"
			update(t, s.cluster, &event)
		},
		"a young event was edited": func(t *testing.T, s *site) {
			event := stored(t, s.cluster)[13]
			event.Spec.Actor = "mallory"
			update(t, s.cluster, &event)
		},
		"a young event was removed": func(t *testing.T, s *site) {
			event := stored(t, s.cluster)[13]
			if err := s.cluster.Delete(t.Context(), &event); err != nil {
				t.Fatal(err)
			}
		},
		"all was rewritten and linked anew": func(t *testing.T, s *site) {
			var prev *opsv1alpha1.AuditEventSpec
			for _, event := range stored(t, s.cluster) {
				if event.Spec.Index == 2 {
					event.Spec.Actor = "mallory"
				}
				sealed, err := Seal(prev, event.Spec)
				if err != nil {
					t.Fatal(err)
				}
				event.Spec, prev = sealed, &sealed
				update(t, s.cluster, &event)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := aged(t)
			damage(t, s)
			count := len(stored(t, s.cluster))
			replica := s.replica(t, s.cluster)
			var bad *BadLink
			if err := replica.prune(t.Context()); !errors.As(err, &bad) {
				t.Errorf("error is %v", err)
			}
			if latest := s.latest(t); latest.Pruned != nil || len(stored(t, s.cluster)) != count {
				t.Errorf("pruned: %+v", latest.Pruned)
			}
		})
	}
}

func TestChainGoesOnWhereItWasPruned(t *testing.T) {
	s := aged(t)
	appended := NewChain(s.cluster, "executor", s.clock, nil)
	remembering := NewChain(s.cluster, "executor", s.clock, nil)
	// It remembers event 4, which is pruned below.
	head := stored(t, s.cluster)[4].Spec
	remembering.head = &head
	for range 2 {
		s.once(t, 0)
	}
	if s.first(t) != 11 {
		t.Fatalf("the chain begins with event %d", s.first(t))
	}
	for name, chain := range map[string]*Chain{"new": appended, "remembering": remembering, "running": s.chain} {
		events := stored(t, s.cluster)
		if head, err := chain.Head(t.Context()); err != nil || head.Index != events[len(events)-1].Spec.Index {
			t.Errorf("the %s chain: the head is %+v, %v", name, head, err)
		}
		if _, err := chain.Append(t.Context(), accepted(name)); err != nil {
			t.Errorf("the %s chain: %v", name, err)
		}
	}
	s.verify(t)
}

// Between two readings of an append, the event that it found first is pruned. It
// must not take the next one, pruned too, for the end.
func TestEventThatIsPrunedUnderAnAppendIsNotTakenForTheEnd(t *testing.T) {
	for name, older := range map[string]time.Duration{"the old ones": 0, "all but the newest": 2 * retention} {
		for reading := range 10 {
			for _, remembers := range []int{-1, 0, 4, 9} {
				s := aged(t)
				s.clock.Step(older)
				count := 0
				pruning := interceptor.NewClient(s.cluster, interceptor.Funcs{
					Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
						if _, event := object.(*opsv1alpha1.AuditEvent); event {
							if count == reading {
								for range 2 {
									if err := s.checkpointer.prune(ctx); err != nil {
										return err
									}
								}
							}
							count++
						}
						return c.Get(ctx, key, object, options...)
					},
				})
				slow := NewChain(pruning, "executor", s.clock, nil)
				if remembers >= 0 {
					head := stored(t, s.cluster)[remembers].Spec
					slow.head = &head
				}
				event, err := slow.Append(t.Context(), accepted("slow"))
				if err != nil || event.Spec.Index != 17 {
					t.Errorf("%s pruned at reading %d, remembering %d: %v, %v", name, reading, remembers, event, err)
					continue
				}
				s.verify(t)
			}
		}
	}
}

// What one replica reads is pruned by another meanwhile. It must not call the chain
// broken, which an alert may hang on.
func TestReplicaThatIsOvertakenByAPrunerDoesNotCallTheChainBroken(t *testing.T) {
	s := aged(t)
	pruned := false
	slow := s.replica(t, interceptor.NewClient(s.cluster, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if key.Name == EventName(3) && !pruned {
				pruned = true
				for range 2 {
					if err := s.checkpointer.once(ctx); err != nil {
						return err
					}
				}
			}
			return c.Get(ctx, key, object, options...)
		},
	}))
	if err := slow.once(t.Context()); err != nil {
		t.Error(err)
	}
	if !pruned || s.first(t) != 11 {
		t.Fatalf("pruned meanwhile: %t, and the chain begins with event %d", pruned, s.first(t))
	}
	if gauge(t, slow, "srenix_audit_chain_broken") != 0 {
		t.Error("the metric says so")
	}
}

// Writers, a checkpointer and a pruner in several replicas at once, over histories
// of random length: what is left always verifies, every event of it can be proven,
// and nobody's event is lost but by pruning.
func TestWritersAndPrunersAtTheSameTime(t *testing.T) {
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 7))
		s := newSite(t)
		appendAll(t, s.chain, 5+random.IntN(20))
		s.once(t, 0)
		s.clock.Step(retention + time.Hour)
		const writers, each = 3, 8
		var working sync.WaitGroup
		for writer := range writers {
			chain := NewChain(s.cluster, "executor", s.clock, nil)
			if err := chain.CheckHead(t.Context()); err != nil {
				t.Fatal(err)
			}
			working.Go(func() {
				for i := range each {
					if _, err := chain.Append(context.Background(), accepted(fmt.Sprintf("%d-%d", writer, i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 2 {
			replica := s.replica(t, s.cluster)
			working.Go(func() {
				for range 8 {
					replica.nextPrune = time.Time{}
					if err := replica.once(context.Background()); err != nil {
						t.Error(err)
					}
					s.clock.Step(DefaultCheckpointInterval)
				}
			})
		}
		working.Wait()
		s.once(t, DefaultCheckpointInterval)
		s.once(t, DefaultCheckpointInterval)
		if s.first(t) == 0 {
			t.Errorf("seed %d: nothing was pruned", seed)
		}
		s.verify(t)
		s.proveAll(t)
		found := map[string]bool{}
		for _, event := range stored(t, s.cluster) {
			found[event.Spec.References.JTI] = true
		}
		for writer := range writers {
			for i := range each {
				if !found[fmt.Sprintf("%d-%d", writer, i)] {
					t.Errorf("seed %d: event %d of writer %d is gone, and it is not old", seed, i, writer)
				}
			}
		}
	}
}
