// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crashloop finds workloads with a container that ends again and again, or that
// cannot be created. It
// goes by the states that the kubelet reports, and does not forget a loop while the
// container runs for a moment between two waits.
package crashloop

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "CrashLoop"
	// Crashing means that a container of a workload ends again and again.
	Crashing = "ContainerCrashing"
	// NotCreated means that the runtime does not create a container of a workload.
	NotCreated = "ContainerNotCreated"

	standardStable   = 10 * time.Minute
	standardCritical = 10
	// protectedGrace is how long a loop may last in a protected namespace before it is
	// Critical: on a node that joins, containers crash until the network and others are
	// there.
	protectedGrace = 5 * time.Minute
	// jobGrace is how long a loop of a Job must last at least: with the back-off, the six
	// tries that a Job has by default are over sooner.
	jobGrace = time.Hour
	// row begins the name of the condition that a container was restarted and has not run
	// well since, which is when a loop began if it becomes one.
	row = "restarts of"
	// loop names the condition that some container of the workload is in a loop.
	loop = "loop"
)

// HangsOn are the parts of the template that each reason can come from.
var HangsOn = map[string][]inputs.TemplatePart{Crashing: {inputs.PartRun}, NotCreated: {inputs.PartRun}}

// Options of the analyzer.
type Options struct {
	// StableAfter is how long a container must have run for its restarts to be history; 10m by default.
	StableAfter *metav1.Duration `json:"stableAfter,omitempty"`
	// CriticalRestarts is the number of restarts beyond which a loop is Critical; 10 by default.
	CriticalRestarts *int32 `json:"criticalRestarts,omitempty"`
}

type analyzer struct {
	grace, stable time.Duration
	critical      int32
	protected     func(*corev1.Namespace) bool
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	options := Options{}
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(0), stable: standardStable, critical: standardCritical, protected: settings.Protected}
	if options.StableAfter != nil {
		a.stable = options.StableAfter.Duration
	}
	if options.CriticalRestarts != nil {
		a.critical = *options.CriticalRestarts
	}
	if a.stable <= 0 {
		return analyzers.Analyzer{}, errors.New("options: stableAfter must be more than 0s")
	}
	if a.critical < 0 {
		return analyzers.Analyzer{}, errors.New("options: criticalRestarts must be at least 0")
	}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{{
			Name: Crashing, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning, v1alpha1.SeverityCritical},
			Summary: "A container of a workload ends again and again.",
		}, {
			Name: NotCreated, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning},
			Summary: "A container of a workload cannot be created.",
		}},
		Rules: workloads.Rules(a.workload, append(outdated.Reads(), inputs.Namespaces.Ref())...),
	}, nil
}

// crash is one container in a loop.
type crash struct {
	pod    *corev1.Pod
	status *corev1.ContainerStatus
	since  time.Time
}

func (a analyzer) workload(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	found := a.uncreated(view, w)
	crashes := a.crashes(view, w)
	if len(crashes) == 0 {
		return found, nil
	}
	first := slices.MinFunc(crashes, func(x, y crash) int { return x.since.Compare(y.since) })
	// Pods that crash come and go while the workload goes on to.
	since := view.Began(loop, first.since)
	return append(found, a.finding(view, w, crashes, since)), nil
}

