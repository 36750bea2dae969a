// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func definition(name, changed string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"changed": changed}}}
}

func TestAResourceIsReadAtOnceWhenItIsInstalled(t *testing.T) {
	f := newFixture(t)
	f.engine = live.New(live.Options{Clock: f.clock, RetryBackoff: &wait.Backoff{Duration: 24 * time.Hour, Factor: 1, Steps: 1}})
	if err := f.engine.AddRule(countsWidgets(widgets)); err != nil {
		t.Fatal(err)
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.NotInstalled(widgetResource)
	f.run()
	noted(t, f, map[string]string{"ns/a": "no widget"})

	f.cluster.Set(live.InstallationResource(), definition("gadgets.example.com", "another")) // none of ours
	f.cluster.Set(live.InstallationResource(), definition("widgets.example.com", "not served yet"))
	f.cluster.Set(widgetResource, widget("w"))
	f.cluster.Serve(widgetResource)
	f.cluster.Set(live.InstallationResource(), definition("widgets.example.com", "established"))
	livetest.Settle(t, f.engine, f.cluster, widgets)
	noted(t, f, map[string]string{"ns/a": "has widgets"})

	f.cluster.NotInstalled(widgetResource)
	f.cluster.Delete(live.InstallationResource(), live.Key{Name: "widgets.example.com"})
	livetest.Eventually(t, "the widgets go", func() bool { return len(live.List(f.engine, widgets)) == 0 && f.engine.Settled() })
	noted(t, f, map[string]string{"ns/a": "no widget"})
}

// TestWithoutDefinitionsWhatIsNotFoundIsUnknown: whoever reads it is told what there is to
// grant or to mend, and it is found at a retry.
func TestWithoutDefinitionsWhatIsNotFoundIsUnknown(t *testing.T) {
	for reason, test := range map[string]struct {
		err     error
		missing []rbacv1.PolicyRule
	}{
		live.ReasonInputForbidden: {
			apierrors.NewForbidden(live.InstallationResource().GroupResource(), "", errors.New("no")),
			[]rbacv1.PolicyRule{{APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, Verbs: []string{"list", "watch"}}},
		},
		live.ReasonInputFailing: {errAway, nil},
	} {
		t.Run(reason, func(t *testing.T) {
			gadgets := live.NewInput(gadgetResource, live.InputOptions[*metav1.PartialObjectMetadata]{Optional: true})
			both := countsWidgets(widgets)
			both.Reads = append(both.Reads, gadgets.Ref())
			f := newFixture(t, both)
			f.cluster.Set(podResource, pod("ns", "a", nil))
			f.cluster.NotInstalled(widgetResource)
			f.cluster.NotInstalled(gadgetResource)
			f.cluster.Fail(live.InstallationResource(), test.err)
			livetest.RunPast(t, f.engine, f.cluster, func() { f.clock.Step(time.Minute) })
			livetest.Eventually(t, "it is told why nothing is known", func() bool {
				f.clock.Step(time.Minute) // after which another text is told
				return strings.Contains(f.status("widgets").Message, "nothing tells whether it is installed: customresourcedefinitions")
			})
			if diff := cmp.Diff(test.missing, f.eventuallyStatus("widgets", reason).Missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			noted(t, f, map[string]string{})

			f.cluster.Set(widgetResource, widget("w"))
			f.cluster.Fail(widgetResource, nil)
			f.cluster.Fail(gadgetResource, nil)
			livetest.Settle(t, f.engine, f.cluster, widgets)
			f.eventuallyStatus("widgets", "")
			noted(t, f, map[string]string{"ns/a": "has widgets"})

			f.cluster.Fail(widgetResource, apierrors.NewNotFound(widgetResource.GroupResource(), ""))
			f.eventuallyStatus("widgets", reason)
			f.cluster.Set(podResource, pod("ns", "a", nil), pod("ns", "b", nil))
			livetest.Settle(t, f.engine, f.cluster, pods)
			noted(t, f, map[string]string{"ns/a": "has widgets"})

			f.cluster.Serve(live.InstallationResource())
			f.eventuallyStatus("widgets", "")
			noted(t, f, map[string]string{"ns/a": "no widget", "ns/b": "no widget"})
		})
	}
}

// TestDefinitionsThatAreLostCountAsTheyWereReadLast: what had none is not installed, and
// of what had one nothing is known.
func TestDefinitionsThatAreLostCountAsTheyWereReadLast(t *testing.T) {
	for reason, err := range map[string]error{
		live.ReasonInputForbidden: apierrors.NewForbidden(live.InstallationResource().GroupResource(), "", errors.New("no")),
		live.ReasonInputFailing:   errAway,
	} {
		t.Run(reason, func(t *testing.T) {
			f := newFixture(t, countsWidgets(widgets))
			live.Feed(t, f.engine)
			lose := func() {
				for range 3 {
					live.FeedError(f.engine, live.Definitions(), err)
				}
			}
			absent := func() {
				for range 3 {
					live.FeedError(f.engine, widgets.Ref(), apierrors.NewNotFound(widgetResource.GroupResource(), ""))
				}
			}
			live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
			live.FeedInstalled(f.engine, widgets.Ref())
			live.FeedReplace(f.engine, widgets, widget("w"))
			lose()
			f.eventuallyStatus("widgets", "")
			absent()
			status := f.eventuallyStatus("widgets", reason)
			if forbidden := reason == live.ReasonInputForbidden; forbidden != (len(status.Missing) == 1) {
				t.Errorf("missing %v", status.Missing)
			}
			noted(t, f, map[string]string{"ns/a": "has widgets"})

			live.FeedInstalled(f.engine)
			absent()
			f.eventuallyStatus("widgets", "")
			noted(t, f, map[string]string{"ns/a": "no widget"})
			lose()
			absent()
			f.eventuallyStatus("widgets", "")
		})
	}
}

// TestTheVersionThatIsServedIsRead moves a resource from a version to the next
// and back, as an upgrade of its operator does, while it is read.
func TestTheVersionThatIsServedIsRead(t *testing.T) {
	versioned := func(version string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "things"}
	}
	thing := func(version, size string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/" + version, "kind": "Thing",
			"metadata": map[string]any{"namespace": "ns", "name": "t"}, "spec": map[string]any{"size": size},
		}}
	}
	moving := live.NewInput(versioned("v1"), live.InputOptions[*unstructured.Unstructured]{Optional: true, Versions: []string{"v1beta1"}})
	reports := live.Rule{
		Name: "rule", Subject: moving.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			found, _ := moving.Get(v, subject)
			size, _, _ := unstructured.NestedString(found.Object, "spec", "size")
			return []live.Output{note(subject, found.GetAPIVersion()+" "+size)}, nil
		},
	}
	f := newFixture(t, reports)
	for _, version := range []string{"v1", "v1beta1"} {
		f.cluster.Set(versioned(version), thing(version, "small"))
		f.cluster.NotInstalled(versioned(version))
	}
	f.run()
	noted(t, f, map[string]string{})
	eventually := func(want string) {
		t.Helper()
		livetest.Eventually(t, want, func() bool {
			return cmp.Equal(texts(f.engine, notes), map[string]string{"ns/t": want}) && f.engine.Settled()
		})
		f.eventuallyStatus("rule", "")
	}
	f.cluster.Serve(versioned("v1beta1"))
	eventually("example.com/v1beta1 small")
	f.cluster.Serve(versioned("v1"))
	f.cluster.CloseWatches(versioned("v1beta1")) // at the latest then it is noticed
	eventually("example.com/v1 small")
	f.cluster.NotInstalled(versioned("v1beta1"))
	f.cluster.Set(versioned("v1"), thing("v1", "medium"))
	eventually("example.com/v1 medium")
	f.cluster.Serve(versioned("v1beta1"))
	f.cluster.NotInstalled(versioned("v1"))
	eventually("example.com/v1beta1 small")
}

