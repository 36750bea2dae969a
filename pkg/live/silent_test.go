// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"errors"
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
