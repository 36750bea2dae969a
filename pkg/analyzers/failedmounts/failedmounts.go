// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package failedmounts finds workloads with pods that have a node and cannot start
// on it, because a volume of theirs cannot be attached or mounted, or because their
// sandbox cannot be made once the volumes are there. Why is only in Events, so those
// are read, as long as they are fresh. A Secret, a ConfigMap or a key that is not there
// is one trouble however many workloads wait for it.
package failedmounts

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/analyzers/references"
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
	// SandboxFailed means that the runtime or the network of the node could not make a pod's sandbox.
	SandboxFailed = "PodSandboxFailed"

	standardGrace = 90 * time.Second
	// standing is how long an event says something about the present. The kubelet
	// tries again every two minutes at the latest, and client-go lets an event that
	// repeats through every five minutes at the least (tools/record, EventSourceObjectSpamFilter).
	standing = 10 * time.Minute
	// early is how long before the kubelet says that a pod has come to its node, by its
	// own clock, the attach-detach controller may have looked at the pod's volumes.
	early = 10 * time.Second
)

// reasons that events tell.
var reasons = []string{VolumeContentMissing, VolumeInUse, VolumeAttachFailed, VolumeMountFailed, SandboxFailed}

// HangsOn are the parts of the template that each reason can come from. The volumes of
// a claim template are the same in every revision.
var HangsOn = map[string][]inputs.TemplatePart{
	VolumeContentMissing: {inputs.PartContent},
	VolumeInUse:          {inputs.PartStorage},
	VolumeAttachFailed:   {inputs.PartStorage},
	VolumeMountFailed:    {inputs.PartStorage},
	SandboxFailed:        {inputs.PartSandbox},
}

// noSandbox is the kubelet's reason of events about sandboxes, and noVolume are its
// own and the attach-detach controller's about volumes (k8s.io/kubernetes,
// pkg/kubelet/events and pkg/controller/volume/attachdetach).
const noSandbox = "FailedCreatePodSandBox"

var noVolume = []string{"FailedMount", "FailedAttachVolume", "FailedMapVolume"}

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
			{Name: SandboxFailed, Severities: warning, Summary: "Pods cannot start, because their node cannot make their sandbox: its network or its runtime fails."},
		},
		Derivations: workloads.Derivations(a.unstarted, waiting.Ref(), append(outdated.Reads(), inputs.Events.Ref())...),
		Rules: []analyzers.Rule{
			{Subject: waiting.Ref(), Analyze: alone},
			{
				Subject: inputs.Namespaces.Ref(), Analyze: a.namespace,
				Reads: append([]live.KindRef{waiting.Ref(), inputs.Pods.Ref(), inputs.ExternalSecrets.Ref()}, outdated.Reads()...),
			},
		},
	}, nil
}

// stuck is a pod that cannot start.
type stuck struct {
	pod   *corev1.Pod
	cause cause
	since time.Time
}