// TestReplicasReadTheSameVersion, whenever they began: the preferred one, from the
// moment that its definition says it is served.
func TestReplicasReadTheSameVersion(t *testing.T) {
	versions := map[string]schema.GroupVersionResource{}
	cluster := &livetest.Cluster{}
	source := &listening{Cluster: cluster, resource: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}}
	for _, version := range []string{"v1", "v1beta1"} {
		versions[version] = schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "things"}
		cluster.Set(versions[version], &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/" + version, "kind": "Thing", "metadata": map[string]any{"namespace": "ns", "name": "t"},
		}})
	}
	input := live.NewInput(versions["v1"], live.InputOptions[*unstructured.Unstructured]{Optional: true, Versions: []string{"v1beta1"}})
	reads := func(e *live.Engine) string {
		found, ok := live.Get(e, input, key("ns", "t"))
		if !ok {
			return ""
		}
		return found.GetAPIVersion()
	}
	replica := func() *live.Engine {
		e := live.New(live.Options{RetryBackoff: quick})
		err := e.AddRule(live.Rule{
			Name: "rule", Subject: input.Ref(),
			Evaluate: func(*live.View, live.Key) ([]live.Output, error) { return nil, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		livetest.Run(t, e, source)
		return e
	}
	define := func() {
		cluster.Set(live.InstallationResource(), definition("things.example.com", "serves v1 too"))
	}
	both := func(first *live.Engine, meanwhile func()) (second *live.Engine) {
		t.Helper()
		second = replica()
		livetest.Eventually(t, "both read the preferred version", func() bool {
			meanwhile()
			return reads(first) == "example.com/v1" && reads(second) == "example.com/v1"
		})
		return second
	}
	cluster.NotInstalled(versions["v1"])
	first := replica()
	livetest.Eventually(t, "the only version is read", func() bool { return reads(first) == "example.com/v1beta1" })
	cluster.Serve(versions["v1"])
	define()
	second := both(first, func() {})

	// It is served a little after its definition says so.
	cluster.NotInstalled(versions["v1"])
	livetest.Eventually(t, "the only version is read", func() bool {
		return reads(first) == "example.com/v1beta1" && reads(second) == "example.com/v1beta1"
	})
	asked, lists := len(source.asked()), cluster.Lists(versions["v1beta1"])
	define()
	livetest.Eventually(t, "it is looked for", func() bool { return len(source.asked()) > asked })
	if probe := source.asked()[asked]; probe.Limit != 1 {
		t.Errorf("it is looked for with %+v, want a limit of one object", probe)
	}
	if again := cluster.Lists(versions["v1beta1"]) - lists; again != 0 {
		t.Errorf("what is read in the only version was listed %d times more", again)
	}
	cluster.Serve(versions["v1"])
	both(first, func() { live.LookAtClock(first) })
}

// TestWhatIsListedLateIsNotTakenForANewAnswer: a list that a Reflector left behind
// returns before the next one asks.
func TestWhatIsListedLateIsNotTakenForANewAnswer(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	source := &scripted{Cluster: f.cluster}
	var lists atomic.Int32
	var overlap atomic.Bool
	second := make(chan struct{})
	source.script(func(context.Context) error {
		switch lists.Add(1) {
		case 1:
			live.StartAnew(f.engine, configs.Ref())
			select { // it does not heed that it is canceled
			case <-second:
				overlap.Store(true)
			case <-time.After(200 * time.Millisecond): // who does not wait asks long before
			}
		case 2:
			close(second)
		}
		return nil
	}, noStreams)
	livetest.Run(t, f.engine, source)
	livetest.Eventually(t, "the config maps are listed again", func() bool { return lists.Load() > 1 })
	if overlap.Load() {
		t.Error("a list began while the one of an earlier reflector was under way")
	}
}

// TestWhatIsKnownToBeAbsentIsHardlyAskedFor: its definition, which is watched, tells when
// it comes.
func TestWhatIsKnownToBeAbsentIsHardlyAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		cluster := &livetest.Cluster{NoStreaming: true}
		cluster.NotInstalled(widgetResource)
		cluster.Set(podResource, pod("ns", "a", nil))
		cluster.Set(widgetResource, widget("w"))
		source := &slow{Cluster: cluster, resource: widgetResource}
		engine := live.New(live.Options{Workers: 1})
		if err := engine.AddRule(countsWidgets(widgets)); err != nil {
			t.Fatal(err)
		}
		livetest.Run(t, engine, source)
		source.lists.Store(0)
		time.Sleep(time.Hour)
		if n := source.lists.Load(); n < 20 || n > 30 {
			t.Errorf("it was listed %d times in an hour, want once in two minutes", n)
		}
		cluster.Serve(widgetResource)
		time.Sleep(2 * time.Second)
		if n := len(live.List(engine, widgets)); n != 1 {
			t.Errorf("there are %d widgets two seconds after they were installed, want 1", n)
		}
	})
}

