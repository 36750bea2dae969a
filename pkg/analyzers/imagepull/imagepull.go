// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package imagepull finds images that workloads cannot have, and tells apart whether
// the registry denies them, does not have them, cannot be reached, or has had enough.
package imagepull

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
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
	Name = "ImagePull"
	// AuthenticationFailed means that the registry denies access.
	AuthenticationFailed = "ImageAuthenticationFailed"
	// NotFound means that the registry has no such image.
	NotFound = "ImageNotFound"
	// RegistryUnreachable means that the network, a name or a certificate is in the way.
	RegistryUnreachable = "ImageRegistryUnreachable"
	// RateLimited means that the registry's limit of pulls is used up.
	RateLimited = "ImagePullRateLimited"
	// NameInvalid means that the name is none of an image.
	NameInvalid = "ImageNameInvalid"
	// NeverPulled means that the image is not on the node and may not be pulled.
	NeverPulled = "ImageNeverPulled"
	// PullFailed means that the pull fails for another reason.
	PullFailed = "ImagePullFailed"

	standardGrace = time.Minute
)

// HangsOn are the parts of the template that each reason can come from. A registry that
// cannot be reached, or has had enough, lets no other image of it through either; and
// one that denies access denies it to all tags of a repository.
var HangsOn = map[string][]inputs.TemplatePart{
	AuthenticationFailed: {inputs.PartRepository, inputs.PartPullSecrets},
	NotFound:             {inputs.PartImage},
	RegistryUnreachable:  {inputs.PartRegistry},
	RateLimited:          {inputs.PartRegistry, inputs.PartPullSecrets},
	NameInvalid:          {inputs.PartImage},
	NeverPulled:          {inputs.PartImage, inputs.PartPullPolicy},
	PullFailed:           {inputs.PartImage},
}

type analyzer struct {
	grace   time.Duration
	managed workloads.ManagedBy
}

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), managed: settings.ManagedBy}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: AuthenticationFailed, Severities: warning, Summary: "An image cannot be pulled, because the registry denies access."},
			{Name: NotFound, Severities: warning, Summary: "An image cannot be pulled, because the registry does not have it."},
			{Name: RegistryUnreachable, Severities: warning, Summary: "An image cannot be pulled, because the registry cannot be reached or trusted."},
			{Name: RateLimited, Severities: warning, Summary: "An image cannot be pulled, because the registry's limit of pulls is used up."},
			{Name: NameInvalid, Severities: warning, Summary: "An image cannot be pulled, because its name is not valid."},
			{Name: NeverPulled, Severities: warning, Summary: "An image is not on the node, and must not be pulled."},
			{Name: PullFailed, Severities: warning, Summary: "An image cannot be pulled for another reason."},
		},
		Rules: workloads.Rules(a.workload, append(outdated.Reads(), inputs.Events.Ref(), inputs.Secrets.Ref())...),
	}, nil
}

// pull is one image that pods of a workload cannot have.
type pull struct {
	image string
	cause cause
	pods  []*corev1.Pod
	since time.Time
	// past tells that one of the pods has waited for the grace.
	past bool
}

func (a analyzer) workload(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	pods := w.Troubled(view)
	slices.SortFunc(pods, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	pulls := map[string]*pull{}
	for _, pod := range pods {
		if inputs.Finished(pod) {
			continue
		}
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			wait := status.State.Waiting
			if wait == nil || status.Image == "" {
				continue
			}
			if _, about := waits[wait.Reason]; !about || corrected(view, w, pod, status.Name) {
				continue
			}
			why := cause{reason: PullFailed}
			if !strings.Contains(wait.Message, throttled) {
				why = causeOf(wait, status.Image, inputs.Events.ByIndex(view, inputs.ByInvolved, string(pod.UID)))
			} else if _, waited := view.Observed(status.Image); !waited {
				continue
			}
			note(pulls, status.Image, why, pod)
			// No object tells since when it waits for an image, so the grace is measured
			// from when that was first seen. A pull that fails once is no trouble, even if
			// those of one pod after the other do.
			if analyzers.Past(view, view.FirstObserved(status.Image+" "+string(pod.UID)).Add(a.grace)) {
				pulls[status.Image].past = true
			}
		}
	}
	var found []v1alpha1.FindingSpec
	for _, image := range slices.Sorted(maps.Keys(pulls)) {
		reason := steady(view, pulls[image])
		view.FirstObserved(image)
		// Pods come and go while the workload goes on to wait.
		if _, told := view.Observed(image + " is told"); told || pulls[image].past {
			view.FirstObserved(image + " is told")
			found = append(found, a.finding(view, w, pulls[image], reason))
		}
	}
	return found, nil
}

