// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package oomkill

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/live"
)

// reason is that of a container's end by the kernel's OOM killer
// (k8s.io/cri-api and the container runtimes).
const reason = "OOMKilled"

// kills returns when a container was killed for want of memory: of the last two ends
// what its status says, and before them what was seen of a row of kills that lasts.
//
// A status has only the last end. So each kill is remembered by its number, which is
// that of the restart that follows it, for as long as the row goes on. To ask for a
// number that was never seen as a kill begins it there and then, together with a later
// one; so what counts is only what was seen before the one after it.
func (a analyzer) kills(view *live.View, pod *corev1.Pod, status *corev1.ContainerStatus) []time.Time {
	last, number := status.LastTerminationState.Terminated, status.RestartCount
	var before *corev1.ContainerStateTerminated
	switch {
	case status.State.Terminated != nil:
		last, before, number = status.State.Terminated, last, number+1
	case status.State.Waiting != nil:
		number++
	}
	var times []time.Time
	if killed(before) {
		times = append(times, before.FinishedAt.Time)
	}
	if !killed(last) || !a.recent(view, last.FinishedAt.Time) {
		return times
	}
	times = append(times, last.FinishedAt.Time)
	seen := view.FirstObserved(killID(pod, status, number))
	for earlier := number - 1; earlier > 0 && number-earlier < a.threshold; earlier-- {
		at := view.FirstObserved(killID(pod, status, earlier))
		known := earlier == number-1 && killed(before)
		if !known && !at.Before(seen) {
			break
		}
		if !known {
			times = append(times, at)
		}
		seen = at
	}
	return times
}

func killed(end *corev1.ContainerStateTerminated) bool { return end != nil && end.Reason == reason }

func killID(pod *corev1.Pod, status *corev1.ContainerStatus, number int32) string {
	return fmt.Sprintf("%s/%s/%d", pod.UID, status.Name, number)
}

// recent tells whether a kill counts, and has the workload looked at again when it
// does not any more.
func (a analyzer) recent(view *live.View, at time.Time) bool {
	return !analyzers.Past(view, at.Add(a.window))
}
