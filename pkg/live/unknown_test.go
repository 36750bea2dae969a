// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// countsWidgets notes, for each pod, how many widgets its namespace has.
func countsWidgets(kind live.Kind[*metav1.PartialObjectMetadata]) live.Rule {
	return live.Rule{
		Name: "widgets", Subject: pods.Ref(), Reads: []live.KindRef{kind.Ref()}, Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			if len(kind.List(v, subject.Namespace, nil)) == 0 {
				return []live.Output{note(subject, "no widget")}, nil
			}
			return []live.Output{note(subject, "has widgets")}, nil
		},
	}
}

func widget(name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

func TestAForbiddenInputIsUnknownUntilGranted(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	f.cluster.Forbid(configResource)
	f.run() // forbidden is an answer: the first sync does not wait for a grant
	livetest.Settle(t, f.engine, f.cluster, pods)
	noted(t, f, map[string]string{})
	status := f.eventuallyStatus("rule", live.ReasonInputForbidden)
	if status.State != live.Degraded || !strings.Contains(status.Message, `the missing rule is {apiGroups: [""], resources: ["configmaps"], verbs: [list, watch]}`) {
		t.Errorf("got status %s: %q, want one that says what to grant", status.State, status.Message)
	}

	f.cluster.Serve(configResource)
	f.eventuallyStatus("rule", "")
	f.settle()
	noted(t, f, map[string]string{"ns/a": "x"})
}

func TestAnInputThatIsLostKeepsItsObjectsAndWhatFollowedFromThem(t *testing.T) {
	tests := map[string]struct {
		fail   func(*livetest.Cluster)
		reason string
	}{
		"forbidden": {func(c *livetest.Cluster) { c.Forbid(configResource) }, live.ReasonInputForbidden},
		"failing": {func(c *livetest.Cluster) {
			c.Fail(configResource, apierrors.NewInternalError(errors.New("etcd is away")))
		}, live.ReasonInputFailing},
		"not installed, but not optional": {func(c *livetest.Cluster) { c.NotInstalled(configResource) }, live.ReasonInputNotInstalled},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, readsConfig("rule"))
			f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil), pod("ns", "c", nil))
			f.cluster.Set(configResource, text("ns", "a", "x"), text("ns", "b", "y"))
			f.run()
			f.settle()
			noted(t, f, map[string]string{"ns/a": "x", "ns/b": "y", "ns/c": "missing"})

			test.fail(f.cluster)
			f.eventuallyStatus("rule", test.reason)
			// What happens meanwhile cannot be judged: a is evaluated and discarded,
			// b goes, d is not there yet.
			f.cluster.Set(podResource, pod("ns", "a", map[string]string{"any": "thing"}), pod("ns", "d", nil))
			f.cluster.Delete(podResource, key("ns", "b"))
			f.cluster.Set(configResource, text("ns", "a", "z"), text("ns", "d", "new"))
			f.cluster.Delete(configResource, key("ns", "b"))
			livetest.Settle(t, f.engine, f.cluster, pods)
			noted(t, f, map[string]string{"ns/a": "x", "ns/c": "missing"})

			f.cluster.Serve(configResource)
			f.eventuallyStatus("rule", "")
			f.settle()
			noted(t, f, map[string]string{"ns/a": "z", "ns/c": "missing", "ns/d": "new"})
		})
	}
}

func TestAnOptionalInputThatIsNotInstalledIsKnownToBeEmpty(t *testing.T) {
	f := newFixture(t, countsWidgets(widgets))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.NotInstalled(widgetResource)
	f.run()
	f.eventuallyStatus("widgets", "")
	noted(t, f, map[string]string{"ns/a": "no widget"})

	f.cluster.Set(widgetResource, widget("w"))
	f.cluster.Serve(widgetResource)
	livetest.Settle(t, f.engine, f.cluster, widgets)
	noted(t, f, map[string]string{"ns/a": "has widgets"})

	f.cluster.NotInstalled(widgetResource)
	livetest.Eventually(t, "the widgets go", func() bool { return len(live.List(f.engine, widgets)) == 0 && f.engine.Settled() })
	noted(t, f, map[string]string{"ns/a": "no widget"})
	f.eventuallyStatus("widgets", "")
}

