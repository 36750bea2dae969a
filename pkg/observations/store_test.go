// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
)

var epoch = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func about(name string) live.Observation {
	return live.Observation{Rule: "rule", Subject: live.Key{Namespace: "ns", Name: name}, UID: types.UID("uid-" + name), ID: "missing"}
}

// nameOf is what a condition is stored under.
func nameOf(o live.Observation) string { return ruleMark(o.Rule) + "." + keyOf(o) }

func newStore(c clock.WithTicker) *Store { return NewStore(Options{Clock: c}) }

// written does what a flush does, against data instead of a ConfigMap.
func written(s *Store, data map[string]string) map[string]string {
	s.learn(state{data: data})
	merged, _ := s.merge(data)
	s.learn(merged)
	return merged.data
}

// saw has a store hear of a condition as an engine tells it.
func saw(s *Store, o live.Observation, at time.Time) {
	sighting := live.Sighting{Observation: o, Since: at, Seen: at}
	if since, known := s.Recall(o); known && since.Before(at) {
		sighting.Since = since
	}
	s.Begin(sighting)
}

func since(t *testing.T, s *Store, o live.Observation) string {
	t.Helper()
	at, known := s.Recall(o)
	if !known {
		return ""
	}
	return at.Format(time.TimeOnly)
}

func TestWhatIsStoredIsRecalledByAnother(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	first, second := newStore(clock), newStore(clock)
	saw(first, about("a"), epoch)
	saw(first, about("b"), epoch.Add(time.Second))
	data := written(first, nil)
	second.learn(state{data: data})
	for name, want := range map[string]string{"a": "12:00:00", "b": "12:00:01", "c": ""} {
		if got := since(t, second, about(name)); got != want {
			t.Errorf("%s is recalled since %q, want %q", name, got, want)
		}
	}
	again := about("a")
	again.UID = "another object of the same name"
	if got := since(t, second, again); got != "" {
		t.Errorf("a new object inherits %q", got)
	}
}

func TestTheEarliestTimeWinsOnEveryReplica(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	early, late := newStore(clock), newStore(clock)
	saw(late, about("a"), epoch.Add(3*time.Second))
	data := written(late, nil)
	saw(early, about("a"), epoch)
	data = written(early, data)
	if diff := cmp.Diff([]live.Observation{about("a")}, late.learn(state{data: data})); diff != "" {
		t.Errorf("to reconsider (-want +got):\n%s", diff)
	}
	if got := since(t, late, about("a")); got != "12:00:00" {
		t.Errorf("recalled since %q", got)
	}
	if reconsidered := late.learn(state{data: data}); reconsidered != nil {
		t.Errorf("reconsidered %v once more", reconsidered)
	}
}

func TestATimeLearnedBetweenRecallAndBeginIsTakenOver(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	other, s := newStore(clock), newStore(clock)
	saw(other, about("a"), epoch)
	data := written(other, nil)
	if _, known := s.Recall(about("a")); known {
		t.Fatal("recalled what nobody told")
	}
	s.learn(state{data: data})
	late := epoch.Add(9 * time.Second)
	s.Begin(live.Sighting{Observation: about("a"), Since: late, Seen: late})
	select {
	case <-s.dirty:
	default:
		t.Fatal("nothing to write, though the times differ")
	}
	if diff := cmp.Diff([]live.Observation{about("a")}, s.learn(state{data: data})); diff != "" {
		t.Errorf("to reconsider (-want +got):\n%s", diff)
	}
}

func TestNothingIsWrittenWhileNothingChanges(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	saw(s, about("a"), epoch)
	data := written(s, nil)
	for len(s.dirty) > 0 {
		<-s.dirty
	}
	clock.Step(24 * time.Hour)
	saw(s, about("a"), epoch) // an evaluation that saw the same
	s.learn(state{data: data})
	if len(s.dirty) > 0 {
		t.Error("there is something to write")
	}
	if merged, _ := s.merge(data); !maps.Equal(merged.data, data) {
		t.Error("a write would change something")
	}
}

