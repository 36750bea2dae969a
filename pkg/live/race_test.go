// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestAChangeBetweenReadAndRecordIsNotLost races a change of what a subject reads
// for the first time with the evaluation that reads it.
func TestAChangeBetweenReadAndRecordIsNotLost(t *testing.T) {
	for name, read := range map[string]func(v *live.View, of string) bool{
		"by key":      func(v *live.View, of string) bool { _, ok := pods.Get(v, key("ns", of)); return ok },
		"by index":    func(v *live.View, of string) bool { return len(pods.ByIndex(v, "node", of)) > 0 },
		"by selector": func(v *live.View, of string) bool { return len(pods.List(v, of, nil)) > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, live.Rule{
				Name: "rule", Subject: configs.Ref(), Reads: []live.KindRef{pods.Ref()}, Outputs: []live.KindRef{notes.Ref()},
				Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
					config, _ := configs.Get(v, subject)
					return []live.Output{note(subject, fmt.Sprint(read(v, config.Data["text"])))}, nil
				},
			})
			live.Feed(t, f.engine)
			live.FeedReplace(f.engine, pods)
			live.FeedReplace(f.engine, configs)
			for i := range 5000 {
				of := fmt.Sprint(i)
				changed := pod("ns", of, nil)
				if name == "by selector" {
					changed.Namespace = of
				}
				changed.Spec.NodeName = of
				start := make(chan struct{})
				var racing sync.WaitGroup
				racing.Go(func() {
					<-start
					for range i % 97 * 20 { // meets the evaluation at different places
						runtime.KeepAlive(of)
					}
					live.FeedSet(f.engine, pods, changed)
				})
				close(start)
				live.FeedSet(f.engine, configs, text("ns", "a", of))
				racing.Wait()
				for !f.engine.Settled() {
					runtime.Gosched()
				}
				if said := texts(f.engine, notes)["ns/a"]; said != "true" {
					t.Fatalf("round %d: a change was lost", i)
				}
				live.FeedDelete(f.engine, pods, changed)
			}
		})
	}
}

// lookingClock calls back once when it is asked for the time.
type lookingClock struct {
	*testingclock.FakeClock
	look atomic.Pointer[func()]
}

func (c *lookingClock) Now() time.Time {
	if look := c.look.Swap(nil); look != nil {
		(*look)()
	}
	return c.FakeClock.Now()
}

// TestSettledSeesAChangeThatBeginsWhileItLooks, after it has looked for changes and
// before it has looked for what they queue.
func TestSettledSeesAChangeThatBeginsWhileItLooks(t *testing.T) {
	clock := &lookingClock{FakeClock: testingclock.NewFakeClock(epoch)}
	e := live.New(live.Options{Clock: clock})
	rule := readsConfig("rule")
	evaluate := rule.Evaluate
	rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
		v.RecheckAt(epoch.Add(time.Hour)) // a timer, for which Settled asks for the time
		return evaluate(v, subject)
	}
	if err := e.AddRule(rule); err != nil {
		t.Fatal(err)
	}
	live.Feed(t, e)
	live.FeedReplace(e, configs)
	live.FeedReplace(e, pods, pod("ns", "a", nil))
	livetest.Eventually(t, "it settles", e.Settled)

	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	if err := live.Subscribe(e, live.Statuses(), func(_, s *live.Status) {
		if s.State == live.Degraded {
			close(entered)
			<-leave
		}
	}); err != nil {
		t.Fatal(err)
	}
	begin := func() {
		go func() {
			live.FeedError(e, configs.Ref(), apierrors.NewForbidden(configResource.GroupResource(), "", nil))
			close(done)
		}()
		<-entered
	}
	clock.look.Store(&begin)
	if e.Settled() {
		t.Error("settled while a change is under way")
	}
	close(leave)
	<-done
	livetest.Eventually(t, "it settles", e.Settled)
}