// TestADefinitionThatKeepsChangingDoesNotKeepItsResourceFromBeingRead: each change is
// reason to look again, but not to give up a list, nor to list all the time.
func TestADefinitionThatKeepsChangingDoesNotKeepItsResourceFromBeingRead(t *testing.T) {
	for name, test := range map[string]struct {
		versions []string
		most     int32 // lists
	}{
		"newly installed":         {nil, 5 + 6 + 2}, // in this minute, a few at once, and one every ten seconds
		"read in another version": {[]string{"v1beta1"}, 5 + 2},
	} {
		t.Run(name, func(t *testing.T) {
			versions := test.versions
			inBubble(t, func(t *testing.T) {
				versioned := widgetResource
				cluster := &livetest.Cluster{NoStreaming: true}
				cluster.NotInstalled(versioned)
				if len(versions) > 0 {
					versioned.Version = versions[0]
				}
				cluster.NotInstalled(versioned)
				cluster.Set(versioned, widget("w"))
				cluster.Set(podResource, pod("ns", "a", nil))
				source := &slow{Cluster: cluster, resource: versioned}
				input := live.NewInput(widgetResource, live.InputOptions[*metav1.PartialObjectMetadata]{Optional: true, Versions: versions})
				engine := live.New(live.Options{Workers: 1})
				if err := engine.AddRule(countsWidgets(input)); err != nil {
					t.Fatal(err)
				}
				livetest.Run(t, engine, source)
				cluster.Serve(versioned)
				source.lists.Store(0)
				var healthyAfter time.Duration
				for i := range 200 {
					cluster.Set(live.InstallationResource(), definition("widgets.example.com", fmt.Sprint(i)))
					time.Sleep(300 * time.Millisecond)
					if len(live.List(engine, input)) > 0 && healthyAfter == 0 {
						healthyAfter = time.Duration(i) * 300 * time.Millisecond
					}
				}
				if healthyAfter == 0 || healthyAfter > 5*time.Second {
					t.Errorf("it was read after %s, want a few seconds", healthyAfter)
				}
				// A list may begin in the very moment in which one is asked for, and be given up.
				if lists, canceled := source.lists.Load(), source.canceled.Load(); lists > test.most || canceled > 1 {
					t.Errorf("%d lists, of which %d were given up", lists, canceled)
				}
			})
		})
	}
}