// TestWhatIsNotFoundThoughItIsInstalledIsUnknown: its operator serves it in other
// versions only, or something else answers in the API server's place.
func TestWhatIsNotFoundThoughItIsInstalledIsUnknown(t *testing.T) {
	f := newFixture(t, countsWidgets(widgets))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(live.InstallationResource(), definition("widgets.example.com", "there"))
	f.cluster.Set(widgetResource, widget("w"))
	f.run()
	livetest.Settle(t, f.engine, f.cluster, widgets)
	noted(t, f, map[string]string{"ns/a": "has widgets"})

	absent := apierrors.NewNotFound(widgetResource.GroupResource(), "")
	f.cluster.Fail(widgetResource, absent)
	status := f.eventuallyStatus("widgets", live.ReasonInputFailing)
	if want := "it is installed, but answers 404 in version v1"; !strings.Contains(status.Message, want) {
		t.Errorf("got message %q, want %q", status.Message, want)
	}
	noted(t, f, map[string]string{"ns/a": "has widgets"})
	if n := len(live.List(f.engine, widgets)); n != 1 {
		t.Errorf("%d widgets are kept, want 1", n)
	}
	f.cluster.Serve(widgetResource)
	f.eventuallyStatus("widgets", "")

	f.cluster.Fail(widgetResource, absent)
	f.eventuallyStatus("widgets", live.ReasonInputFailing)
	f.cluster.Delete(live.InstallationResource(), live.Key{Name: "widgets.example.com"})
	f.eventuallyStatus("widgets", "")
	noted(t, f, map[string]string{"ns/a": "no widget"})
}

// TestWhatIsNotFoundIsJudgedOnlyWithTheDefinitions: not before they are read.
func TestWhatIsNotFoundIsJudgedOnlyWithTheDefinitions(t *testing.T) {
	f := newFixture(t, countsWidgets(widgets))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(live.InstallationResource(), definition("widgets.example.com", "there"))
	f.cluster.Set(widgetResource, widget("w"))
	f.cluster.Fail(live.InstallationResource(), errAway)
	f.cluster.Fail(widgetResource, apierrors.NewNotFound(widgetResource.GroupResource(), ""))
	said := f.atFirst()
	livetest.Start(t, f.engine, f.cluster)
	livetest.Settle(t, f.engine, f.cluster, pods)
	f.notSynced()
	f.cluster.Serve(live.InstallationResource())
	f.eventuallyStatus("widgets", live.ReasonInputFailing)
	f.notSynced()
	f.cluster.Serve(widgetResource)
	if diff := cmp.Diff(map[string]string{"ns/a": "has widgets"}, <-said); diff != "" {
		t.Errorf("said once synced (-want +got):\n%s", diff)
	}
}

// TestADefinitionEndsThatItsResourceIsNotInstalled at once: before the first list of
// the resource nothing is known of it.
func TestADefinitionEndsThatItsResourceIsNotInstalled(t *testing.T) {
	f := newFixture(t, countsWidgets(widgets))
	live.Feed(t, f.engine)
	live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
	live.FeedInstalled(f.engine)
	live.FeedError(f.engine, widgets.Ref(), apierrors.NewNotFound(widgetResource.GroupResource(), ""))
	f.eventuallyStatus("widgets", "")
	noted(t, f, map[string]string{"ns/a": "no widget"})
	live.FeedInstalled(f.engine, widgets.Ref())
	f.eventuallyStatus("widgets", live.ReasonInputSyncing)
	live.FeedReplace(f.engine, pods, pod("ns", "a", nil), pod("ns", "b", nil))
	livetest.Eventually(t, "it settles", f.engine.Settled)
	noted(t, f, map[string]string{"ns/a": "no widget"})
	live.FeedReplace(f.engine, widgets, widget("w"))
	f.eventuallyStatus("widgets", "")
	noted(t, f, map[string]string{"ns/a": "has widgets", "ns/b": "has widgets"})
}

