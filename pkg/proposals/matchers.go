// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/configdrift"
	"github.com/srenix/srenix/pkg/analyzers/crashloop"
	"github.com/srenix/srenix/pkg/analyzers/failedmounts"
	"github.com/srenix/srenix/pkg/analyzers/failedpods"
	"github.com/srenix/srenix/pkg/analyzers/imagepull"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/secretkeymissing"
	"github.com/srenix/srenix/pkg/analyzers/stuckjobs"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
)

// fix is what a matcher chooses.
type fix struct {
	action v1alpha1.ActionKind
	// tier and source are T1 and Rule if empty.
	tier      v1alpha1.Tier
	source    v1alpha1.Source
	target    v1alpha1.ObjectReference
	patch     *v1alpha1.Patch
	runbook   *v1alpha1.RunbookReference
	rationale string
	// plan is that of which it is a step.
	plan *v1alpha1.PlanStep
}

// matcher chooses a fix for a finding, or none where doing something cannot help.
type matcher func(view *live.View, finding *v1alpha1.Finding) (fix, bool)

// matchers are by analyzer and reason. What is not here has no proposal: the
// remediation text of the finding stands. leftFor is failedpods.LeftFor.
func matchers(leftFor time.Duration) map[[2]string]matcher {
	chosen := map[[2]string]matcher{
		{workloadstatedrift.Name, workloadstatedrift.OrdinalZeroNotReady}: first(freshPod, freshKept(outdated.Shown, stoppedPod)),
		{configdrift.Name, configdrift.ConfigurationChangedAfterStart}:    restartDeployment,
		{configdrift.Name, configdrift.ChecksumsDiffer}:                   restartDeployment,
		{stuckjobs.Name, stuckjobs.CannotStart}:                           freshJob,
		{stuckrollout.Name, stuckrollout.DeadlineExceeded}:                restartRollout,
		{stuckrollout.Name, stuckrollout.Stuck}:                           first(restartRollout, freshKept(outdated.Shown, anyPod)),
		{crashloop.Name, crashloop.Crashing}:                              first(freshKept(always(crashloop.HangsOn[crashloop.Crashing]), stoppedPod), freshCrashed),
		{failedpods.Name, failedpods.PodFailed}:                           leaving(leftBare, leftFor),
		{failedpods.Name, failedpods.JobPodsFailed}:                       leaving(leftOfJob, leftFor),
		{certexpiry.Name, certexpiry.RequestFailed}:                       freshRequest,
		{tlssecretmismatch.Name, tlssecretmismatch.BetterSecret}:          betterSecret,
	}
	for analyzer, reasons := range keepsFromStarting {
		for reason, hangsOn := range reasons {
			key := [2]string{analyzer, reason}
			if _, has := chosen[key]; !has {
				chosen[key] = freshKept(always(hangsOn), anyPod)
			}
		}
	}
	return chosen
}

// keepsFromStarting are the reasons of what keeps a pod from starting, by analyzer, with
// what each hangs on.
var keepsFromStarting = map[string]map[string][]inputs.TemplatePart{
	imagepull.Name: imagepull.HangsOn, secretkeymissing.Name: secretkeymissing.HangsOn, pendingpods.Name: pendingpods.HangsOn,
	failedmounts.Name: failedmounts.HangsOn, crashloop.Name: crashloop.HangsOn,
}

// first is the first of some matchers that offers something.
func first(of ...matcher) matcher {
	return func(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
		for _, match := range of {
			if chosen, offered := match(view, finding); offered {
				return chosen, true
			}
		}
		return fix{}, false
	}
}