// slow is a cluster that takes long to list one resource.
type slow struct {
	*livetest.Cluster
	resource        schema.GroupVersionResource
	lists, canceled atomic.Int32
}

func (s *slow) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	lw, err := s.Cluster.ListerWatcher(resource, example)
	if resource != s.resource || err != nil {
		return lw, err
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			s.lists.Add(1)
			select {
			case <-ctx.Done():
				s.canceled.Add(1)
				return nil, ctx.Err()
			case <-time.After(500 * time.Millisecond):
			}
			return cache.ToListerWithContext(lw).ListWithContext(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return cache.ToListerWatcherWithContext(lw).WatchWithContext(ctx, options)
		},
	}, nil
}

func TestATypedInputHasOneVersion(t *testing.T) {
	live.NewInput(podResource, live.InputOptions[*metav1.PartialObjectMetadata]{Versions: []string{"v2"}})
	defer func() {
		if recover() == nil {
			t.Error("several versions were accepted for one type")
		}
	}()
	live.NewInput(gadgetResource, live.InputOptions[*gadget]{Versions: []string{"v2"}})
}

// TestDefinitionsMayBeAnInputToo: a rule that reads all of them is told of each, and
// heals like any other, beside the engine that reads their names.
func TestDefinitionsMayBeAnInputToo(t *testing.T) {
	resource := live.InstallationResource()
	whole := live.NewInput(resource, live.InputOptions[*unstructured.Unstructured]{Optional: true})
	f := newFixture(t, countsWidgets(widgets), live.Rule{
		Name: "definitions", Subject: whole.Ref(), Outputs: []live.KindRef{reports.Ref()},
		Evaluate: func(_ *live.View, subject live.Key) ([]live.Output, error) {
			return []live.Output{live.Emit(reports, text("", subject.Name, "defined"))}, nil
		},
	})
	f.cluster.NotInstalled(widgetResource)
	f.run()
	f.cluster.Serve(widgetResource)
	want := map[string]string{"/" + widgetResource.GroupResource().String(): "defined"}
	told := func() bool { return maps.Equal(want, texts(f.engine, reports)) }
	livetest.Eventually(t, "the definition is told of", told)
	f.cluster.Forbid(resource)
	f.eventuallyStatus("definitions", live.ReasonInputForbidden)
	f.cluster.Serve(resource)
	f.eventuallyStatus("definitions", "")
	livetest.Eventually(t, "the definition is told of again", told)
}

// TestWhatWasReadSinceDefinitionsWereLostIsInstalled: it is there by what it answered,
// and a 404 says nothing while definitions cannot be read.
func TestWhatWasReadSinceDefinitionsWereLostIsInstalled(t *testing.T) {
	f := newFixture(t, live.Rule{
		Name: "widgets", Subject: widgets.Ref(), Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(_ *live.View, subject live.Key) ([]live.Output, error) {
			return []live.Output{note(subject, "there")}, nil
		},
	})
	live.Feed(t, f.engine)
	live.FeedInstalled(f.engine)
	notFound := apierrors.NewNotFound(widgetResource.GroupResource(), "")
	live.FeedError(f.engine, widgets.Ref(), notFound)
	live.FeedError(f.engine, live.Definitions(), apierrors.NewForbidden(live.InstallationResource().GroupResource(), "", errors.New("no")))
	live.FeedReplace(f.engine, widgets, widget("w"))
	f.eventuallyStatus("widgets", "")
	want := texts(f.engine, notes)
	if len(want) != 1 {
		t.Fatalf("noted %v", want)
	}
	live.FeedError(f.engine, widgets.Ref(), notFound)
	livetest.Eventually(t, "it is not known what the 404 means", func() bool { return f.status("widgets").State == live.Degraded })
	livetest.Eventually(t, "it settles", f.engine.Settled)
	noted(t, f, want)
}
