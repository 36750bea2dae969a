// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testingclock "k8s.io/utils/clock/testing"
)

func TestWhatEndedIsForgotten(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	saw(s, about("a"), epoch)
	saw(s, about("b"), epoch)
	data := written(s, nil)
	s.End(about("a"))
	data = written(s, data)
	if diff := cmp.Diff(map[string]string{nameOf(about("b")): "2026-01-02T12:00:00Z"}, data); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	saw(s, about("a"), epoch.Add(time.Hour))
	if got := since(t, s, about("a")); got != "13:00:00" {
		t.Errorf("what began anew is recalled since %q", got)
	}
}

func TestWhatEndedIsNotRecalledBeforeThatIsWritten(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	saw(s, about("a"), epoch)
	s.learn(state{data: written(s, nil)})
	s.End(about("a"))
	if since, known := s.Recall(about("a")); known {
		t.Errorf("what ended is recalled since %s", since)
	}
	saw(s, about("a"), epoch.Add(time.Hour))
	if got := since(t, s, about("a")); got != "13:00:00" {
		t.Errorf("what began anew is recalled since %q", got)
	}
}

func TestWhatBeganAnewDoesNotGetItsOldStartBack(t *testing.T) {
	for name, learns := range map[string]func(s *Store, old map[string]string){
		"as what it stored itself comes by": func(s *Store, old map[string]string) { s.learn(state{data: old, watched: true}) },
		"as writes fail": func(s *Store, old map[string]string) {
			for range 3 {
				s.learn(state{data: old})
				s.merge(old)
			}
		},
		"as another replica had noticed it earlier": func(s *Store, _ map[string]string) {
			s.learn(state{data: map[string]string{nameOf(about("a")): "2026-01-02T11:59:58Z"}, watched: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := testingclock.NewFakeClock(epoch)
			s := newStore(clock)
			saw(s, about("a"), epoch)
			old := written(s, nil)
			clock.Step(30 * time.Minute)
			s.End(about("a"))
			clock.Step(30 * time.Minute)
			saw(s, about("a"), clock.Now())
			learns(s, old)
			if got := since(t, s, about("a")); got != "13:00:00" {
				t.Errorf("recalled since %q", got)
			}
			want := map[string]string{nameOf(about("a")): "2026-01-02T13:00:00Z"}
			if diff := cmp.Diff(want, written(s, old)); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnEndDuringAWriteIsNotTakenForWritten(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	saw(s, about("a"), epoch)
	s.End(about("a"))
	saw(s, about("a"), epoch)
	merged, _ := s.merge(nil) // which knows of the first end
	s.End(about("a"))
	s.learn(merged)
	if got := since(t, s, about("a")); got != "" {
		t.Errorf("what ended is recalled since %q", got)
	}
	if data := written(s, merged.data); len(data) != 0 {
		t.Errorf("it stays stored: %v", data)
	}
}

func TestAWatchThatIsBehindBringsNothingBack(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	saw(s, about("a"), epoch)
	merged, _ := s.merge(nil)
	old := state{data: merged.data, version: "9", watched: true}
	s.learn(old)
	s.End(about("a"))
	merged, _ = s.merge(old.data)
	merged.version = "10"
	s.learn(merged)
	s.learn(old)
	if got := since(t, s, about("a")); got != "" {
		t.Errorf("what ended is recalled since %q", got)
	}
	// A cluster that was restored counts from an earlier version: what is read holds.
	old.watched = false
	s.learn(old)
	if got := since(t, s, about("a")); got != "12:00:00" {
		t.Errorf("what was restored is recalled since %q", got)
	}
}

// TestNothingIsSinceBeforeItBegan runs random histories of one replica whose writes
// fail, and whose watch is behind.
func TestNothingIsSinceBeforeItBegan(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		clock := testingclock.NewFakeClock(epoch)
		s := newStore(clock)
		began := map[string]time.Time{}
		versions := []state{{version: "1"}}
		for step := range 60 {
			name := string(rune('a' + random.IntN(3)))
			current := versions[len(versions)-1]
			switch random.IntN(6) {
			case 0:
				if _, holds := began[name]; !holds {
					began[name] = clock.Now()
					if at, known := s.Recall(about(name)); known {
						t.Fatalf("seed %d, step %d: what does not hold is recalled since %s", seed, step, at)
					}
					saw(s, about(name), clock.Now())
				}
			case 1:
				delete(began, name)
				s.End(about(name))
			case 2: // a write, during which something may end
				s.learn(current)
				merged, _ := s.merge(current.data)
				if random.IntN(3) == 0 {
					delete(began, name)
					s.End(about(name))
				}
				switch {
				case maps.Equal(merged.data, current.data):
					merged.version = current.version
					s.learn(merged)
				case random.IntN(2) == 0: // it succeeds
					merged.version = fmt.Sprint(len(versions) + 1)
					versions = append(versions, state{data: merged.data, version: merged.version})
					s.learn(merged)
				}
			case 3:
				seen := versions[len(versions)-1-random.IntN(min(3, len(versions)))]
				seen.watched = true
				s.learn(seen)
			default:
				clock.Step(time.Duration(1+random.IntN(5)) * time.Second)
			}
			for name, want := range began {
				if at, known := s.Recall(about(name)); !known || !at.Equal(want) {
					t.Fatalf("seed %d, step %d: %s is recalled since %s, and began at %s", seed, step, name, at, want)
				}
			}
		}
	}
}

// TestEndsAreBoundedWhileNothingCanBeWritten: those of what is stored are kept, for
// it would be recalled.
func TestEndsAreBoundedWhileNothingCanBeWritten(t *testing.T) {
	clock := testingclock.NewFakeClock(epoch)
	s := newStore(clock)
	saw(s, about("stored"), epoch)
	s.learn(state{data: written(s, nil)})
	s.End(about("stored"))
	for i := range capacity + 100 {
		o := about(fmt.Sprint(i))
		saw(s, o, epoch)
		s.End(o)
	}
	if len(s.ended) != capacity {
		t.Errorf("%d ends are kept, want %d", len(s.ended), capacity)
	}
	if since, known := s.Recall(about("stored")); known {
		t.Errorf("what is stored and ended is recalled since %s", since)
	}
	if _, kept := s.ended[keyOf(about(fmt.Sprint(capacity+99)))]; !kept {
		t.Error("the last end is forgotten, and not the oldest")
	}
	if _, kept := s.ended[keyOf(about("0"))]; kept {
		t.Error("the oldest end of what is not stored is kept")
	}
}

// TestOnlyEndsOfWhatIsNotStoredAreForgotten, as of what was stored last: what was on its
// way may have arrived, and what ends again did so later.
func TestOnlyEndsOfWhatIsNotStoredAreForgotten(t *testing.T) {
	s := newStore(testingclock.NewFakeClock(epoch))
	end := func(name string) {
		saw(s, about(name), epoch)
		s.End(about(name))
	}
	saw(s, about("gone"), epoch)
	s.learn(state{data: written(s, nil)})
	for range 5 * capacity {
		end("again")
	}
	for _, name := range []string{"gone", "arrived", "later again", "again"} {
		end(name)
	}
	s.learn(state{data: map[string]string{nameOf(about("arrived")): "2026-01-02T12:00:00Z"}})
	end("later again")
	for i := range capacity - 2 {
		end(fmt.Sprint(i))
	}
	for name, want := range map[string]bool{"gone": false, "arrived": true, "again": false, "later again": true, "0": true} {
		if _, kept := s.ended[keyOf(about(name))]; kept != want {
			t.Errorf("the end of %s is kept: %t", name, kept)
		}
	}
	if len(s.ended) != capacity || len(s.forgettable) > 4*capacity {
		t.Errorf("%d ends are kept, in a queue of %d", len(s.ended), len(s.forgettable))
	}
}

// BenchmarkOneEndTooMany is what an end costs while as many as are kept wait to be written.
func BenchmarkOneEndTooMany(b *testing.B) {
	s := newStore(testingclock.NewFakeClock(epoch))
	i := 0
	for ; i < capacity; i++ {
		s.End(about(fmt.Sprint(i)))
	}
	for ; b.Loop(); i++ {
		s.End(about(fmt.Sprint(i)))
	}
}
