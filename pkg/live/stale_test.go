// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// scripted is a cluster of which some requests for config maps are answered
// otherwise: by what list and watch return, unless that is nothing at all.
type scripted struct {
	*livetest.Cluster

	mu    sync.Mutex
	list  func(ctx context.Context) error
	watch func(ctx context.Context, initial bool) (watch.Interface, error)
}

func (s *scripted) script(list func(context.Context) error, watch func(context.Context, bool) (watch.Interface, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.watch = list, watch
}

func (s *scripted) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	lw, err := s.Cluster.ListerWatcher(resource, example)
	if resource != configResource || err != nil {
		return lw, err
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			s.mu.Lock()
			list := s.list
			s.mu.Unlock()
			if list != nil {
				if err := list(ctx); err != nil {
					return nil, err
				}
			}
			return cache.ToListerWithContext(lw).ListWithContext(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			s.mu.Lock()
			begin := s.watch
			s.mu.Unlock()
			if begin != nil {
				initial := options.SendInitialEvents != nil && *options.SendInitialEvents
				if w, err := begin(ctx, initial); w != nil || err != nil {
					return w, err
				}
			}
			return cache.ToListerWatcherWithContext(lw).WatchWithContext(ctx, options)
		},
	}, nil
}

// noStreams has lists read page by page.
func noStreams(_ context.Context, initial bool) (watch.Interface, error) {
	if initial {
		return nil, apierrors.NewBadRequest("sendInitialEvents is not supported")
	}
	return nil, nil
}

// tooLargeVersion is the answer of an API server that is behind what was read.
func tooLargeVersion() error {
	err := apierrors.NewTimeoutError("Too large resource version", 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// pass lets time pass as it does for an engine: it looks at the clock now and then.
func (f *fixture) pass(d time.Duration) {
	const look = 10 * time.Second
	for ; d > 0; d -= look {
		f.clock.Step(min(d, look))
		live.LookAtClock(f.engine)
	}
}

func TestAnInputWithoutNewsIsNotHealthy(t *testing.T) {
	var asked atomic.Int32
	hangs := func(ctx context.Context) error {
		asked.Add(1)
		<-ctx.Done()
		return ctx.Err()
	}
	answers := func(err error) func(context.Context) error {
		return func(context.Context) error {
			asked.Add(1)
			return err
		}
	}
	tests := map[string]struct {
		list  func(context.Context) error
		watch func(context.Context, bool) (watch.Interface, error)
		// answers tells that requests end.
		answers bool
		want    string
	}{
		"a streamed list without an end": {
			watch: func(_ context.Context, initial bool) (watch.Interface, error) {
				if initial {
					asked.Add(1)
					return watch.NewFake(), nil
				}
				return nil, nil
			},
			want: "does not answer",
		},
		"a streamed list that does not begin": {
			watch: func(ctx context.Context, initial bool) (watch.Interface, error) {
				if initial {
					return nil, hangs(ctx)
				}
				return nil, nil
			},
			want: "does not answer",
		},
		"a list that hangs":             {list: hangs, watch: noStreams, want: "does not answer"},
		"a history that is always gone": {list: answers(apierrors.NewResourceExpired("too old")), watch: noStreams, answers: true, want: "too old"},
		"a version that is not reached": {list: answers(tooLargeVersion()), watch: noStreams, answers: true, want: "Too large resource version"},
		"a watch that hangs": {
			watch: func(ctx context.Context, initial bool) (watch.Interface, error) {
				if initial {
					return noStreams(ctx, initial)
				}
				return nil, hangs(ctx)
			},
			want: "does not answer",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, readsConfig("rule"))
			source := &scripted{Cluster: f.cluster}
			f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
			f.cluster.Set(configResource, text("ns", "a", "x"), text("ns", "b", "y"))
			livetest.Run(t, f.engine, source)
			f.settle()

			asks := int32(1)
			if test.answers {
				asks = 2 // the first was answered then
			}
			asked.Store(0)
			source.script(test.list, test.watch)
			f.cluster.Expire(configResource)
			f.cluster.Set(configResource, text("ns", "a", "z"))
			livetest.Eventually(t, "the config maps are asked for again", func() bool { return asked.Load() >= asks })
			f.pass(20 * time.Second)
			if status := f.status("rule"); status.State != live.Healthy {
				t.Errorf("%s after 20 seconds: %s", status.Reason, status.Message)
			}
			f.pass(20 * time.Second)
			status := f.eventuallyStatus("rule", live.ReasonInputFailing)
			if !strings.Contains(status.Message, "has not been read for more than 30s") || !strings.Contains(status.Message, test.want) {
				t.Errorf("got message %q, want for how long it was not read, and %q", status.Message, test.want)
			}
			// Nothing is resolved meanwhile.
			f.cluster.Delete(configResource, key("ns", "b"))
			f.cluster.Set(podResource, pod("ns", "b", map[string]string{"any": "thing"}))
			f.pass(20 * time.Minute)
			livetest.Settle(t, f.engine, f.cluster, pods)
			f.eventuallyStatus("rule", live.ReasonInputFailing)
			if got := texts(f.engine, notes)["ns/b"]; got != "y" {
				t.Errorf("the note of b is %q, want what was known before", got)
			}
		})
	}
}

