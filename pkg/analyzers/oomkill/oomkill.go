// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oomkill finds workloads whose containers are killed again and again for
// want of memory. The API shows only the last end of a container, so it remembers the
// kills that it has seen, and counts nothing that it has not.
package oomkill

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "OOMKill"
	// Repeated means that a container of a workload was killed several times for want of memory.
	Repeated = "RepeatedOOMKills"

	standardThreshold = 3
	standardWindow    = 24 * time.Hour
	// most bounds what is remembered of a container.
	most = 10
)

// Options of the analyzer.
type Options struct {
	// Kills is how many kills of one container, in whatever pods, make a finding; 3 by default, and 10 at most.
	Kills *int32 `json:"kills,omitempty"`
	// Window is within which time they must have happened; 24h by default.
	Window *metav1.Duration `json:"window,omitempty"`
}

type analyzer struct {
	threshold int32
	window    time.Duration
	managed   workloads.ManagedBy
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	options := Options{}
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{threshold: standardThreshold, window: standardWindow, managed: settings.ManagedBy}
	if options.Kills != nil {
		a.threshold = *options.Kills
	}
	if options.Window != nil {
		a.window = options.Window.Duration
	}
	if a.threshold < 2 || a.threshold > most {
		return analyzers.Analyzer{}, fmt.Errorf("options: kills must be between 2 and %d", most)
	}
	if a.window <= 0 {
		return analyzers.Analyzer{}, errors.New("options: window must be more than 0s")
	}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{{
			Name: Repeated, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning},
			Summary: "A container of a workload was killed several times within a day for want of memory.",
		}},
		Rules: workloads.Rules(a.workload, inputs.Jobs.Ref(), inputs.CronJobs.Ref()),
	}, nil
}

// container is what is known of one container in all pods of a workload.
type container struct {
	kills int32
	// pods are those in which it was killed, by name.
	pods []*corev1.Pod
}

func (a analyzer) workload(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	pods := w.Restarted(view)
	if _, seen := view.Observed(anyKilled); !seen && !slices.ContainsFunc(pods, toldKilled) {
		return nil, nil // however often they were restarted
	}
	var done *time.Time
	all := map[string]*container{}
	for _, pod := range pods {
		for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range statuses {
				for _, at := range a.kills(view, pod, &statuses[i]) {
					view.FirstObserved(anyKilled)
					if done == nil {
						succeeded := lastSuccess(view, w)
						done = &succeeded
					}
					if !a.recent(view, at) || !at.After(*done) {
						continue
					}
					note(all, statuses[i].Name, pod)
				}
			}
		}
	}
	maps.DeleteFunc(all, func(_ string, c *container) bool { return c.kills < a.threshold })
	if len(all) == 0 {
		return nil, nil
	}
	return []v1alpha1.FindingSpec{a.finding(w, all, view.FirstObserved(Repeated))}, nil
}

func note(all map[string]*container, name string, pod *corev1.Pod) {
	if all[name] == nil {
		all[name] = &container{}
	}
	all[name].kills++
	if !slices.Contains(all[name].pods, pod) {
		all[name].pods = append(all[name].pods, pod)
	}
}

// lastSuccess is when a Job, or the last one of a CronJob, succeeded: kills before
// that are history. Zero of all else.
func lastSuccess(view *live.View, w workloads.Workload) time.Time {
	key := live.Key{Namespace: w.Meta.Namespace, Name: w.Meta.Name}
	switch w.Reference.Kind {
	case "CronJob":
		if cronJob, exists := inputs.CronJobs.Get(view, key); exists && cronJob.Status.LastSuccessfulTime != nil {
			return cronJob.Status.LastSuccessfulTime.Time
		}
	case "Job":
		job, exists := inputs.Jobs.Get(view, key)
		if !exists {
			return time.Time{}
		}
		for _, condition := range job.Status.Conditions {
			if condition.Type == batchv1.JobComplete && condition.Status == corev1.ConditionTrue {
				return condition.LastTransitionTime.Time
			}
		}
	}
	return time.Time{}
}

func (a analyzer) finding(w workloads.Workload, all map[string]*container, since time.Time) v1alpha1.FindingSpec {
	names := slices.Sorted(maps.Keys(all))
	pods := map[string]*corev1.Pod{}
	for _, c := range all {
		for _, pod := range c.pods {
			pods[pod.Name] = pod
		}
	}
	var related []v1alpha1.RelatedObject
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		related = append(related, v1alpha1.RelatedObject{Relation: "pod that was killed", ObjectReference: workloads.PodReference(pods[name])})
	}
	first := slices.MinFunc(all[names[0]].pods, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	instead, edit := a.managed.Template(w)
	return v1alpha1.FindingSpec{
		Reason: Repeated, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Related: related,
		Message: fmt.Sprintf("The kernel killed %s of %s %d times or more within %s, because its memory was used up (OOMKilled): its limit, or all that its node has.",
			listed(names), w, a.threshold, duration.HumanDuration(a.window)),
		Remediation: v1alpha1.Remediation{
			Text: "See which limit the container has and what it needs, and raise the limit or mend what takes the memory. If its use is below the limit, its node has too little: set a request that is what it uses." + instead,
			Commands: append([]string{
				fmt.Sprintf("kubectl describe pod %s -n %s", first.Name, first.Namespace),
				fmt.Sprintf("kubectl logs %s -n %s -c %s --previous --tail=100", first.Name, first.Namespace, names[0]),
			}, edit...),
		},
		Since: metav1.NewTime(since),
	}
}

func listed(names []string) string {
	if len(names) == 1 {
		return "container " + names[0]
	}
	return "each of the containers " + workloads.Names(names)
}