// freshKept deletes a pod that its StatefulSet keeps, though what its trouble hangs on
// was changed in the template, or set back, since: the next one is made from that.
func freshKept(hangsOn func(*corev1.Pod) []inputs.TemplatePart, takes func(*corev1.Pod) bool) matcher {
	return func(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
		for _, related := range finding.Spec.Related {
			if related.Kind != "Pod" {
				continue
			}
			pod, exists := inputs.Pods.Get(view, live.Key{Namespace: related.Namespace, Name: related.Name})
			if !exists || pod.UID != related.UID || !takes(pod) {
				continue
			}
			if set, is := outdated.Of(view, pod, hangsOn(pod)); is && !mountsNothing(view, pod, set) {
				return fix{
					action: v1alpha1.ActionDeletePod, target: related.ObjectReference,
					rationale: fmt.Sprintf("Pod %s is of another revision of StatefulSet %s than the present one, and the controller waits for it to become Ready before it goes on. Once it is gone, the controller makes it anew from the present revision. %s",
						pod.Name, set.Name, stays(pod)),
				}, true
			}
		}
		return fix{}, false
	}
}

// stays tells what of a deleted pod the next one of its name has.
func stays(pod *corev1.Pod) string {
	if workloads.HasClaim(pod) {
		return "Its volume stays."
	}
	return "It has no volume that stays: what it keeps is lost."
}

func always(parts []inputs.TemplatePart) func(*corev1.Pod) []inputs.TemplatePart {
	return func(*corev1.Pod) []inputs.TemplatePart { return parts }
}

func anyPod(*corev1.Pod) bool { return true }

// stoppedPod leaves out a pod that runs, for findings that come soon.
func stoppedPod(pod *corev1.Pod) bool { return !outdated.Runs(pod) }

// freshPod deletes the stuck pod of ordinal zero, so that its controller makes a
// new one: one that runs, was Ready, and only is not any more. What
// crashes, waits for something or is still being set up would do the same again, or
// begin anew, as a database that recovers would; and on a node that does not answer
// nothing is replaced.
func freshPod(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	for _, related := range finding.Spec.Related {
		if related.Kind != "Pod" {
			continue
		}
		pod, exists := inputs.Pods.Get(view, live.Key{Namespace: related.Namespace, Name: related.Name})
		if !exists || pod.UID != related.UID || pod.DeletionTimestamp != nil || !workloads.Runs(view, pod) || workloads.NeverReady(pod) {
			return fix{}, false
		}
		return fix{
			action: v1alpha1.ActionDeletePod,
			target: related.ObjectReference,
			rationale: fmt.Sprintf("Pod %s is not Ready while the other members of %s are, so what they share works. The StatefulSet controller replaces a deleted pod by a fresh one of the same name. %s",
				pod.Name, finding.Spec.Subject.Name, stays(pod)),
		}, true
	}
	return fix{}, false
}

// restartDeployment rolls a Deployment whose pods run with a configuration as it was
// before, so that they take the present one over.
func restartDeployment(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	subject := finding.Spec.Subject
	if subject.Kind != "Deployment" {
		return fix{}, false
	}
	workload, exists := workloads.Deployment(view, live.Key{Namespace: subject.Namespace, Name: subject.Name})
	if !exists || workload.Meta.UID != subject.UID || workload.Meta.DeletionTimestamp != nil || !configdrift.Holds(view, workload) {
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionPatchDeploymentAnnotation,
		target: finding.Spec.Subject,
		patch:  &v1alpha1.Patch{SetAnnotation: &v1alpha1.SetAnnotation{Name: policy.RestartedAtAnnotation}},
		rationale: fmt.Sprintf("Pods of Deployment %s took their configuration over when they started, and it is another by now. A rolling restart, within its own update strategy, makes them take the present one.",
			subject.Name),
	}, true
}

// mountsNothing tells whether a pod waits for its volumes, and the next one of its
// StatefulSet would too: something that they are to show is not there.
func mountsNothing(view *live.View, pod *corev1.Pod, set *appsv1.StatefulSet) bool {
	_, waits := workloads.WaitsForVolumes(pod)
	return waits && slices.ContainsFunc(references.Mounted(pod.Namespace, &set.Spec.Template.Spec), func(item references.Item) bool {
		return references.Look(view, item).Lacks(item)
	})
}