// unstarted is the workload, if pods of it cannot start.
func (a analyzer) unstarted(view *live.View, w workloads.Workload) []live.Output {
	pods := w.Troubled(view)
	slices.SortFunc(pods, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	waits := false
	var all []stuck
	for _, pod := range pods {
		since, is := workloads.WaitsForVolumes(pod)
		if !is || !analyzers.Past(view, since.Add(a.grace)) {
			continue
		}
		waits = true
		if why, is := told(view, pod, since); is {
			all = append(all, stuck{pod, why, since})
		}
	}
	if !waits {
		return nil
	}
	var most cause
	if len(all) > 0 {
		slices.SortStableFunc(all, func(x, y stuck) int { return compare(x.cause, y.cause) })
		most = all[0].cause
	}
	// The event of a volume that is attached elsewhere comes once, and others are let
	// through at times. So what was told counts while pods wait.
	reason := analyzers.Steady(view, "start", most.reason, reasons)
	if len(all) == 0 {
		return nil
	}
	return []live.Output{live.Emit(waiting, waitingOf(view, w, all, reason))}
}

// told is what events say of the pod since it is on its node, if one of them is fresh
// still. One of its sandbox after those of its volumes means that the volumes are there.
// As long as fresh ones do not say why, older ones do.
func told(view *live.View, pod *corev1.Pod, since time.Time) (why cause, is bool) {
	var sandbox, fresh, stale []cause
	var made, mounted time.Time // when the last was told of each
	for _, event := range inputs.Events.ByIndex(view, inputs.ByInvolved, string(pod.UID)) {
		ofVolume, at := slices.Contains(noVolume, event.Reason), inputs.LastSeen(event)
		if !ofVolume && event.Reason != noSandbox || at.Before(since.Add(-early)) {
			continue
		}
		stands := !analyzers.Past(view, at.Add(standing))
		switch {
		case !ofVolume && stands:
			sandbox, made = append(sandbox, causeOf(event)), latest(made, at)
		case stands:
			fresh, mounted = append(fresh, causeOf(event)), latest(mounted, at)
		case ofVolume:
			stale = append(stale, causeOf(event))
		}
	}
	switch {
	case len(sandbox) > 0 && !made.Before(mounted):
		return first(sandbox), true
	case len(fresh) == 0:
		return cause{}, false
	}
	if why = first(fresh); why.reason == "" {
		why = first(append(stale, why))
	}
	return why, true
}

func latest(x, y time.Time) time.Time {
	if x.After(y) {
		return x
	}
	return y
}

// before is what events said before, where those there are now do not say why.
var before = map[string]string{
	VolumeContentMissing: "what a volume is to show is not there", VolumeInUse: "a volume is attached elsewhere",
	VolumeAttachFailed: "a volume cannot be attached", VolumeMountFailed: "a volume cannot be mounted",
	SandboxFailed: "its sandbox cannot be made",
}

// waitingOf is about pods of a workload that cannot start, of which the first tells most.
func waitingOf(view *live.View, w workloads.Workload, all []stuck, reason string) *Waiting {
	one := all[0]
	name := "Pod " + one.pod.Name
	if w.Reference.Kind != "Pod" {
		name += " of " + w.String()
	}
	noun := "for want of volume " + one.cause.volume
	switch {
	case one.cause.reason == SandboxFailed:
		noun = "because its sandbox cannot be made"
	case one.cause.volume == "":
		noun = "for want of a volume"
	}
	message := fmt.Sprintf("%s cannot start on its node %s: %s", name, noun, one.cause.text)
	about := one.cause.reason
	if about == "" {
		about = cmp.Or(reason, VolumeMountFailed)
		if reason != "" {
			message += ". Before, its events said that " + before[reason]
		}
	}
	if len(all) > 1 {
		message += ". Other pods of it wait too"
	}
	reason = cmp.Or(reason, VolumeMountFailed)
	since := one.since
	var related []v1alpha1.RelatedObject
	var pods []*corev1.Pod
	for _, s := range all {
		pods = append(pods, s.pod)
		if s.since.Before(since) {
			since = s.since
		}
		related = append(related, v1alpha1.RelatedObject{Relation: "pod that waits", ObjectReference: workloads.PodReference(s.pod)})
	}
	text, commands := advice(about, one.pod)
	missing := references.Parse(one.pod.Namespace, one.cause.text)
	waits := &Waiting{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Reference.Namespace, Name: strings.ToLower(w.Reference.Kind) + "." + w.Reference.Name},
		Finding: v1alpha1.FindingSpec{
			Reason: reason, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Related: related, Message: message + ".",
			Remediation: outdated.Advise(view, pods, HangsOn[reason], v1alpha1.Remediation{
				Text:     text,
				Commands: append([]string{fmt.Sprintf("kubectl describe pod %s -n %s", one.pod.Name, one.pod.Namespace)}, commands...),
			}, missing),
			Since: metav1.NewTime(since),
		},
	}
	if reason == VolumeContentMissing && about == reason {
		if w.Template != nil {
			missing = references.Resolve(missing, references.Mounted(w.Reference.Namespace, &w.Template.Spec))
		}
		if missing.Name != "" {
			waits.Missing = missing
		}
	}
	return waits
}

// advice is what to do, and where to look.
func advice(reason string, pod *corev1.Pod) (text string, commands []string) {
	claims := []string{fmt.Sprintf("kubectl get persistentvolumeclaims -n %s", pod.Namespace), "kubectl get volumeattachments"}
	switch reason {
	case VolumeContentMissing:
		return missingAdvice(pod.Namespace)
	case VolumeInUse:
		return "See which pod or node has the volume. If that is a pod which is on its way out, wait; if its node is gone for good, delete the pod. Two replicas cannot share a volume that is ReadWriteOnce.", claims
	case VolumeAttachFailed:
		return "See what the storage system says, and whether its controller runs.", append(claims, "kubectl get csidrivers")
	case SandboxFailed:
		return "See whether the pods of the network plugin run on the node, whether it has addresses left, and whether the node has the pod's runtime class. If other nodes are well, cordon this one and delete the pod. The kubelet tries again by itself.",
			[]string{
				fmt.Sprintf("kubectl get pods -A -o wide --field-selector spec.nodeName=%s", pod.Spec.NodeName),
				fmt.Sprintf("kubectl describe node %s", pod.Spec.NodeName), "kubectl get runtimeclasses",
			}
	}
	return "See what the storage system or the file server says, and whether its driver runs on the node.",
		append(claims, "kubectl get csinodes", "kubectl get nodes -o wide")
}
