// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
)

// setClock is the clock of one machine: its time of day can be set, and how long ago
// something was cannot. In place of a monotonic reading its times have a zone, of as
// many seconds as the clock was wrong by.
type setClock struct {
	*testingclock.FakeClock
	offset time.Duration
}

func (c *setClock) Now() time.Time {
	return c.FakeClock.Now().Add(c.offset).In(time.FixedZone("", int(c.offset/time.Second)))
}

func (c *setClock) Since(then time.Time) time.Duration {
	_, wrong := then.Zone()
	return c.FakeClock.Since(then.Add(-time.Duration(wrong) * time.Second))
}

func stored(name, at string) map[string]string {
	return map[string]string{nameOf(about(name)): "2026-01-02T" + at + "Z"}
}

func TestAClockThatWasWrongLeavesNoWrongTimes(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"behind": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c := &setClock{FakeClock: testingclock.NewFakeClock(epoch)}
			s, other := newStore(c), newStore(testingclock.NewFakeClock(epoch))
			saw(s, about("before"), c.Now())
			c.offset = wrong
			c.Step(10 * time.Second)
			saw(s, about("while"), c.Now())
			data := written(s, nil)
			other.learn(state{data: data})
			saw(other, about("while"), epoch.Add(time.Minute))
			data = written(other, data)

			c.Step(10 * time.Second)
			c.offset = 3 * time.Millisecond // it was not quite right before either
			s.look()
			want := map[string]string{nameOf(about("before")): "2026-01-02T12:00:00Z", nameOf(about("while")): "2026-01-02T12:00:10Z"}
			reconsidered := s.learn(state{data: data})
			if len(reconsidered) != 2 {
				t.Errorf("reconsidered %v, want both", reconsidered)
			}
			data = written(s, data)
			if diff := cmp.Diff(want, data); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			// The other has seen it later, and took over what was wrong.
			if wrong < 0 {
				if diff := cmp.Diff([]live.Observation{about("while")}, other.learn(state{data: data})); diff != "" {
					t.Errorf("the other reconsiders (-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff(want, written(other, data)); diff != "" {
				t.Errorf("stored by the other (-want +got):\n%s", diff)
			}
			if got := since(t, other, about("while")); got != "12:00:10" {
				t.Errorf("the other says since %s", got)
			}
		})
	}
}

func TestWhatAnObjectToldDoesNotMoveWithTheClock(t *testing.T) {
	c := &setClock{FakeClock: testingclock.NewFakeClock(epoch)}
	s := newStore(c)
	told := epoch.Add(-2 * time.Hour)
	s.Begin(live.Sighting{Observation: about("a"), Since: told, Seen: epoch, Told: told})
	data := written(s, nil)
	c.offset = time.Hour
	s.look()
	if reconsidered := s.learn(state{data: data}); reconsidered != nil {
		t.Errorf("reconsidered %v", reconsidered)
	}
	if diff := cmp.Diff(stored("a", "10:00:00"), written(s, data)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestWhatWasOnlyRecalledDoesNotMoveWithTheClock(t *testing.T) {
	c := &setClock{FakeClock: testingclock.NewFakeClock(epoch.Add(time.Hour))}
	s := newStore(c)
	data := stored("a", "12:00:00")
	s.learn(state{data: data})
	saw(s, about("a"), c.Now())
	c.offset = time.Hour
	s.look()
	if diff := cmp.Diff(data, written(s, data)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestAClockThatIsSetDuringAWrite: what is being written is wrong by the time that it is.
func TestAClockThatIsSetDuringAWrite(t *testing.T) {
	c := &setClock{FakeClock: testingclock.NewFakeClock(epoch), offset: 0}
	s := newStore(c)
	c.offset = -time.Hour
	saw(s, about("a"), c.Now())
	merged, _ := s.merge(nil)
	c.offset = 0
	s.look()
	s.learn(merged)
	if diff := cmp.Diff(stored("a", "12:00:00"), written(s, merged.data)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestReplicasWhoseClocksAreSetConverge runs random histories of three replicas whose
// clocks are wrong at times. Once all are right, what holds is since the first of them
// saw it.
func TestReplicasWhoseClocksAreSetConverge(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 2))
		real := testingclock.NewFakeClock(epoch)
		var clocks []*setClock
		var replicas []*Store
		for range 3 {
			clocks = append(clocks, &setClock{FakeClock: real})
			replicas = append(replicas, newStore(clocks[len(clocks)-1]))
		}
		first := map[string]string{}
		data := map[string]string{}
		history := []map[string]string{data}
		for range 40 {
			i, name := random.IntN(3), string(rune('a'+random.IntN(3)))
			s := replicas[i]
			switch random.IntN(6) {
			case 0, 1:
				if first[name] == "" {
					first[name] = real.Now().Format(time.TimeOnly)
				}
				saw(s, about(name), clocks[i].Now().Truncate(time.Second))
			case 2:
				data = written(s, maps.Clone(data))
				history = append(history, data)
			case 3:
				s.learn(state{data: history[len(history)-1-random.IntN(min(3, len(history)))]})
			case 4:
				real.Step(time.Duration(random.IntN(5)) * time.Second)
			case 5:
				clocks[i].offset = time.Duration(random.IntN(7)-3) * time.Hour / 2
				s.look()
			}
		}
		for i, s := range replicas {
			clocks[i].offset = 0
			s.look()
		}
		for range 3 {
			for _, s := range replicas {
				data = written(s, maps.Clone(data))
			}
		}
		for name, want := range first {
			if diff := cmp.Diff(stored(name, want)[nameOf(about(name))], data[nameOf(about(name))]); diff != "" {
				t.Fatalf("seed %d: %s is stored (-want +got):\n%s", seed, name, diff)
			}
			for i, s := range replicas {
				if got := since(t, s, about(name)); got != want {
					t.Fatalf("seed %d: %s is since %s on replica %d, and %s in truth", seed, name, got, i, want)
				}
			}
		}
	}
}

// TestAMachineThatSleptHasNoWrongClock lets the monotonic clock stand still for a
// night.
func TestAMachineThatSleptHasNoWrongClock(t *testing.T) {
	c := &setClock{FakeClock: testingclock.NewFakeClock(epoch)}
	boot := testingclock.NewFakeClock(epoch)
	s := NewStore(Options{Clock: c, Elapsed: func() time.Duration { return boot.Since(epoch) }})
	saw(s, about("web"), c.Now())
	data := written(s, nil)
	s.learn(state{data: data})
	c.offset += 8 * time.Hour // as its own monotonic clock has it
	boot.Step(8 * time.Hour)
	s.look()
	if diff := cmp.Diff(data, written(s, data)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestSinceBootGoesOn(t *testing.T) {
	if before, after := SinceBoot(), SinceBoot(); before < 0 || after < before {
		t.Errorf("%s and then %s", before, after)
	}
}
