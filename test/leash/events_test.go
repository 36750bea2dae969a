// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/test/harness"
)

// newEvent is one as client-go's newer recorder makes it, which the executor uses.
func newEvent(namespace, name, reporter string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, EventTime: metav1.NewMicroTime(start),
		ReportingController: reporter, ReportingInstance: reporter + "-0", Action: "DeletePod", Reason: "DeletePod", Type: "Normal", Note: "done",
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: "web"},
	}
}

// oldEvent is one as client-go's older recorder makes it, which records who got the Lease.
func oldEvent(namespace, name, reporter string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: name},
		InvolvedObject:      corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: namespace, Name: executorAccount},
		ReportingController: reporter, Source: corev1.EventSource{Component: reporter}, Reason: "LeaderElection", Message: "became leader", Type: "Normal",
		FirstTimestamp: metav1.NewTime(start), LastTimestamp: metav1.NewTime(start), Count: 1,
	}
}

func ownEvent(namespace, name string) client.Object {
	return newEvent(namespace, name, executorAccount)
}
func kubeletEvent(namespace, name string) client.Object {
	return newEvent(namespace, name, "kubelet")
}

// process is the name under which a replica is leader.
const process = "srenix-executor-0_0c6e2a34-9d7b-4f0a-8c55-2b1d6a7e4f90"

// Of an event that is there, each recorder writes how often it was seen.
var countedAgain = rawPatch(types.StrategicMergePatchType, `{"count":2}`)

var series = rawPatch(types.MergePatchType, `{"series":{"count":2,"lastObservedTime":"2026-03-01T12:00:00.000000Z"}}`)

// foreignLeaseEventRows are events in the executor's own namespace that leader election
// of its Lease does not write.
func foreignLeaseEventRows() []row {
	about := func(reporter string, of corev1.ObjectReference) *corev1.Event {
		event := oldEvent(harness.Namespace, "leash-event", reporter)
		event.InvolvedObject = of
		event.InvolvedObject.Namespace = event.Namespace
		return event
	}
	stored := func(reporter string, of corev1.ObjectReference) func(namespace, name string) client.Object {
		return func(_, name string) client.Object {
			event := about(reporter, of)
			event.Name = name
			return event
		}
	}
	lease := func(name string) corev1.ObjectReference {
		return corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Name: name}
	}
	server := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Name: "srenix-apiserver-0"}
	elsewhere := oldEvent(open, "leash-event", process)
	newer := newEvent(harness.Namespace, "leash-event", "kubelet")
	bySource, byReporter := about(process, lease(executorAccount)), about(process, lease(executorAccount))
	bySource.Source.Component, byReporter.ReportingController = "kubelet", "kubelet"
	return []row{
		other("create an event of the kubelet about a pod of its own namespace", nil, create(about("kubelet", server))),
		other("create an event of the kubelet about a pod of its own namespace in the newer group", nil, create(newer)),
		other("create an event of its process about a pod", nil, create(about(process, server))),
		other("create an event of its process about another Lease", nil, create(about(process, lease("srenix-advisor")))),
		other("create an event of its process about what has the name of its Lease", nil, create(about(process, corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Thing", Name: executorAccount}))),
		other("create an event of its process about a Lease of another group", nil, create(about(process, corev1.ObjectReference{APIVersion: "example.com/v1", Kind: "Lease", Name: executorAccount}))),
		other("create an event of its process about the Lease of another namespace", nil, create(elsewhere)),
		other("create an event of the kubelet about its Lease", nil, create(about("kubelet", lease(executorAccount)))),
		other("create an event of the kubelet about its Lease, by the older name", nil, create(bySource)),
		other("create an event of the kubelet about its Lease, by the newer name", nil, create(byReporter)),
		other("change an event of the kubelet in its own namespace", stored("kubelet", server), countedAgain),
		other("change an event of the kubelet about its Lease", stored("kubelet", lease(executorAccount)), countedAgain),
		other("make an event of the kubelet one about its Lease", stored("kubelet", server), put(func(event *corev1.Event) {
			changed := about(process, lease(executorAccount))
			changed.ObjectMeta = event.ObjectMeta
			*event = *changed
		})),
	}
}
