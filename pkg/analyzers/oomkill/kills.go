// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package oomkill

import (
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/live"
)

// reason is that of a container's end by the kernel's OOM killer
// (k8s.io/cri-api and the container runtimes).
const reason = "OOMKilled"

// The kubelet restarts a container at most five times in a row before it waits for 5
// minutes, and begins anew once one has run for 10 minutes: at most every 3 minutes on
// average, and five times at once (k8s.io/kubernetes, pkg/kubelet, MaxContainerBackOff).
const (
	shortest = 3 * time.Minute
	atOnce   = 5
)

// farthest is how many restarts back kills are looked for: as many as there can be in
// the time in which they count.
func (a analyzer) farthest() int32 {
	return int32(min(a.window/shortest, math.MaxInt32-atOnce)) + atOnce
}

// kills returns when a container was killed for want of memory, the latest kills first,
// and no more of them than make a finding: of the last two ends what its status says,
// and of those before them what was seen.
//
// A status has only the last end. So each kill is remembered by its number, which is
// that of the restart that follows it, for as long as it counts.
func (a analyzer) kills(view *live.View, pod *corev1.Pod, status *corev1.ContainerStatus) []time.Time {
	last, number := status.LastTerminationState.Terminated, status.RestartCount
	var before *corev1.ContainerStateTerminated
	switch {
	case status.State.Terminated != nil:
		last, before, number = status.State.Terminated, last, number+1
	case status.State.Waiting != nil:
		number++
	}
	known := fmt.Sprintf("%s/%s was killed", pod.UID, status.Name)
	if _, seen := view.Observed(known); !seen && !killed(last) && !killed(before) {
		return nil // however often it was restarted
	}
	told := map[int32]*corev1.ContainerStateTerminated{number: last, number - 1: before}
	var times []time.Time
	farthest := a.farthest()
	for n := number; n > 0 && number-n <= farthest && len(times) < int(a.threshold); n-- {
		id := killID(pod, status, n)
		at, counts := view.Observed(id)
		if end := told[n]; end != nil {
			at, counts = end.FinishedAt.Time, killed(end)
		}
		if counts && a.recent(view, at) {
			times = append(times, view.Began(id, at))
		}
	}
	if len(times) > 0 {
		view.FirstObserved(known)
	}
	return times
}

// anyKilled names the condition that some kill of a workload is remembered.
const anyKilled = "some container was killed"

// toldKilled tells whether a pod itself tells of a kill.
func toldKilled(pod *corev1.Pod) bool {
	told := func(s corev1.ContainerStatus) bool {
		return killed(s.State.Terminated) || killed(s.LastTerminationState.Terminated)
	}
	return slices.ContainsFunc(pod.Status.InitContainerStatuses, told) || slices.ContainsFunc(pod.Status.ContainerStatuses, told)
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
