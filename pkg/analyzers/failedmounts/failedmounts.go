// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package failedmounts finds workloads with pods that have a node and cannot start
// on it, because a volume of theirs cannot be attached or mounted. Why is only in
// Events, so those are read, as long as they are fresh.
package failedmounts

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "FailedMounts"
	// VolumeContentMissing means that a volume is to show an object or a key that is not there.
	VolumeContentMissing = "VolumeContentMissing"
	// VolumeInUse means that a volume is attached elsewhere, and can only be in one place.
	VolumeInUse = "VolumeInUse"
	// VolumeAttachFailed means that a volume could not be attached to the node.
	VolumeAttachFailed = "VolumeAttachFailed"
	// VolumeMountFailed means that a volume could not be mounted on the node.
	VolumeMountFailed = "VolumeMountFailed"

	standardGrace = 90 * time.Second
	// stale is the age at which an event says nothing about the present. The kubelet
	// tries again every two minutes at the latest, and client-go lets an event that
	// repeats through every five minutes at the least (tools/record, EventSourceObjectSpamFilter).
	stale = 10 * time.Minute
)

// reasons of events about volumes, in the order in which findings are made.
var reasons = []string{VolumeContentMissing, VolumeInUse, VolumeAttachFailed, VolumeMountFailed}

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: VolumeContentMissing, Severities: warning, Summary: "Pods cannot start, because a volume is to show an object or a key that is not there."},
			{Name: VolumeInUse, Severities: warning, Summary: "Pods cannot start, because a volume is attached elsewhere."},
			{Name: VolumeAttachFailed, Severities: warning, Summary: "Pods cannot start, because a volume could not be attached to their node."},
			{Name: VolumeMountFailed, Severities: warning, Summary: "Pods cannot start, because a volume could not be mounted on their node."},
		},
		Rules: workloads.Rules(a.workload, inputs.Events.Ref()),
	}, nil
}

// stuck is a pod that waits for a volume.
type stuck struct {
	pod   *corev1.Pod
	cause cause
	since time.Time
}

func (a analyzer) workload(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	pods := w.Troubled(view)
	slices.SortFunc(pods, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	groups := map[string][]stuck{}
	for _, pod := range pods {
		since, waits := waitsSince(pod)
		if !waits {
			continue
		}
		if end := since.Add(a.grace); view.Now().Before(end) {
			view.RecheckAt(end)
			continue
		}
		if causes := freshCauses(view, pod, since); len(causes) > 0 {
			why := first(causes)
			groups[why.reason] = append(groups[why.reason], stuck{pod, why, since})
		}
	}
	var found []v1alpha1.FindingSpec
	for _, reason := range reasons {
		if group := groups[reason]; len(group) > 0 {
			found = append(found, finding(w, group))
		}
	}
	return found, nil
}

// waitsSince tells since when a pod that has a node waits for its volumes. The kubelet
// mounts them before it makes the sandbox, pulls images and starts anything.
func waitsSince(pod *corev1.Pod) (since time.Time, waits bool) {
	if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName == "" ||
		inputs.ConditionOfPod(pod, corev1.PodReadyToStartContainers).Status == corev1.ConditionTrue {
		return time.Time{}, false
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		wait := status.State.Waiting
		if wait == nil || status.LastTerminationState.Terminated != nil || wait.Reason != "ContainerCreating" && wait.Reason != "PodInitializing" {
			return time.Time{}, false
		}
	}
	since = inputs.ConditionOfPod(pod, corev1.PodReady).LastTransitionTime.Time
	if pod.Status.StartTime != nil {
		since = pod.Status.StartTime.Time
	}
	return since, !since.IsZero()
}

// freshCauses are what events say about the pod's volumes since it is on its node.
func freshCauses(view *live.View, pod *corev1.Pod, since time.Time) []cause {
	var causes []cause
	for _, event := range inputs.Events.ByIndex(view, inputs.ByInvolved, string(pod.UID)) {
		if event.Reason != "FailedMount" && event.Reason != "FailedAttachVolume" && event.Reason != "FailedMapVolume" {
			continue
		}
		at := inputs.LastSeen(event)
		end := at.Add(stale)
		if at.Before(since) || !view.Now().Before(end) {
			continue
		}
		view.RecheckAt(end)
		causes = append(causes, causeOf(event))
	}
	return causes
}

func finding(w workloads.Workload, group []stuck) v1alpha1.FindingSpec {
	one := group[0]
	name := "Pod " + one.pod.Name
	if w.Reference.Kind != "Pod" {
		name += " of " + w.String()
	}
	noun := "volume " + one.cause.volume
	if one.cause.volume == "" {
		noun = "a volume"
	}
	message := fmt.Sprintf("%s cannot start on its node for want of %s: %s", name, noun, one.cause.text)
	if len(group) > 1 {
		message += ". Other pods of it wait too"
	}
	since := one.since
	var related []v1alpha1.RelatedObject
	for _, s := range group {
		if s.since.Before(since) {
			since = s.since
		}
		related = append(related, v1alpha1.RelatedObject{Relation: "pod that waits", ObjectReference: workloads.PodReference(s.pod)})
	}
	text, commands := advice(one)
	return v1alpha1.FindingSpec{
		Reason: one.cause.reason, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Related: related, Message: message + ".",
		Remediation: v1alpha1.Remediation{
			Text:     text,
			Commands: append([]string{fmt.Sprintf("kubectl describe pod %s -n %s", one.pod.Name, one.pod.Namespace)}, commands...),
		},
		Since: metav1.NewTime(since),
	}
}

// advice is what to do, and where to look.
func advice(s stuck) (text string, commands []string) {
	namespace := s.pod.Namespace
	claims := []string{fmt.Sprintf("kubectl get persistentvolumeclaims -n %s", namespace), "kubectl get volumeattachments"}
	switch s.cause.reason {
	case VolumeContentMissing:
		return "Make what is missing, or mark it optional. The kubelet tries again by itself within two minutes.",
			[]string{fmt.Sprintf("kubectl get secrets,configmaps -n %s", namespace)}
	case VolumeInUse:
		return "See which pod or node has the volume. If that is a pod which is on its way out, wait; if its node is gone for good, delete the pod. Two replicas cannot share a volume that is ReadWriteOnce.", claims
	case VolumeAttachFailed:
		return "See what the storage system says, and whether its controller runs.", append(claims, "kubectl get csidrivers")
	}
	return "See what the storage system or the file server says, and whether its driver runs on the node.",
		append(claims, "kubectl get csinodes", "kubectl get nodes -o wide")
}