// crashes returns the containers that have been in a loop for the grace, by pod and in
// the order of their pod.
func (a analyzer) crashes(view *live.View, w workloads.Workload) (all []crash) {
	for _, pod := range w.Restarted(view) {
		if inputs.Finished(pod) {
			continue
		}
		for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range statuses {
				stands, until := a.judge(pod, &statuses[i], view.Now())
				view.RecheckAt(until)
				if stands == well {
					continue
				}
				since := view.FirstObserved(fmt.Sprintf("%s %s %s", row, pod.UID, statuses[i].Name))
				if stands == looping && a.counts(view, w, &statuses[i], since) {
					all = append(all, crash{pod, &statuses[i], since})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(x, y crash) int { return strings.Compare(x.pod.Name, y.pod.Name) })
	return all
}

// counts tells whether a loop has lasted long enough to be told of. A Job counts the
// restarts of its pods as tries and fails after its backoffLimit, so of its loops only
// those that nothing seems to end.
func (a analyzer) counts(view *live.View, w workloads.Workload, status *corev1.ContainerStatus, since time.Time) bool {
	if !tries(w) {
		return analyzers.Past(view, since.Add(a.grace))
	}
	return status.RestartCount > a.critical && analyzers.Past(view, since.Add(max(a.grace, jobGrace)))
}

// tries tells whether a workload runs its pods until they succeed.
func tries(w workloads.Workload) bool {
	return w.Reference.Kind == "Job" || w.Reference.Kind == "CronJob"
}

func (a analyzer) finding(view *live.View, w workloads.Workload, crashes []crash, since time.Time) v1alpha1.FindingSpec {
	severity := v1alpha1.SeverityWarning
	if namespace, exists := inputs.Namespaces.Get(view, live.Key{Name: w.Meta.Namespace}); exists && a.protected(namespace) && analyzers.Past(view, since.Add(protectedGrace)) {
		severity = v1alpha1.SeverityCritical
	}
	var containers []string
	var related []v1alpha1.RelatedObject
	var pods []*corev1.Pod
	for _, c := range crashes {
		if c.status.RestartCount > a.critical {
			severity = v1alpha1.SeverityCritical
		}
		containers = append(containers, c.status.Name)
		if n := len(related); n == 0 || related[n-1].Name != c.pod.Name {
			pods = append(pods, c.pod)
			related = append(related, v1alpha1.RelatedObject{Relation: "pod that crashes", ObjectReference: workloads.PodReference(c.pod)})
		}
	}
	first := crashes[0]
	message := fmt.Sprintf("%s %s of %s %s again and again", plural(containers, "Container"), workloads.Names(containers), w, verb(containers))
	if len(related) > 1 {
		message += ", in several pods"
	}
	if how := ending(lastEnd(first.status)); how != "" {
		message += fmt.Sprintf(". Container %s of pod %s %s", first.status.Name, first.pod.Name, how)
	}
	commands := []string{
		fmt.Sprintf("kubectl logs %s -n %s -c %s --previous --tail=100", first.pod.Name, first.pod.Namespace, first.status.Name),
		fmt.Sprintf("kubectl describe pod %s -n %s", first.pod.Name, first.pod.Namespace),
	}
	if w.Reference.Kind != "Pod" {
		commands = append(commands, "kubectl describe "+w.Argument())
	}
	if slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, w.Reference.Kind) {
		commands = append(commands, "kubectl rollout history "+w.Argument())
	}
	text := "Read what the container wrote before it ended, and mend that. If it crashes since a rollout, go back to the revision before."
	if tries(w) {
		text = "Read what the container wrote before it ended, and mend that. The template of a Job cannot be changed: if that is what is wrong, correct it where the Job is made, and delete the Job. A lower backoffLimit, or an activeDeadlineSeconds, ends such a Job by itself."
	}
	return v1alpha1.FindingSpec{
		Reason: Crashing, Severity: severity, Subject: w.Reference, Related: related, Message: message + ".",
		Remediation: outdated.Advise(view, outdated.Stopped(pods...), HangsOn[Crashing], v1alpha1.Remediation{
			Text:     text + " The kubelet waits up to 5 minutes between two starts, so a mended cause takes a while to show.",
			Commands: commands,
		}),
		Since: metav1.NewTime(since),
	}
}

// ending tells how a container ended. Numbers of restarts are left out: they change.
func ending(end *corev1.ContainerStateTerminated) string {
	switch {
	case end == nil:
		return ""
	case end.Reason == outOfMemory:
		return "was killed because it ran out of memory (OOMKilled)"
	case end.Reason == startError || end.Reason == containerCannotDo:
		return fmt.Sprintf("could not be started (%s)", end.Reason)
	case end.ExitCode == 0:
		return "ended successfully, and is one that has to go on"
	case end.ExitCode == 137:
		return "was killed (exit code 137), as the kubelet does after a failed liveness probe"
	case end.ExitCode > 128 && end.ExitCode < 160:
		return fmt.Sprintf("was ended by signal %d (exit code %d)", end.ExitCode-128, end.ExitCode)
	}
	return fmt.Sprintf("ended with exit code %d", end.ExitCode)
}

func distinct(names []string) int {
	return len(slices.Compact(slices.Sorted(slices.Values(names))))
}

func plural(names []string, noun string) string {
	if distinct(names) > 1 {
		return noun + "s"
	}
	return noun
}

func verb(names []string) string {
	if distinct(names) > 1 {
		return "end"
	}
	return "ends"
}
