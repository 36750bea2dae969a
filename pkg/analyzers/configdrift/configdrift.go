// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package configdrift finds workloads that run with another configuration than
// the cluster holds: a ConfigMap or Secret that containers took over when they
// started, and that changed since, or pods that were made with different
// configurations. It reads no value: the time of a change is in the metadata.
package configdrift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "ConfigDrift"
	// ConfigurationChangedAfterStart means that containers run with a ConfigMap or Secret as it was before it changed.
	ConfigurationChangedAfterStart = "ConfigurationChangedAfterStart"
	// ChecksumsDiffer means that pods of one workload were made with different configurations.
	ChecksumsDiffer = "ConfigurationChecksumsDiffer"

	standardGrace = 15 * time.Minute
	// reloaderPrefix begins the annotations of Stakater Reloader, which restarts
	// workloads by itself.
	reloaderPrefix = "reloader.stakater.com/"
	// reloaderSuffix ends those that name ConfigMaps and Secrets, as
	// configmap.reloader.stakater.com/reload.
	reloaderSuffix = ".reloader.stakater.com/reload"
)

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{
				Name: ConfigurationChangedAfterStart, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo},
				Summary: "A ConfigMap or Secret used in env or as a subPath changed after the containers started.",
			},
			{
				Name: ChecksumsDiffer, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning},
				Summary: "Pods of one workload differ in the checksum of their configuration, and no rollout is under way.",
			},
		},
		Rules: workloads.Rules(a.judge, inputs.ConfigMaps.Ref(), inputs.Secrets.Ref()),
	}, nil
}

// Holds tells whether pods of a workload run with another configuration than the cluster
// holds, be it within the grace of a finding, so that a restart changes what they run with.
func Holds(view *live.View, w workloads.Workload) bool {
	if !w.Settled {
		return false
	}
	if _, differ := behind(view, w); differ {
		return true
	}
	return !reloads(w) && len(drifting(view, w)) > 0
}

func (a analyzer) judge(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	if !slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, w.Reference.Kind) {
		return nil, nil
	}
	found := a.differing(view, w)
	if reloads(w) {
		return found, nil
	}
	// A rollout, or a scaling, does not end what is so while it lasts.
	drifted := a.drifted(view, w)
	if !w.Settled || len(drifted) == 0 {
		return found, nil
	}
	return append(found, finding(w, drifted)), nil
}

// drift is a source that is not any more what containers took over.
type drift struct {
	source
	uid types.UID
	// made tells that it did not exist when they started, or another of the name did.
	made bool
	// started is when the first of them started, and since when it changed first after that.
	started, since time.Time
}

// drifted returns what drifts, once the grace after the first change is over.
func (a analyzer) drifted(view *live.View, w workloads.Workload) []drift {
	var found []drift
	for _, d := range drifting(view, w) {
		// A source tells of its last change only; the first since they started counts.
		if began := view.Began(d.String(), d.since); !began.Before(d.started) {
			d.since = began
		}
		if analyzers.Past(view, d.since.Add(a.grace)) {
			found = append(found, d)
		}
	}
	return found
}

// drifting returns what changed after containers started that had taken it over, with
// its last change.
func drifting(view *live.View, w workloads.Workload) []drift {
	taken := frozen(&w.Template.Spec)
	if len(taken) == 0 {
		return nil
	}
	var found []drift
	pods := w.Pods(view)
	for _, t := range taken {
		started, running := oldestStart(pods, t.containers)
		if !running {
			continue
		}
		object, exists := t.get(view, w.Meta.Namespace)
		if !exists {
			continue
		}
		d := drift{source: t.source, uid: object.UID, made: object.CreationTimestamp.After(started), started: started}
		at := inputs.Changed(object)
		if d.made {
			at = object.CreationTimestamp
		}
		if d.since = at.Time; d.since.After(started) {
			found = append(found, d)
		}
	}
	return found
}

func finding(w workloads.Workload, drifted []drift) v1alpha1.FindingSpec {
	var changed, made []string
	var related []v1alpha1.RelatedObject
	since := drifted[0].since
	for _, d := range drifted {
		relation := "changed after start"
		if d.made {
			relation = "made after start"
			made = append(made, d.String())
		} else {
			changed = append(changed, d.String())
		}
		related = append(related, v1alpha1.RelatedObject{Relation: relation, ObjectReference: v1alpha1.ObjectReference{
			APIVersion: "v1", Kind: d.kind, Namespace: w.Meta.Namespace, Name: d.name, UID: d.uid,
		}})
		if d.since.Before(since) {
			since = d.since
		}
	}
	var sentences []string
	if len(changed) > 0 {
		sentences = append(sentences, fmt.Sprintf("Containers of %s run with what %s held when they started; it has changed since.", w, list(changed)))
	}
	if len(made) > 0 {
		sentences = append(sentences, fmt.Sprintf("Containers of %s started before the present %s was made: they run without it, or with what an earlier one of the name held.", w, list(made)))
	}
	return v1alpha1.FindingSpec{
		Reason: ConfigurationChangedAfterStart, Severity: v1alpha1.SeverityInfo, Subject: w.Reference, Related: related,
		Message: strings.Join(sentences, " "),
		Remediation: v1alpha1.Remediation{
			Text:     "Restart the workload, so that its pods take the present content over.",
			Commands: []string{w.Restart(), "kubectl rollout status " + w.Argument()},
		},
		Since: metav1.NewTime(since),
	}
}

// list names at most five: a message is a sentence.
func list(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and others"
}

func (s source) get(view *live.View, namespace string) (*metav1.PartialObjectMetadata, bool) {
	key := live.Key{Namespace: namespace, Name: s.name}
	if s.kind == "Secret" {
		return inputs.Secrets.Get(view, key)
	}
	return inputs.ConfigMaps.Get(view, key)
}

// oldestStart returns when the first of some containers of running pods started, of
// those that still run, or did their work before the others. One that waits to be
// started again takes over what there is then.
func oldestStart(pods []*corev1.Pod, containers []string) (oldest time.Time, running bool) {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || pod.Status.StartTime == nil {
			continue
		}
		for _, name := range containers {
			start, runs := startOf(pod, name)
			if runs && (!running || start.Before(oldest)) {
				oldest, running = start, true
			}
		}
	}
	return oldest, running
}

// startOf returns when a container of a running pod started. Of one that has not
// been restarted the pod tells.
func startOf(pod *corev1.Pod, container string) (start time.Time, runs bool) {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			if status.State.Running == nil {
				return time.Time{}, false
			}
			return status.State.Running.StartedAt.Time, true
		}
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name != container {
			continue
		}
		switch state := status.State; {
		case state.Running != nil:
			return state.Running.StartedAt.Time, true
		case state.Terminated != nil && state.Terminated.ExitCode == 0:
			return state.Terminated.StartedAt.Time, true
		}
		return time.Time{}, false
	}
	return pod.Status.StartTime.Time, true
}

// reloads tells whether something else restarts the workload when its configuration changes.
func reloads(w workloads.Workload) bool {
	for _, annotations := range []map[string]string{w.Meta.Annotations, w.Template.Annotations} {
		for key, value := range annotations {
			if value != "" && value != "false" && (strings.HasPrefix(key, reloaderPrefix) || strings.HasSuffix(key, reloaderSuffix)) {
				return true
			}
		}
	}
	return false
}
