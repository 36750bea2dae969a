// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package oomkill

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
)

func settings(options string) analyzers.Settings {
	configuration := config.AnalyzerConfiguration{}
	if options != "" {
		configuration.Options = &runtime.RawExtension{Raw: []byte(options)}
	}
	return analyzers.NewSettings(configuration)
}

func TestGoldens(t *testing.T) {
	analyzer, err := New(settings(""))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for options, word := range map[string]string{
		`{"kills":1}`: "kills", `{"kills":11}`: "kills", `{"window":"0s"}`: "window", `{"hours":1}`: "hours",
	} {
		if _, err := New(settings(options)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// history is a container whose ends are played one after the other.
type history struct {
	*analyzertest.Play
	t   *testing.T
	pod *corev1.Pod
}

func newHistory(t *testing.T) *history {
	t.Helper()
	return newHistoryWith(t, "")
}

func newHistoryWith(t *testing.T, options string) *history {
	t.Helper()
	analyzer, err := New(settings(options))
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tool", UID: "tool"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app"}}},
	}
	return &history{Play: analyzertest.NewPlay(t, analyzer, time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), pod), t: t, pod: pod}
}

// ends plays an hour of running, an end with a reason, and the next start.
func (h *history) ends(reason string) {
	h.t.Helper()
	h.unseen(reason)
	h.Pod(h.pod)
}

// unseen is an end that nobody sees before the next.
func (h *history) unseen(reason string) {
	h.Clock.Step(time.Hour)
	status := &h.pod.Status.ContainerStatuses[0]
	status.RestartCount++
	status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(h.Clock.Now())}
	status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: reason, FinishedAt: metav1.NewTime(h.Clock.Now())}
}

func (h *history) found(want bool, when string) {
	h.t.Helper()
	if have := len(h.Found()) > 0; have != want {
		h.t.Errorf("%s: found %t, want %t", when, have, want)
	}
}

func TestThreeKillsOfOneContainerAreFound(t *testing.T) {
	h := newHistory(t)
	h.ends(reason)
	h.found(false, "after the first kill")
	h.ends(reason)
	h.found(false, "after the second kill")
	h.ends(reason)
	h.found(true, "after the third kill")
	h.Step(21 * time.Hour)
	h.found(true, "a day after the first kill, less an hour")
	h.Step(time.Hour)
	h.found(false, "a day after the first kill")
}

func TestKillsAreRememberedOverARestart(t *testing.T) {
	h := newHistory(t)
	h.ends(reason)
	h.ends(reason)
	h.Restart()
	h.ends(reason)
	h.found(true, "after a restart of the engine and the third kill")
}

func TestOnlyKillsThatWereSeenCount(t *testing.T) {
	h := newHistory(t)
	h.ends("Error")
	h.ends("Error")
	h.ends("Error")
	h.ends(reason)
	h.found(false, "after one kill that follows other ends")
	h.unseen(reason)
	h.ends(reason)
	h.found(false, "after two kills that were seen, and one between them that was not")
	h.ends(reason)
	h.found(true, "after three kills that were seen")
}

func TestKillsNeedNotFollowEachOther(t *testing.T) {
	h := newHistory(t)
	h.ends(reason)
	h.ends("Error")
	h.ends("Completed")
	h.ends(reason)
	h.found(false, "after two kills with other ends between them")
	h.unseen("Error")
	h.unseen("Error")
	h.Restart()
	h.ends(reason)
	h.found(true, "after three kills with other ends between them, of which nobody saw some")
	h.ends("Error")
	h.found(true, "after an end of another kind")
	h.Step(17 * time.Hour)
	h.found(false, "a day after the first kill")
	h.ends(reason)
	h.found(true, "after the third kill within a day")
}

// However long kills count, as many restarts are looked back as there can be in that
// time.
func TestAKillIsFoundBehindManyOtherEnds(t *testing.T) {
	for options, restarts := range map[string]int32{"": 485, `{"window":"168h"}`: 3365, `{"window":"4h"}`: 85} {
		for beyond, want := range map[int32]bool{0: true, 1: false} {
			h := newHistoryWith(t, options)
			h.ends(reason)
			h.ends(reason)
			// The third kill is one restart more, and the first one has to be in reach.
			h.pod.Status.ContainerStatuses[0].RestartCount += restarts - 2 + beyond
			h.ends(reason)
			h.found(want, fmt.Sprintf("after three kills with %d ends between them, with options %q", restarts-2+beyond, options))
		}
	}
}

func TestAKillOfADayAgoDoesNotCount(t *testing.T) {
	h := newHistory(t)
	h.ends(reason)
	h.Step(12 * time.Hour)
	h.ends(reason)
	h.Step(11 * time.Hour)
	h.ends(reason)
	h.found(false, "after a third kill a day after the first")
}
