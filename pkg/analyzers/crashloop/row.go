// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package crashloop

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// standing is how the restarts of a container stand.
type standing int

const (
	// well runs, waits for something else, or has done what it was to do.
	well standing = iota
	// restarted has ended and has not run well since: a row of restarts may have begun.
	restarted
	// looping ends again and again.
	looping
)

// Reasons of waits and ends (k8s.io/kubernetes, pkg/kubelet/kuberuntime). startError
// and containerCannotDo are what containerd and CRI-O say of a container that never
// ran; the last two are what containerd and the kubelet say of one whose end nobody
// saw, as after its node restarted.
const (
	backOff           = "CrashLoopBackOff"
	runError          = "RunContainerError"
	outOfMemory       = "OOMKilled"
	startError        = "StartError"
	containerCannotDo = "ContainerCannotRun"
	lost              = "Unknown"
	lostByKubelet     = "ContainerStatusUnknown"
)

// backedOff is the shortest pause before a start which shows that the kubelet backed
// off. Its first restart comes at once, and after that it waits 10 s and longer.
const backedOff = 5 * time.Second

// fewest restarts make a loop of a container that runs. After a single one a
// long start can be an image that was pulled or a node that came back.
const fewest = 2

// judge tells how the restarts of a container stand and, if that changes by itself,
// when. Between two waits a container in a loop runs for a moment: how long the run
// before lasted, and how long it took to start the next, tells that from a container
// that was restarted once.
func (a analyzer) judge(pod *corev1.Pod, status *corev1.ContainerStatus, now time.Time) (standing, time.Time) {
	wait, running, ended, last := status.State.Waiting, status.State.Running, status.State.Terminated, status.LastTerminationState.Terminated
	switch {
	case wait != nil && wait.Reason == backOff, wait != nil && wait.Reason == runError && status.RestartCount > 0:
		return looping, time.Time{}
	case wait != nil && (last != nil || wait.Reason == runError):
		return restarted, time.Time{}
	case ended != nil && over(pod, status):
		return well, time.Time{}
	case ended != nil:
		if last != nil && a.brief(last) && a.brief(ended) {
			return looping, time.Time{}
		}
		return restarted, time.Time{}
	case running != nil && last != nil:
		until := running.StartedAt.Add(a.stable)
		if !now.Before(until) {
			return well, time.Time{}
		}
		if status.RestartCount >= fewest && a.brief(last) && running.StartedAt.Sub(last.FinishedAt.Time) >= backedOff {
			if longer := running.StartedAt.Add(outlasts(last, running)); longer.Before(until) {
				if !now.Before(longer) {
					return restarted, until
				}
				until = longer
			}
			return looping, until
		}
		return restarted, until
	}
	return well, time.Time{}
}

// longRun is how long a container must run at least to have got over its restarts.
const longRun = 2 * time.Minute

// outlasts is how long a run must be to be clearly longer than the turn of the loop
// before it, of a run and the pause after that: then what it waited for has come. In a
// loop that lasts the pauses are of minutes, so there it is as long as stable.
func outlasts(last *corev1.ContainerStateTerminated, running *corev1.ContainerStateRunning) time.Duration {
	began := last.StartedAt.Time
	if began.Unix() <= 0 { // it never ran
		began = last.FinishedAt.Time
	}
	return max(longRun, 2*running.StartedAt.Sub(began))
}

// over tells whether a container that ended is not started again.
func over(pod *corev1.Pod, status *corev1.ContainerStatus) bool {
	succeeded := status.State.Terminated.ExitCode == 0
	named := func(c corev1.Container) bool { return c.Name == status.Name }
	own := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	if i := slices.IndexFunc(own, named); i >= 0 && own[i].RestartPolicy != nil {
		// A sidecar is an init container that is always started again (KEP-753).
		policy := *own[i].RestartPolicy
		return policy == corev1.ContainerRestartPolicyNever || policy == corev1.ContainerRestartPolicyOnFailure && succeeded
	}
	policy := pod.Spec.RestartPolicy
	if !succeeded {
		return policy == corev1.RestartPolicyNever
	}
	initial := slices.ContainsFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == status.Name })
	return initial || policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure
}

// brief tells whether a run was too short to count as running well. One that never
// began has the epoch as its start. One that went down with its node did not crash.
func (a analyzer) brief(end *corev1.ContainerStateTerminated) bool {
	switch {
	case end.Reason == startError || end.Reason == containerCannotDo:
		return true
	case end.FinishedAt.IsZero() || end.Reason == lost || end.Reason == lostByKubelet:
		return false // nobody can tell
	case end.StartedAt.Unix() <= 0:
		return true
	}
	return end.FinishedAt.Sub(end.StartedAt.Time) < a.stable
}

// lastEnd is how a container ended last, or nil if that is not known.
func lastEnd(status *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if status.State.Terminated != nil {
		return status.State.Terminated
	}
	return status.LastTerminationState.Terminated
}