func TestAnEntryThatNobodyObservesGoesAfterAnHour(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	before, after := newStore(clock), newStore(clock)
	saw(before, about("a"), epoch)
	data := written(before, nil)
	after.learn(state{data: data})
	clock.Step(orphaned - time.Second)
	if data = written(after, data); len(data) != 1 {
		t.Error("it went too early")
	}
	clock.Step(time.Second)
	if data = written(after, data); len(data) != 0 {
		t.Errorf("it stays: %v", data)
	}
	// Whoever does observe it puts it back, as old as it was.
	data = written(before, data)
	if diff := cmp.Diff(map[string]string{nameOf(about("a")): "2026-01-02T12:00:00Z"}, data); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestNoEntryGoesWhileItsRuleCannotBeReliedOn(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	unreliable := []string{"rule"}
	before, after := newStore(clock), NewStore(Options{Clock: clock, Unreliable: func() []string { return unreliable }})
	saw(before, about("a"), epoch)
	data := written(before, nil)
	after.learn(state{data: data})
	for range 12 { // three hours
		clock.Step(orphaned / 4)
		if data = written(after, data); len(data) != 1 {
			t.Fatalf("it went at %s, when nobody could tell whether it holds", clock.Now())
		}
	}
	unreliable = nil
	clock.Step(orphaned - time.Second)
	if data = written(after, data); len(data) != 1 {
		t.Error("it went too early after all was known")
	}
	clock.Step(time.Second)
	if data = written(after, data); len(data) != 0 {
		t.Errorf("it stays: %v", data)
	}
}

func TestWhatIsNoTimeIsReplaced(t *testing.T) {
	s := newStore(testingclock.NewFakeClock(epoch))
	saw(s, about("a"), epoch)
	data := written(s, map[string]string{nameOf(about("a")): "yesterday", "README": "2026-01-02T12:00:00Z", nameOf(about("b")): ""})
	if diff := cmp.Diff(map[string]string{nameOf(about("a")): "2026-01-02T12:00:00Z"}, data); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestReplicasConverge runs random histories of three replicas that observe the
// same conditions at different times, write whenever they like, and hear of
// writes late. Once all have caught up, they agree.
func TestReplicasConverge(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		clock := testingclock.NewFakeClock(epoch)
		replicas := []*Store{newStore(clock), newStore(clock), newStore(clock)}
		holds := map[string]bool{}
		data := map[string]string{}
		history := []map[string]string{data}
		observe := func(s *Store, name string) {
			saw(s, about(name), clock.Now())
		}
		for range 40 {
			s, name := replicas[random.IntN(3)], string(rune('a'+random.IntN(3)))
			switch random.IntN(6) {
			case 0: // it begins; the others notice later
				holds[name] = true
				observe(s, name)
			case 1: // it ends, and all notice in their time
				delete(holds, name)
				s.End(about(name))
			case 2:
				data = written(s, maps.Clone(data))
				history = append(history, data)
			case 3: // a watch that is behind
				s.learn(state{data: history[len(history)-1-random.IntN(min(3, len(history)))]})
			case 4:
				clock.Step(time.Duration(random.IntN(5)) * time.Second)
			case 5: // a restart
				*s = *newStore(clock)
				s.learn(state{data: data})
			}
		}
		for range 3 {
			for _, s := range replicas {
				for _, name := range []string{"a", "b", "c"} {
					if holds[name] {
						observe(s, name)
					} else {
						s.End(about(name))
					}
				}
				for _, o := range s.learn(state{data: data}) {
					observe(s, o.Subject.Name)
				}
				data = written(s, maps.Clone(data))
			}
		}
		want := map[string]string{}
		for name := range holds {
			want[name] = since(t, replicas[0], about(name))
			if stored := data[nameOf(about(name))]; stored != epoch.Format(time.DateOnly)+"T"+want[name]+"Z" {
				t.Fatalf("seed %d: %s is stored as %q, recalled since %q", seed, name, stored, want[name])
			}
			for i, s := range replicas {
				if got := since(t, s, about(name)); got != want[name] {
					t.Fatalf("seed %d: %s is since %q on the first replica and %q on replica %d", seed, name, want[name], got, i)
				}
			}
		}
		if len(data) != len(holds) {
			t.Fatalf("seed %d: stored %v, while these hold: %v", seed, data, holds)
		}
	}
}
