// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

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

func TestWithoutTheRightToWatchDefinitionsAResourceIsFoundAtARetry(t *testing.T) {
	f := newFixture(t, countsWidgets(widgets))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.NotInstalled(widgetResource)
	f.cluster.Forbid(live.InstallationResource())
	f.run()
	f.eventuallyStatus("widgets", "") // it is nothing that a rule reads
	f.cluster.Set(widgetResource, widget("w"))
	f.cluster.Serve(widgetResource)
	livetest.Settle(t, f.engine, f.cluster, widgets)
	noted(t, f, map[string]string{"ns/a": "has widgets"})
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
	f.cluster.Set(versioned("v1beta1"), thing("v1beta1", "large")) // still served, so still read
	eventually("example.com/v1beta1 large")
	f.cluster.NotInstalled(versioned("v1beta1"))
	eventually("example.com/v1 small")
	f.cluster.Serve(versioned("v1beta1"))
	f.cluster.NotInstalled(versioned("v1"))
	eventually("example.com/v1beta1 large")
}

func TestATypedInputHasOneVersion(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("several versions were accepted for one type")
		}
	}()
	live.NewInput(podResource, live.InputOptions[*metav1.PartialObjectMetadata]{Versions: []string{"v2"}})
	live.NewInput(gadgetResource, live.InputOptions[*gadget]{Versions: []string{"v2"}})
}