// TestNoAnswerIsAwaitedOfAResourceThatIsNotInstalled: the next request may have begun
// when the reflector is given up, and is not answered then.
func TestNoAnswerIsAwaitedOfAResourceThatIsNotInstalled(t *testing.T) {
	f := newFixture(t, countsWidgets(widgets))
	live.Feed(t, f.engine)
	live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
	live.FeedInstalled(f.engine)
	live.FeedError(f.engine, widgets.Ref(), apierrors.NewNotFound(widgetResource.GroupResource(), ""))
	live.FeedRequest(f.engine, widgets.Ref())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	live.FeedRest(ctx, f.engine, widgets.Ref())
	f.clock.Step(time.Hour)
	live.LookAtClock(f.engine)
	f.eventuallyStatus("widgets", "")
	noted(t, f, map[string]string{"ns/a": "no widget"})
}

func TestAnAdvisoryInputThatCannotBeReadHoldsNothingUp(t *testing.T) {
	advisory := live.NewInput(widgetResource, live.InputOptions[*metav1.PartialObjectMetadata]{Optional: true, Advisory: true})
	f := newFixture(t, countsWidgets(advisory))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(widgetResource, widget("w"))
	f.cluster.Forbid(widgetResource)
	f.run()
	status := f.eventuallyStatus("widgets", live.ReasonInputForbidden)
	if status.State != live.Degraded || len(status.Missing) == 0 {
		t.Errorf("got status %s, missing %v", status.State, status.Missing)
	}
	livetest.Settle(t, f.engine, f.cluster, pods)
	noted(t, f, map[string]string{"ns/a": "no widget"})

	f.cluster.Serve(widgetResource)
	f.eventuallyStatus("widgets", "")
	livetest.Settle(t, f.engine, f.cluster, advisory)
	noted(t, f, map[string]string{"ns/a": "has widgets"})

	// What was read last stays, and what is new is judged by it.
	f.cluster.Fail(widgetResource, apierrors.NewInternalError(errors.New("etcd is away")))
	f.eventuallyStatus("widgets", live.ReasonInputFailing)
	f.cluster.Set(podResource, pod("ns", "b", nil))
	livetest.Settle(t, f.engine, f.cluster, pods)
	noted(t, f, map[string]string{"ns/a": "has widgets", "ns/b": "has widgets"})
}

// TestAnAnswerEndsARowOfFailures: that an optional input is not installed is an
// answer however often it is given, and one error after it is a hiccup.
func TestAnAnswerEndsARowOfFailures(t *testing.T) {
	absent := apierrors.NewNotFound(widgetResource.GroupResource(), "")
	away := apierrors.NewInternalError(errors.New("away"))
	for name, test := range map[string]struct {
		errs []error
		want string
	}{
		"absent":                       {[]error{absent, absent, absent, absent}, ""},
		"absent, and one error":        {[]error{absent, absent, away}, ""},
		"absent between errors":        {[]error{away, away, absent, away, away}, ""},
		"absent, and errors that last": {[]error{absent, away, away, away}, live.ReasonInputFailing},
		"errors that last, and absent": {[]error{away, away, away, absent}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, countsWidgets(widgets))
			live.Feed(t, f.engine)
			live.FeedReplace(f.engine, pods)
			live.FeedInstalled(f.engine)
			for _, err := range test.errs {
				live.FeedError(f.engine, widgets.Ref(), err)
			}
			if got := f.status("widgets").Reason; got != test.want {
				t.Errorf("got reason %q, want %q", got, test.want)
			}
		})
	}
}

func TestARequiredInputThatIsNotInstalledIsUnknown(t *testing.T) {
	required := live.NewInput(widgetResource, live.InputOptions[*metav1.PartialObjectMetadata]{})
	f := newFixture(t, countsWidgets(required))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.NotInstalled(widgetResource)
	f.run()
	f.eventuallyStatus("widgets", live.ReasonInputNotInstalled)
	noted(t, f, map[string]string{})
	f.cluster.Serve(widgetResource)
	f.eventuallyStatus("widgets", "")
	f.settle()
	noted(t, f, map[string]string{"ns/a": "no widget"})
}

