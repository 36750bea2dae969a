// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// onScript runs an engine by the bubble's own clock, whose source the test can script.
func onScript(t *testing.T) (*fixture, *scripted) {
	t.Helper()
	engine := live.New(live.Options{Workers: 1})
	if err := engine.AddRule(readsConfig("rule")); err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, cluster: &livetest.Cluster{}, engine: engine}
	source := &scripted{Cluster: f.cluster}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	livetest.Run(t, engine, source)
	f.settle()
	return f, source
}

// onOpenWatch runs an engine whose config maps are watched on a watch of the test's own,
// in a bubble: what is sent on it is worked off when all wait.
func onOpenWatch(t *testing.T) (*fixture, *scripted, *watch.FakeWatcher) {
	t.Helper()
	f := newFixture(t, readsConfig("rule"))
	source := &scripted{Cluster: f.cluster}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	open := watch.NewFake()
	source.script(nil, func(ctx context.Context, initial bool) (watch.Interface, error) {
		if initial {
			return noStreams(ctx, initial)
		}
		return open, nil
	})
	livetest.Run(t, f.engine, source)
	f.settle()
	bookmark(open) // taken once the watch is open
	synctest.Wait()
	return f, source, open
}

func bookmark(w *watch.FakeWatcher) {
	w.Action(watch.Bookmark, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}})
}

func TestAnOpenWatchThatFallsSilentIsNotHealthy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, source, open := onOpenWatch(t)
		f.cluster.Set(configResource, text("ns", "a", "missed"))
		refused := errors.New("the way there is gone")
		source.script(func(context.Context) error { return refused }, noStreams)
		f.pass(2 * time.Minute)
		if status := f.status("rule"); status.State != live.Healthy {
			t.Errorf("%s after two minutes: %s", status.Reason, status.Message)
		}
		f.pass(time.Minute)
		status := f.eventuallyStatus("rule", live.ReasonInputFailing)
		if want := "its watch is open, and for more than 3m0s brought neither an event nor a bookmark"; !strings.Contains(status.Message, want) {
			t.Errorf("got message %q, want %q", status.Message, want)
		}
		noted(t, f, map[string]string{"ns/a": "x"}) // nothing is resolved meanwhile
		source.script(nil, nil)
		f.eventuallyStatus("rule", "")
		f.settle()
		noted(t, f, map[string]string{"ns/a": "missed"})
		if !open.IsStopped() {
			t.Error("the silent watch is kept open")
		}
	})
}

func TestAWatchOnWhichThereIsSomethingNowAndThenIsHealthy(t *testing.T) {
	for name, say := range map[string]func(*watch.FakeWatcher){
		"bookmarks": bookmark,
		"changes":   func(w *watch.FakeWatcher) { w.Modify(text("ns", "other", "changed")) },
		"deletions": func(w *watch.FakeWatcher) { w.Delete(text("ns", "other", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, source, open := onOpenWatch(t)
				source.script(func(context.Context) error {
					t.Error("it is listed again")
					return nil
				}, nil)
				for range 5 {
					say(open)
					synctest.Wait()
					f.pass(2 * time.Minute)
					if status := f.status("rule"); status.State != live.Healthy {
						t.Errorf("%s: %s", status.Reason, status.Message)
					}
				}
			})
		})
	}
}

// TestSilenceSaysNothingWhereNoBookmarksCome: not every API server sends any, and
// what ends a streamed list is none.
func TestSilenceSaysNothingWhereNoBookmarksCome(t *testing.T) {
	for name, happens := range map[string]func(f *fixture){
		"a watch that only ever had events": func(f *fixture) {
			f.cluster.Set(configResource, text("ns", "a", "y"))
			f.settle()
		},
		"a streamed list": func(f *fixture) {
			f.cluster.Expire(configResource)
			f.cluster.Set(configResource, text("ns", "a", "y"))
			f.settle()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, readsConfig("rule"))
			f.cluster.Set(podResource, pod("ns", "a", nil))
			f.cluster.Set(configResource, text("ns", "a", "x"))
			f.run()
			f.settle()
			happens(f)
			lists := f.cluster.Lists(configResource)
			f.pass(time.Hour)
			if status := f.status("rule"); status.State != live.Healthy || f.cluster.Lists(configResource) != lists {
				t.Errorf("%s, and %d lists more: %s", status.Reason, f.cluster.Lists(configResource)-lists, status.Message)
			}
		})
	}
}

// TestAWatchThatIsSilentFromItsStartIsNotHealthy, if on one before there were bookmarks:
// this API server sends them.
func TestAWatchThatIsSilentFromItsStartIsNotHealthy(t *testing.T) {
	for name, reopen := range map[string]func(f *fixture){
		"a watch that goes on":    func(f *fixture) { f.cluster.CloseWatches(configResource) },
		"one that streams a list": func(f *fixture) { f.cluster.Expire(configResource) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, readsConfig("rule"))
			f.cluster.Set(podResource, pod("ns", "a", nil))
			f.cluster.Set(configResource, text("ns", "a", "x"))
			f.run()
			f.settle()
			f.cluster.Bookmark(configResource)
			f.cluster.Set(configResource, text("ns", "a", "y"))
			f.settle()
			reopen(f)
			f.cluster.Set(configResource, text("ns", "a", "z"))
			f.settle()
			f.pass(2 * time.Minute)
			if status := f.status("rule"); status.State != live.Healthy {
				t.Errorf("%s after two minutes: %s", status.Reason, status.Message)
			}
			lists := f.cluster.Lists(configResource)
			f.pass(2 * time.Minute)
			livetest.Eventually(t, "it is listed again", func() bool { return f.cluster.Lists(configResource) > lists })
			f.eventuallyStatus("rule", "")
		})
	}
}

// TestWatchesThatEndBeforeTheyAreSilentForLongAreNoNews: a proxy that has lost what is
// behind it may open each watch and close it after a while, and an API server answer on
// each that it is too busy.
func TestWatchesThatEndBeforeTheyAreSilentForLongAreNoNews(t *testing.T) {
	for name, open := range map[string]func(context.Context) watch.Interface{
		"closed after 90 s": func(ctx context.Context) watch.Interface {
			w := watch.NewFake()
			go func() {
				select {
				case <-ctx.Done():
				case <-time.After(90 * time.Second):
				}
				w.Stop()
			}()
			return w
		},
		"too many requests": func(context.Context) watch.Interface {
			w := watch.NewFakeWithChanSize(1, false)
			w.Error(&metav1.Status{Status: metav1.StatusFailure, Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests})
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, source := onScript(t)
				source.script(nil, func(ctx context.Context, initial bool) (watch.Interface, error) {
					if initial {
						return noStreams(ctx, initial)
					}
					return open(ctx), nil
				})
				f.cluster.CloseWatches(configResource)
				f.cluster.Set(configResource, text("ns", "a", "missed"))
				time.Sleep(10 * time.Minute)
				noted(t, f, map[string]string{"ns/a": "missed"})
			})
		})
	}
}
