// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// overdue notes pods that have been without a node for longer than a minute, as
// of the first time that was seen.
func overdue() live.Rule {
	return live.Rule{
		Name: "overdue", Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			p, ok := pods.Get(v, subject)
			if !ok || p.Spec.NodeName != "" {
				return nil, nil
			}
			since := v.FirstObserved("pending")
			if p.Labels["do"] == "fail" {
				return nil, errors.New("cannot be")
			}
			if due := since.Add(time.Minute); v.Now().Before(due) {
				v.RecheckAt(due)
				v.RecheckAt(due.Add(time.Hour)) // the earliest wins
				v.RecheckAt(v.Now())            // and the past does not count
				return nil, nil
			}
			return []live.Output{note(subject, since.Format(time.TimeOnly))}, nil
		},
	}
}

func (f *fixture) step(d time.Duration) {
	f.Helper()
	f.clock.Step(d)
	livetest.Eventually(f, "the engine settles", f.engine.Settled)
}

func TestASubjectIsEvaluatedAgainWhenItAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c counter
		f := newFixture(t, c.count(overdue()))
		step := func(d time.Duration) {
			synctest.Wait() // nobody is about to act on the time of before
			f.step(d)
		}
		f.cluster.Set(podResource, pod("ns", "a", nil))
		f.run()
		f.settle()
		step(30 * time.Second)
		f.cluster.Set(podResource, pod("ns", "b", nil))
		f.settle()
		evaluated(t, &c, map[string]int{"a": 1, "b": 1})
		step(30*time.Second - time.Nanosecond)
		evaluated(t, &c, nil)
		step(time.Nanosecond)
		evaluated(t, &c, map[string]int{"a": 1})
		noted(t, f, map[string]string{"ns/a": "00:00:00"})
		step(time.Hour)
		evaluated(t, &c, map[string]int{"b": 1})
		noted(t, f, map[string]string{"ns/a": "00:00:00", "ns/b": "00:00:30"})
		step(24 * time.Hour)
		evaluated(t, &c, nil) // no polling
	})
}

func TestATimerGoesWithItsReason(t *testing.T) {
	var c counter
	f := newFixture(t, c.count(overdue()))
	f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
	f.run()
	f.settle()
	scheduled := pod("ns", "a", nil)
	scheduled.Spec.NodeName = "n"
	f.cluster.Set(podResource, scheduled)
	f.cluster.Delete(podResource, key("ns", "b"))
	f.settle()
	c.take()
	if nodes, _, alarms, _ := live.Footprint(f.engine); nodes+alarms != 0 {
		t.Errorf("remembered %d nodes and %d alarms, want none", nodes, alarms)
	}
	f.step(time.Hour)
	evaluated(t, &c, nil)
}

func TestWhatWasFirstObservedIsForgottenWhenItEnds(t *testing.T) {
	f := newFixture(t, overdue())
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	f.step(30 * time.Second)
	// A failure is no end.
	f.cluster.Set(podResource, pod("ns", "a", map[string]string{"do": "fail"}))
	f.settle()
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.settle()
	if since, known := f.memory.Recall(pending(f, "a")); !known || !since.Equal(epoch) {
		t.Errorf("remembered %v (%v), want %v", since, known, epoch)
	}
	scheduled := pod("ns", "a", nil)
	scheduled.Spec.NodeName = "n"
	f.cluster.Set(podResource, scheduled)
	f.settle()
	if got := f.memory.All(); len(got) != 0 {
		t.Errorf("remembered %v, want nothing", got)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.settle()
	f.step(time.Minute)
	noted(t, f, map[string]string{"ns/a": "00:00:30"})
}

// pending is what the rule of overdue observes of a pod in the cluster.
func pending(f *fixture, name string) live.Observation {
	p, _ := live.Get(f.engine, pods, key("ns", name))
	return live.Observation{Rule: "overdue", Subject: key("ns", name), UID: p.UID, ID: "pending"}
}

func TestWhatWasFirstObservedSurvivesARestart(t *testing.T) {
	before := newFixture(t, overdue())
	before.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
	before.run()
	before.settle()

	after := newFixture(t, overdue())
	after.cluster = before.cluster
	for o, since := range before.memory.All() {
		after.memory.Set(o, since)
	}
	after.step(24 * time.Hour)
	after.cluster.Delete(podResource, key("ns", "b"))
	after.cluster.Set(podResource, pod("ns", "b", nil)) // another object of the same name
	after.run()
	after.settle()
	noted(t, after, map[string]string{"ns/a": "00:00:00"})
	after.step(time.Minute)
	noted(t, after, map[string]string{"ns/a": "00:00:00", "ns/b": "00:00:00"})
	if b, _ := after.memory.Recall(pending(after, "b")); !b.Equal(epoch.Add(24 * time.Hour)) {
		t.Errorf("the new pod is remembered since %s", b)
	}
}

func TestTheEarliestTimeThatAnObjectToldCounts(t *testing.T) {
	told := live.Rule{
		Name: "told", Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			p, _ := pods.Get(v, subject)
			if p.Status.StartTime == nil {
				return nil, nil
			}
			return []live.Output{note(subject, v.Began("told", p.Status.StartTime.Time).Format(time.TimeOnly))}, nil
		},
	}
	f := newFixture(t, told)
	tell := func(at *metav1.Time, want map[string]string) {
		t.Helper()
		p := pod("ns", "a", nil)
		p.Status.StartTime = at
		f.cluster.Set(podResource, p)
		f.settle()
		noted(t, f, want)
	}
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: epoch.Add(d)} }
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	f.step(time.Hour)
	tell(at(10*time.Minute), map[string]string{"ns/a": "00:10:00"})
	tell(at(30*time.Minute), map[string]string{"ns/a": "00:10:00"})
	tell(at(5*time.Minute), map[string]string{"ns/a": "00:05:00"})
	tell(nil, map[string]string{})
	tell(at(30*time.Minute), map[string]string{"ns/a": "00:30:00"})
	tell(nil, map[string]string{})
	tell(at(24*time.Hour), map[string]string{"ns/a": "01:00:00"}) // never later than now
}