func TestHiccupsOfAWatchAreNotReported(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	var degraded atomic.Bool
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.run()
	f.settle()
	if err := live.Subscribe(f.engine, live.Statuses(), func(_, s *live.Status) { degraded.Store(degraded.Load() || s.State == live.Degraded) }); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		f.cluster.CloseWatches(podResource)
		f.cluster.Expire(configResource)
		f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
		f.cluster.Delete(podResource, key("ns", "b"))
		f.settle()
	}
	if degraded.Load() {
		t.Error("the rule was degraded by watches that closed or expired")
	}
}

func TestAnInputFailsOnlyWhenErrorsGoOn(t *testing.T) {
	away := apierrors.NewInternalError(errors.New("away"))
	expired := apierrors.NewResourceExpired("too old")
	tests := map[string]struct {
		errs  []error
		after time.Duration
		want  string
	}{
		"two errors":                         {[]error{away, away}, 0, ""},
		"two errors, and nothing for long":   {[]error{away, away}, time.Minute, live.ReasonInputFailing},
		"three errors":                       {[]error{away, away, away}, 0, live.ReasonInputFailing},
		"several 410s, which ask for a list": {[]error{expired, expired, expired, expired}, 20 * time.Second, ""},
		"one 410, and no list for long":      {[]error{expired}, time.Minute, live.ReasonInputFailing},
		"one denial":                         {[]error{apierrors.NewForbidden(podResource.GroupResource(), "", nil)}, 0, live.ReasonInputForbidden},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, readsConfig("rule"))
			live.Feed(t, f.engine)
			live.FeedReplace(f.engine, pods)
			live.FeedReplace(f.engine, configs)
			for _, err := range test.errs {
				live.FeedError(f.engine, pods.Ref(), err)
			}
			f.pass(test.after)
			if test.after > 0 && test.want != "" {
				livetest.Eventually(t, "it is missed", func() bool {
					f.pass(time.Second)
					return f.status("rule").Reason == test.want
				})
			}
			if got := f.status("rule").Reason; got != test.want {
				t.Errorf("got reason %q, want %q", got, test.want)
			}
			live.FeedReplace(f.engine, pods)
			if got := f.status("rule").Reason; got != "" {
				t.Errorf("got reason %q after a list, want none", got)
			}
		})
	}
}

// TestListsThatCannotBeWatched: the state must not flap with every list.
func TestListsThatCannotBeWatched(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	source := &unwatchable{Cluster: f.cluster}
	var healthy atomic.Bool
	livetest.Run(t, f.engine, source)
	f.eventuallyStatus("rule", live.ReasonInputForbidden)
	if err := live.Subscribe(f.engine, live.Statuses(), func(old, s *live.Status) {
		if old != nil && s.State == live.Healthy {
			healthy.Store(true)
		}
	}); err != nil {
		t.Fatal(err)
	}
	lists := f.cluster.Lists(configResource)
	livetest.Eventually(t, "it is listed again and again", func() bool { return f.cluster.Lists(configResource) > lists+5 })
	if healthy.Load() {
		t.Error("the rule became healthy though an input cannot be watched")
	}
}

// unwatchable is a cluster whose config maps may be listed but not watched.
type unwatchable struct{ *livetest.Cluster }

func (u *unwatchable) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	lw, err := u.Cluster.ListerWatcher(resource, example)
	if resource != configResource || err != nil {
		return lw, err
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return cache.ToListerWithContext(lw).ListWithContext(ctx, options)
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			return nil, apierrors.NewForbidden(resource.GroupResource(), "", errors.New("no watch"))
		},
	}, nil
}

