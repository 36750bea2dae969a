// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedmounts

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

// TestTheReasonStaysWhenItsEventIsGone plays what an API server keeps of a pod whose
// volume is attached elsewhere: that is said once and forgotten after an hour, and that
// the volume is not there is said every two minutes.
func TestTheReasonStaysWhenItsEventIsGone(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-attached-elsewhere.yaml")
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	play := analyzertest.NewPlay(t, analyzer, golden.Now, golden.Objects...)
	var pod *corev1.Pod
	var once, again *corev1.Event
	for _, object := range golden.Objects {
		switch object := object.(type) {
		case *corev1.Pod:
			pod = object
		case *corev1.Event:
			if once == nil {
				once = object
			} else {
				again = object
			}
		}
	}
	is := func(reason, says string) {
		t.Helper()
		found := play.Found()
		if len(found) != 1 || found[0].Reason != reason || !strings.Contains(found[0].Message, says) {
			t.Errorf("at %s: found %v, want %s that says %q", play.Clock.Now().Format(time.TimeOnly), found, reason, says)
		}
	}
	wait := func(span time.Duration) {
		t.Helper()
		for end := play.Clock.Now().Add(span); play.Clock.Now().Before(end); {
			play.Step(2 * time.Minute)
			again.LastTimestamp = metav1.NewTime(play.Clock.Now())
			play.Event(again)
		}
	}
	is(VolumeInUse, "already used by pod(s) web-1-z")
	wait(50 * time.Minute)
	is(VolumeInUse, "already used by pod(s) web-1-z")
	play.Forget(once)
	is(VolumeInUse, "they are not there in time. Before, its events said that a volume is attached elsewhere.")
	wait(24 * time.Hour)
	is(VolumeInUse, "a volume is attached elsewhere")

	running := pod.DeepCopy()
	running.Status.Phase, running.Status.ContainerStatuses = corev1.PodRunning, nil
	play.Pod(running)
	if found := play.Found(); len(found) != 0 {
		t.Errorf("found %v of a pod that runs", found)
	}
	// Of the next pod nobody says why.
	pod.Name, pod.UID = "web-1-b", "web-1-b"
	again.Name, again.UID, again.InvolvedObject.UID = "web-1-b.5", "event-6", "web-1-b"
	play.Event(again)
	play.Pod(pod)
	is(VolumeMountFailed, "they are not there in time.")
}

// Who waits for one ConfigMap is one trouble, which names them all, until the last of them
// waits no more.
func TestWhatIsMissingIsFoundOnce(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	golden := analyzertest.Read(t, "testdata/found-config-map-that-several-wait-for.yaml")
	play := analyzertest.NewPlay(t, analyzer, golden.Now, golden.Objects...)
	is := func(related ...string) *v1alpha1.Finding {
		t.Helper()
		found := live.List(play.Engine, analyzers.DetectedFindings)
		if len(found) != 1 {
			t.Fatalf("found %+v, want one", found)
		}
		var have []string
		for _, object := range found[0].Spec.Related {
			have = append(have, object.Relation+": "+object.Kind+" "+object.Name)
		}
		if diff := cmp.Diff(related, have); diff != "" {
			t.Errorf("related (-want +have):\n%s", diff)
		}
		return found[0]
	}
	first := is("waits for it: Deployment api", "waits for it: Deployment web", "waits for it: Pod shell")
	for _, object := range golden.Objects {
		if pod, is := object.(*corev1.Pod); is && pod.Name != "shell" {
			pod.Status.Phase, pod.Status.ContainerStatuses = corev1.PodRunning, nil
			play.Pod(pod)
		}
	}
	if last := is("waits for it: Pod shell"); last.UID != first.UID || !last.Spec.Since.Equal(&first.Spec.Since) {
		t.Errorf("with the last that waits it is %s since %s, want %s since %s", last.UID, last.Spec.Since, first.UID, first.Spec.Since)
	}
}

// An ExternalSecret that should write what is missing is related first.
func TestWhoShouldWriteWhatIsMissingIsRelated(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	golden := analyzertest.Read(t, "testdata/found-secret-that-an-external-secret-should-write.yaml")
	found := analyzertest.Analyze(t, analyzer, golden.Now, golden.After, golden.Objects)
	if len(found) != 1 {
		t.Fatalf("found %+v, want one", found)
	}
	var related []string
	for _, object := range found[0].Related {
		related = append(related, object.Relation+": "+object.Kind+" "+object.Name)
	}
	want := []string{"writes it: ExternalSecret tls", "waits for it: Deployment web"}
	if diff := cmp.Diff(want, related); diff != "" {
		t.Errorf("related (-want +have):\n%s", diff)
	}
}