// TestAnInputHealsThoughARequestHangs: what hangs is given up, for it would hang
// forever, as behind a proxy that has lost its own way on.
func TestAnInputHealsThoughARequestHangs(t *testing.T) {
	hangs := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	tests := map[string]struct {
		list  func(context.Context) error
		watch func(context.Context, bool) (watch.Interface, error)
	}{
		"a streamed list without an end": {watch: func(_ context.Context, initial bool) (watch.Interface, error) {
			if initial {
				return watch.NewFake(), nil
			}
			return nil, nil
		}},
		"a streamed list that does not begin": {watch: func(ctx context.Context, initial bool) (watch.Interface, error) {
			if initial {
				return nil, hangs(ctx)
			}
			return nil, nil
		}},
		"a list": {list: hangs, watch: noStreams},
		"a watch": {watch: func(ctx context.Context, initial bool) (watch.Interface, error) {
			if initial {
				return noStreams(ctx, initial)
			}
			return nil, hangs(ctx)
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, source := onScript(t)
				source.script(test.list, test.watch)
				f.cluster.Expire(configResource)
				time.Sleep(45 * time.Second)
				f.eventuallyStatus("rule", live.ReasonInputFailing)
				f.cluster.Set(configResource, text("ns", "a", "missed"))
				source.script(nil, nil) // what is asked from now on is answered
				time.Sleep(45 * time.Second)
				f.eventuallyStatus("rule", "")
				f.settle()
				noted(t, f, map[string]string{"ns/a": "missed"})
			})
		})
	}
}

// TestAFirstListThatHangsIsGivenUp, and the next one ever later, so that one that is
// only slow ends.
func TestAFirstListThatHangsIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		engine := live.New(live.Options{Workers: 1})
		if err := engine.AddRule(readsConfig("rule")); err != nil {
			t.Fatal(err)
		}
		f := &fixture{TB: t, cluster: &livetest.Cluster{}, engine: engine}
		source := &scripted{Cluster: f.cluster}
		f.cluster.Set(podResource, pod("ns", "a", nil))
		f.cluster.Set(configResource, text("ns", "a", "x"))
		asked := make(chan time.Time, 100)
		const takes = 5 * time.Minute
		source.script(func(ctx context.Context) error {
			asked <- time.Now()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(takes):
				return nil
			}
		}, noStreams)
		begun := time.Now()
		livetest.Start(t, engine, source)
		if err := engine.WaitForSync(t.Context()); err != nil { // which no longer waits for it
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		f.eventuallyStatus("rule", "")
		f.settle()
		noted(t, f, map[string]string{"ns/a": "x"})
		close(asked)
		var waited []time.Duration
		for at := range asked {
			waited = append(waited, at.Sub(begun).Round(time.Minute))
			begun = at
		}
		if diff := cmp.Diff([]time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute}, waited); diff != "" {
			t.Errorf("waits before each list (-want +got):\n%s", diff)
		}
	})
}

// TestAnInputHealsOnceItIsHeardOf: whatever kept it from being read.
func TestAnInputHealsOnceItIsHeardOf(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	source := &scripted{Cluster: f.cluster}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	livetest.Run(t, f.engine, source)
	f.settle()
	var asked atomic.Int32
	source.script(func(context.Context) error {
		asked.Add(1)
		return apierrors.NewResourceExpired("too old")
	}, noStreams)
	f.cluster.Expire(configResource)
	f.cluster.Set(configResource, text("ns", "a", "y"))
	livetest.Eventually(t, "the config maps are listed again", func() bool { return asked.Load() > 1 })
	f.pass(time.Minute)
	f.eventuallyStatus("rule", live.ReasonInputFailing)
	source.script(nil, noStreams)
	f.eventuallyStatus("rule", "")
	f.settle()
	noted(t, f, map[string]string{"ns/a": "y"})
	f.pass(time.Hour) // it is watched, so nothing is overdue
	f.eventuallyStatus("rule", "")
}