func TestAnInputThatNeverAnswersDoesNotHoldUpTheFirstSync(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	source := &hanging{Cluster: f.cluster}
	livetest.Start(t, f.engine, source)
	livetest.Eventually(t, "the pods are read", func() bool { return len(live.List(f.engine, pods)) == 1 })
	if f.engine.Synced() {
		t.Fatal("synced though an input has not answered")
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.engine.WaitForSync(canceled); err == nil || !strings.Contains(err.Error(), "configmaps") {
		t.Errorf("got %v, want an error that names the input", err)
	}
	// The timer of the first sync may be set only after a step.
	livetest.Eventually(t, "it is synced", func() bool {
		f.clock.Step(time.Minute)
		return f.engine.Synced()
	})
	f.eventuallyStatus("rule", live.ReasonInputFailing)
	noted(t, f, map[string]string{})
}

// hanging is a cluster whose config maps are never answered.
type hanging struct{ *livetest.Cluster }

func (h *hanging) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	if resource != configResource {
		return h.Cluster.ListerWatcher(resource, example)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		WatchFuncWithContext: func(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}, nil
}

func TestNoRuleSeesHalfOfADerivedCollectionAtTheStart(t *testing.T) {
	// counts reads all notes for one config map; notes come of many pods.
	var partial atomic.Bool
	const all = 200
	counts := live.Rule{
		Name: "counts", Subject: configs.Ref(), Reads: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, _ live.Key) ([]live.Output, error) {
			if len(notes.List(v, "", nil)) != all {
				partial.Store(true)
			}
			return nil, nil
		},
	}
	f := newFixture(t, counts, countsWidgets(widgets))
	f.cluster.NotInstalled(widgetResource)
	f.cluster.Set(configResource, text("ns", "a", ""))
	for i := range all {
		f.cluster.Set(podResource, pod("ns", string(rune('a'+i%26))+string(rune('a'+i/26)), nil))
	}
	f.run()
	if partial.Load() {
		t.Error("a rule was evaluated with part of the notes")
	}
}

func TestSubjectsThatGoWhileAnInputIsUnknownLeaveNothingBehind(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.Forbid(configResource)
	f.run()
	for i := range 50 {
		name := fmt.Sprint("pod-", i)
		f.cluster.Set(podResource, pod("ns", name, nil))
		livetest.Settle(t, f.engine, f.cluster, pods)
		f.cluster.Delete(podResource, key("ns", name))
		livetest.Settle(t, f.engine, f.cluster, pods)
	}
	livetest.Eventually(t, "everything to be evaluated", f.engine.Settled)
	if nodes, reads, alarms, tasks := live.Footprint(f.engine); nodes+reads+alarms+tasks != 0 {
		t.Errorf("%d nodes, %d reads, %d alarms and %d tasks are left", nodes, reads, alarms, tasks)
	}
}

// A source that holds a part of a cluster says what it lacks at once, and whoever reads
// that is degraded.
func TestWhatASourceDoesNotHoldIsUnknown(t *testing.T) {
	f := newFixture(t, readsConfig("rule"), countsWidgets(widgets))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	lacks := []schema.GroupResource{configResource.GroupResource(), {Group: "x", Resource: "y"}}
	f.cluster.Fail(configResource, fmt.Errorf("of files: %w", &live.NotReadError{Why: "the files have none", Wanted: lacks}))
	f.cluster.Fail(widgetResource, &live.NotReadError{Why: "the files have none", Wanted: lacks[1:]})
	f.run() // which waits for the first sync
	f.settle()
	noted(t, f, map[string]string{})
	status := f.eventuallyStatus("rule", live.ReasonInputNotRead)
	if diff := cmp.Diff(lacks, status.Unread); diff != "" || len(status.Missing) > 0 || !strings.HasSuffix(status.Message, "configmaps is not read: of files: the files have none") {
		t.Errorf("%q, lacks (-want +have)\n%s", status.Message, diff)
	}
	if optional := f.eventuallyStatus("widgets", live.ReasonInputNotRead); !slices.Equal(optional.Unread, lacks[1:]) {
		t.Errorf("of an optional input: %+v", optional)
	}
	if copied := status.DeepCopyObject().(*live.Status); !slices.Equal(copied.Unread, lacks) {
		t.Errorf("a copy has %v", copied.Unread)
	}
}