// corrected tells whether a pod of a CronJob waits for an image that the CronJob does
// not name any more. What holds it up then is its Job, of which StuckJobs tells.
func corrected(view *live.View, w workloads.Workload, pod *corev1.Pod, container string) bool {
	if w.Reference.Kind != "CronJob" {
		return false
	}
	return slices.ContainsFunc(inputs.Jobs.ByIndex(view, inputs.ByController, inputs.Controls(w.Meta.UID)), func(job *batchv1.Job) bool {
		return metav1.IsControlledBy(pod, job) && workloads.Corrected(container, true, &job.Spec.Template.Spec, &w.Template.Spec)
	})
}

// steady returns the reason of a pull's finding: while the kubelet backs off, or only
// some of its events are there, nobody says why, and one registry may say several things.
func steady(view *live.View, p *pull) string {
	told := p.cause.reason
	if told == PullFailed {
		told = ""
	}
	reason := analyzers.Steady(view, p.image, told, order[:len(order)-1])
	if told == "" && reason != "" {
		p.cause = cause{reason: reason}
	}
	return cmp.Or(reason, PullFailed)
}

func note(pulls map[string]*pull, image string, why cause, pod *corev1.Pod) {
	since := readySince(pod)
	p := pulls[image]
	if p == nil {
		p = &pull{image: image, cause: why, since: since}
		pulls[image] = p
	}
	rank := func(c cause) int { return slices.Index(order, c.reason) }
	if cmp.Or(cmp.Compare(rank(why), rank(p.cause)), strings.Compare(why.String(), p.cause.String())) < 0 {
		p.cause = why
	}
	if since.Before(p.since) {
		p.since = since
	}
	if !slices.Contains(p.pods, pod) {
		p.pods = append(p.pods, pod)
	}
}

// readySince is since when a pod is as it is: its Ready condition turned when it came
// to its node, or when its container ended.
func readySince(pod *corev1.Pod) time.Time {
	if at := inputs.ConditionOfPod(pod, corev1.PodReady).LastTransitionTime; !at.IsZero() {
		return at.Time
	}
	if pod.Status.StartTime != nil {
		return pod.Status.StartTime.Time
	}
	return pod.CreationTimestamp.Time
}

func (a analyzer) finding(view *live.View, w workloads.Workload, p *pull, reason string) v1alpha1.FindingSpec {
	first := p.pods[0]
	if p.since.IsZero() {
		p.since = view.FirstObserved(p.image)
	}
	message := fmt.Sprintf("Image %s of %s cannot be had: %s", p.image, w, p.cause)
	var related []v1alpha1.RelatedObject
	for _, pod := range p.pods {
		related = append(related, v1alpha1.RelatedObject{Relation: "pod that waits", ObjectReference: workloads.PodReference(pod)})
	}
	describe := fmt.Sprintf("kubectl describe pod %s -n %s", first.Name, first.Namespace)
	text, commands := a.advice(w, p)
	if p.cause.reason == AuthenticationFailed {
		var tried string
		var secrets []v1alpha1.RelatedObject
		if !view.Try(func() { tried, secrets = pullSecrets(view, first) }) {
			tried, secrets = fmt.Sprintf("Which pull secrets of pod %s exist cannot be seen", first.Name), nil
		}
		message += ". " + tried
		related = append(secrets, related...)
		commands = append(commands, secretCommands(first)...)
	}
	remediation := v1alpha1.Remediation{Text: text, Commands: append([]string{describe}, commands...)}
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Discriminator: p.image, Related: related,
		Message:     message + ".",
		Remediation: outdated.Advise(view, p.pods, HangsOn[reason], remediation),
		Since:       metav1.NewTime(p.since),
	}
}

// advice is what to do about it, and where.
func (a analyzer) advice(w workloads.Workload, p *pull) (text string, commands []string) {
	instead, edit := a.managed.Template(w)
	undo := slices.Clone(edit)
	if slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, w.Reference.Kind) {
		undo = append(undo, "kubectl rollout history "+w.Argument())
	}
	switch p.cause.reason {
	case AuthenticationFailed:
		return "See that the pull secret is there, is for this registry, and is not out of date. A pod takes the pull secrets over from its service account when it is made, so pods have to be made anew after that has changed.", nil
	case NotFound:
		return "See whether the name and the tag are right, and whether the image was pushed, for the architecture of the nodes too. Name one that exists, or go back to the revision before." + instead, undo
	case RateLimited:
		return "It heals when the limit allows more. Pull through a cache of one's own or with an account that has a higher limit, and do not use the pull policy Always where it is not needed." + instead, edit
	case RegistryUnreachable:
		return "See whether the node reaches the registry: its DNS, its proxy, its firewall, and the authorities that it trusts.", []string{"kubectl get nodes -o wide"}
	case NameInvalid:
		return "Write the name as REGISTRY/REPOSITORY:TAG, in lower case." + instead, undo
	case NeverPulled:
		return "Put the image on the node, or change the pull policy to IfNotPresent." + instead, undo
	}
	return "Read what the runtime of the node says.", []string{fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.name=%s", p.pods[0].Namespace, p.pods[0].Name)}
}