func TestAnInputThatIsNotInstalledIsNotOverdueBetweenRetries(t *testing.T) {
	f := newFixture(t)
	f.engine = live.New(live.Options{Clock: f.clock, RetryBackoff: &wait.Backoff{Duration: 24 * time.Hour, Factor: 1, Steps: 1}})
	if err := f.engine.AddRule(countsWidgets(widgets)); err != nil {
		t.Fatal(err)
	}
	f.cluster.NotInstalled(widgetResource)
	f.run()
	f.pass(time.Hour)
	f.eventuallyStatus("widgets", "")
}

// TestARelistOfAHealthyClusterIsNotReported: nothing is overdue between the end of
// a watch and the next, nor long after.
func TestARelistOfAHealthyClusterIsNotReported(t *testing.T) {
	for name, noStreaming := range map[string]bool{"streamed lists": false, "plain lists": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, readsConfig("rule"))
			f.cluster.NoStreaming = noStreaming
			f.cluster.Set(podResource, pod("ns", "a", nil))
			var degraded atomic.Bool
			f.run()
			if err := live.Subscribe(f.engine, live.Statuses(), func(_, s *live.Status) { degraded.Store(degraded.Load() || s.Reason == live.ReasonInputFailing) }); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				f.cluster.Expire(configResource)
				f.cluster.CloseWatches(podResource)
				f.cluster.Set(configResource, text("ns", "a", fmt.Sprint(i)))
				f.cluster.Set(podResource, pod("ns", "a", map[string]string{"i": fmt.Sprint(i)}))
				f.settle()
				// The watch that follows a plain list has been answered once an event comes.
				f.cluster.Set(configResource, text("ns", "a", fmt.Sprint("again ", i)))
				f.settle()
				f.cluster.Set(podResource, pod("ns", "a", map[string]string{"again": fmt.Sprint(i)}))
				f.settle()
				f.pass(time.Minute)
			}
			if degraded.Load() {
				t.Error("an input was reported failing")
			}
		})
	}
}

// TestWhatIsStaleIsNotJudgedOnReconnection: kube-apiserver answers a watch from a
// version that is gone by opening it, and only then says so.
func TestWhatIsStaleIsNotJudgedOnReconnection(t *testing.T) {
	const allowed = 5 * time.Minute
	f := newFixture(t, live.Rule{
		Name: "rule", Subject: configs.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			config, _ := configs.Get(v, subject)
			if config.Data["text"] != "bad" {
				return nil, nil
			}
			if due := epoch.Add(allowed); v.Now().Before(due) {
				v.RecheckAt(due)
				return nil, nil
			}
			return []live.Output{note(subject, "bad for five minutes")}, nil
		},
	})
	source := &scripted{Cluster: f.cluster}
	f.cluster.Set(configResource, text("ns", "a", "bad"))
	livetest.Run(t, f.engine, source)
	var found atomic.Int32
	if err := live.Subscribe(f.engine, notes, func(_, _ *corev1.ConfigMap) { found.Add(1) }); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(configResource, text("ns", "b", "good"))
	livetest.Settle(t, f.engine, f.cluster, configs)

	refused := fmt.Errorf("dial tcp: %w", syscall.ECONNREFUSED)
	source.script(func(context.Context) error { return refused }, func(context.Context, bool) (watch.Interface, error) { return nil, refused })
	f.cluster.Expire(configResource)
	f.eventuallyStatus("rule", live.ReasonInputFailing)
	f.cluster.Set(configResource, text("ns", "a", "good"))
	f.clock.Step(2 * allowed)
	livetest.Eventually(t, "it settles", f.engine.Settled)

	source.script(nil, func(_ context.Context, initial bool) (watch.Interface, error) {
		if initial {
			return nil, nil
		}
		expired := apierrors.NewResourceExpired("too old").Status()
		w := watch.NewFakeWithChanSize(1, false)
		w.Error(&expired)
		return w, nil
	})
	livetest.Eventually(t, "the config maps are read anew", func() bool {
		a, _ := live.Get(f.engine, configs, key("ns", "a"))
		return a.Data["text"] == "good" && f.engine.Settled()
	})
	if n := found.Load(); n != 0 {
		t.Errorf("%d changes of notes, want none: a was never bad for five minutes", n)
	}
}
