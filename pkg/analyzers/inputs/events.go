// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
)

// ByInvolved finds Events by the UID of the object that they are about.
const ByInvolved = "involved"

// Events are the warnings about pods, and about who makes them, that analyzers go by. The core API gives those
// written through events.k8s.io too, with their times in other fields; LastSeen reads
// both. They are trimmed to reasons that some analyzer reads.
var Events = live.NewInput(corev1.SchemeGroupVersion.WithResource("events"), live.InputOptions[*corev1.Event]{
	FieldSelector: "type=" + corev1.EventTypeWarning,
	Trim:          trimEvent,
	Indexes: map[string]func(*corev1.Event) []string{ByInvolved: func(event *corev1.Event) []string {
		if event.InvolvedObject.UID == "" {
			return nil
		}
		return []string{string(event.InvolvedObject.UID)}
	}},
})

// FailedCreate is the reason of events about pods that a controller could not make
// (k8s.io/kubernetes, pkg/controller).
const FailedCreate = "FailedCreate"

// eventReasons are those whose events are kept whole: the kubelet's and the
// attach-detach controller's about images, volumes and sandboxes (k8s.io/kubernetes,
// pkg/kubelet/events), and those of controllers that cannot make pods.
var eventReasons = []string{
	"Failed", "InspectFailed", "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", FailedCreate,
}

func trimEvent(in *corev1.Event) *corev1.Event {
	out := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: in.Namespace, Name: in.Name, UID: in.UID, Labels: in.Labels}}
	if !slices.Contains(eventReasons, in.Reason) {
		return out // without a resourceVersion, so that its updates are no changes
	}
	first, at := metav1.NewTime(FirstSeen(in)), metav1.NewTime(LastSeen(in))
	out.InvolvedObject = corev1.ObjectReference{
		Kind: in.InvolvedObject.Kind, Namespace: in.InvolvedObject.Namespace, Name: in.InvolvedObject.Name,
		UID: in.InvolvedObject.UID, FieldPath: in.InvolvedObject.FieldPath,
	}
	out.Reason, out.Message, out.Type, out.FirstTimestamp, out.LastTimestamp = in.Reason, in.Message, in.Type, first, at
	return out
}

// LastSeen tells when an Event last happened.
func LastSeen(event *corev1.Event) time.Time {
	last := event.CreationTimestamp.Time
	for _, at := range []time.Time{event.FirstTimestamp.Time, event.LastTimestamp.Time, event.EventTime.Time} {
		if at.After(last) {
			last = at
		}
	}
	if event.Series != nil && event.Series.LastObservedTime.After(last) {
		last = event.Series.LastObservedTime.Time
	}
	return last
}

// FirstSeen tells when an Event first happened.
func FirstSeen(event *corev1.Event) time.Time {
	first := LastSeen(event)
	for _, at := range []time.Time{event.CreationTimestamp.Time, event.FirstTimestamp.Time, event.EventTime.Time} {
		if !at.IsZero() && at.Before(first) {
			first = at
		}
	}
	return first
}
