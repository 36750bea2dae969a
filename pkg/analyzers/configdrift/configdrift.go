// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package configdrift finds workloads that run with another configuration than
// the cluster holds: a ConfigMap or Secret that pods took over when they
// started, and that changed since. It reads no value: the time of a change is in
// the metadata.
package configdrift

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
	Name = "ConfigDrift"
	// ConfigurationChangedAfterStart means that pods run with a ConfigMap or Secret as it was before its last change.
	ConfigurationChangedAfterStart = "ConfigurationChangedAfterStart"

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
		Reasons: []analyzers.Reason{{
			Name: ConfigurationChangedAfterStart, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo},
			Summary: "A ConfigMap or Secret used in env or as a subPath changed after the pods started.",
		}},
		Rules: workloads.Rules(a.judge, inputs.ConfigMaps.Ref(), inputs.Secrets.Ref()),
	}, nil
}

func (a analyzer) judge(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	restartable := slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, w.Reference.Kind)
	if !restartable || !w.Settled || reloads(w) {
		return nil, nil
	}
	return a.changedAfterStart(view, w), nil
}

func (a analyzer) changedAfterStart(view *live.View, w workloads.Workload) []v1alpha1.FindingSpec {
	used := frozen(&w.Template.Spec)
	if len(used) == 0 {
		return nil
	}
	started, running := oldestStart(view, w)
	if !running {
		return nil
	}
	var changed []string
	var related []v1alpha1.RelatedObject
	var newest metav1.Time
	for _, s := range used {
		object, exists := s.get(view, w.Meta.Namespace)
		if !exists {
			continue
		}
		at := inputs.Changed(object)
		if !at.After(started.Time) {
			continue
		}
		if end := at.Add(a.grace); view.Now().Before(end) {
			view.RecheckAt(end)
			continue
		}
		changed = append(changed, s.String())
		related = append(related, v1alpha1.RelatedObject{Relation: "changed after start", ObjectReference: v1alpha1.ObjectReference{
			APIVersion: "v1", Kind: s.kind, Namespace: w.Meta.Namespace, Name: s.name, UID: object.UID,
		}})
		if at.After(newest.Time) {
			newest = at
		}
	}
	if len(changed) == 0 {
		return nil
	}
	kind := strings.ToLower(w.Reference.Kind)
	return []v1alpha1.FindingSpec{{
		Reason: ConfigurationChangedAfterStart, Severity: v1alpha1.SeverityInfo, Subject: w.Reference, Related: related,
		Message: fmt.Sprintf("%s %s runs with the content that %s had when its pods started; it has changed since.",
			w.Reference.Kind, w.Reference.Name, list(changed)),
		Remediation: v1alpha1.Remediation{
			Text: "Restart the workload, so that its pods take the present content over.",
			Commands: []string{
				fmt.Sprintf("kubectl rollout restart %s %s -n %s", kind, w.Meta.Name, w.Meta.Namespace),
				fmt.Sprintf("kubectl rollout status %s %s -n %s", kind, w.Meta.Name, w.Meta.Namespace),
			},
		},
		Since: newest,
	}}
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

// oldestStart returns when the oldest of the workload's running pods started.
func oldestStart(view *live.View, w workloads.Workload) (oldest metav1.Time, running bool) {
	for _, pod := range w.Pods(view) {
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || pod.Status.StartTime == nil {
			continue
		}
		if start := *pod.Status.StartTime; !running || start.Before(&oldest) {
			oldest, running = start, true
		}
	}
	return oldest, running
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