// TestTheClockIsSetBackDuringAnEvaluation: what it said is of a time that comes later, and
// that it asked for the time is known only once it ends.
func TestTheClockIsSetBackDuringAnEvaluation(t *testing.T) {
	var f *fixture
	var once sync.Once
	rule := live.Rule{
		Name: "rule", Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			now := v.Now()
			once.Do(func() {
				f.clock.SetTime(now.Add(-time.Hour))
				live.LookAtClock(f.engine) // as another evaluation does, or the timers
			})
			return []live.Output{note(subject, now.Format(time.TimeOnly))}, nil
		},
	}
	f = newFixture(t, rule)
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	noted(t, f, map[string]string{"ns/a": "23:00:00"})
}

func TestReconsiderTakesOverWhatTheMemoryLearned(t *testing.T) {
	f := newFixture(t, overdue())
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	f.step(time.Minute)
	noted(t, f, map[string]string{"ns/a": "00:00:00"})
	f.memory.Set(pending(f, "a"), epoch.Add(-time.Hour))
	f.engine.Reconsider("overdue", key("ns", "a"))
	f.engine.Reconsider("overdue", key("ns", "nobody"))
	f.engine.Reconsider("no rule", key("ns", "a"))
	f.settle()
	noted(t, f, map[string]string{"ns/a": "23:00:00"})
}

func TestATimeAfterNowIsNotRecalled(t *testing.T) {
	f := newFixture(t, overdue())
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	// The clock was a year ahead, and is set right.
	f.memory.Set(pending(f, "a"), epoch.Add(365*24*time.Hour))
	f.engine.Reconsider("overdue", key("ns", "a"))
	f.settle()
	f.step(time.Minute)
	noted(t, f, map[string]string{"ns/a": "00:00:00"})
}

// colors notes the first color of a pod that it saw, for as long as the pod has any.
func colors() live.Rule {
	return live.Rule{
		Name: "colors", Subject: pods.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			p, ok := pods.Get(v, subject)
			if !ok || p.Labels["color"] == "" {
				return nil, nil
			}
			color := p.Labels["color"]
			for _, other := range []string{"red", "green"} {
				if _, held := v.Observed(other); held {
					color = other
				}
			}
			return []live.Output{note(subject, color+" "+v.FirstObserved(color).Format(time.TimeOnly))}, nil
		},
	}
}

func TestWhatWasObservedIsNeitherBegunNorKeptByAsking(t *testing.T) {
	f := newFixture(t, colors())
	is := func(color, want string) {
		t.Helper()
		f.cluster.Set(podResource, pod("ns", "a", map[string]string{"color": color}))
		f.settle()
		noted(t, f, map[string]string{"ns/a": want})
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	is("green", "green 00:00:00")
	f.step(time.Minute)
	is("red", "green 00:00:00")
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.settle()
	if all := f.memory.All(); len(all) != 0 {
		t.Errorf("remembered %v, want nothing", all)
	}
	is("red", "red 00:01:00")
}

// TestATimeThatIsMovedForwardIsKept though others were asked for that come between.
func TestATimeThatIsMovedForwardIsKept(t *testing.T) {
	f := newFixture(t, live.Rule{
		Name: "due", Subject: configs.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			config, _ := configs.Get(v, subject)
			after, err := time.ParseDuration(config.Data["text"])
			if due := epoch.Add(after); err != nil || v.Now().Before(due) {
				v.RecheckAt(due)
				return nil, err
			}
			return []live.Output{note(subject, "due")}, nil
		},
	})
	for name, after := range map[string]string{"a": "1h", "b": "2h", "c": "3h"} {
		f.cluster.Set(configResource, text("ns", name, after))
	}
	f.run()
	livetest.Settle(t, f.engine, f.cluster, configs)
	f.cluster.Set(configResource, text("ns", "c", "1m"))
	livetest.Settle(t, f.engine, f.cluster, configs)
	f.clock.Step(2 * time.Minute)
	livetest.Eventually(t, "c is due", func() bool { return texts(f.engine, notes)["ns/c"] == "due" })
}
