// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package failedpods finds pods that failed and that nobody replaces: those without a
// controller, and those of Jobs that have given up. Pods that another has replaced are
// history, and worth a word only where they pile up.
package failedpods

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
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
	Name = "FailedPods"
	// PodFailed means that a pod without a controller failed.
	PodFailed = "PodFailed"
	// JobPodsFailed means that a Job failed for good: its failed pods are there to tell
	// why, or the controller of Jobs has deleted them itself.
	JobPodsFailed = "JobPodsFailed"
	// EvictedPods means that pods which their nodes ended, and others replaced, pile up.
	EvictedPods = "EvictedPods"

	standardGrace   = 5 * time.Minute
	standardPile    = 5
	standardLeftFor = time.Hour
)

// Options of the analyzer.
type Options struct {
	// Pile is how many replaced pods of one namespace make a finding; 5 by default.
	Pile *int `json:"pile,omitempty"`
	// LeftFor is how long a failed pod is left to those who want to read what it wrote,
	// before it is proposed to delete it; 1h by default.
	LeftFor *metav1.Duration `json:"leftFor,omitempty"`
}

// LeftFor returns how long a failed pod is left before it is proposed to delete it.
func LeftFor(settings analyzers.Settings) (time.Duration, error) {
	options := Options{}
	if err := settings.Options(&options); err != nil {
		return 0, err
	}
	if options.LeftFor == nil {
		return standardLeftFor, nil
	}
	if options.LeftFor.Duration <= 0 {
		return 0, errors.New("options: leftFor must be more than 0s")
	}
	return options.LeftFor.Duration, nil
}

type analyzer struct {
	grace   time.Duration
	pile    int
	managed workloads.ManagedBy
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	options := Options{}
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), pile: standardPile, managed: settings.ManagedBy}
	if options.Pile != nil {
		a.pile = *options.Pile
	}
	if a.pile < 1 {
		return analyzers.Analyzer{}, errors.New("options: pile must be at least 1")
	}
	if _, err := LeftFor(settings); err != nil {
		return analyzers.Analyzer{}, err
	}
	rules := workloads.Rules(a.workload, inputs.Jobs.Ref())
	rules = slices.DeleteFunc(rules, func(rule analyzers.Rule) bool {
		return !slices.Contains([]live.KindRef{inputs.Pods.Ref(), inputs.CronJobs.Ref()}, rule.Subject)
	})
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: PodFailed, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A pod without a controller failed, and nobody makes another."},
			{Name: JobPodsFailed, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A Job, the last one of a CronJob, or Jobs of another owner failed for good."},
			{Name: EvictedPods, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}, Summary: "Pods that their nodes ended, and others replaced, pile up in a namespace."},
		},
		Derivations: []live.Rule{attemptRule()},
		Rules: append(rules,
			analyzers.Rule{Subject: attempts.Ref(), Reads: []live.KindRef{inputs.Jobs.Ref(), inputs.Pods.Ref()}, Analyze: a.lone},
			analyzers.Rule{Subject: inputs.Namespaces.Ref(), Reads: []live.KindRef{attempts.Ref(), inputs.Jobs.Ref(), inputs.Pods.Ref()}, Analyze: a.namespace},
		),
	}, nil
}

func (a analyzer) workload(view *live.View, w workloads.Workload) ([]v1alpha1.FindingSpec, error) {
	switch w.Reference.Kind {
	case "Pod":
		return a.bare(view, w), nil
	case "CronJob":
		return a.cronJob(view, w), nil
	}
	return nil, nil
}

// bare tells whether a pod failed that has no controller.
func (a analyzer) bare(view *live.View, w workloads.Workload) []v1alpha1.FindingSpec {
	failed := failedOf(w.Troubled(view))
	if len(failed) != 1 || !inputs.BarePod(failed[0]) {
		return nil // static pods, and those of other projects' controllers, are theirs to judge
	}
	pod := failed[0]
	since := failedAt(pod)
	if since.IsZero() {
		since = view.FirstObserved(PodFailed)
	}
	if !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: PodFailed, Severity: v1alpha1.SeverityWarning, Subject: w.Reference,
		Message: fmt.Sprintf("Pod %s failed: %s. It has no controller, so nobody makes another.", pod.Name, why(pod)),
		Remediation: v1alpha1.Remediation{
			Text: "Read what it wrote. Keep what it is made of, which the third command prints, unless you have that elsewhere: nobody makes it again. If it is still needed, make it again, better through a Job or a Deployment. Then delete what is left of it.",
			Commands: []string{
				fmt.Sprintf("kubectl describe pod %s -n %s", pod.Name, pod.Namespace),
				fmt.Sprintf("kubectl logs %s -n %s --all-containers --tail=100", pod.Name, pod.Namespace),
				fmt.Sprintf("kubectl get pod %s -n %s -o yaml", pod.Name, pod.Namespace),
				fmt.Sprintf("kubectl delete pod %s -n %s", pod.Name, pod.Namespace),
			},
		},
		Since: metav1.NewTime(since),
	}}
}

// cronJob tells whether the last Job of a CronJob that ended failed for good.
func (a analyzer) cronJob(view *live.View, w workloads.Workload) []v1alpha1.FindingSpec {
	if !w.Settled {
		return nil // while it is suspended it is not tried again
	}
	jobs := inputs.Jobs.ByIndex(view, inputs.ByController, inputs.Controls(w.Meta.UID))
	job, since, pods := workloads.LastFailure(view, jobs)
	if job == nil || workloads.Outdone(view, job) {
		return a.unseen(view, w, jobs)
	}
	// The Job that succeeded since may be gone already (successfulJobsHistoryLimit).
	cronJob, exists := inputs.CronJobs.Get(view, live.Key{Namespace: w.Meta.Namespace, Name: w.Meta.Name})
	if exists && cronJob.Status.LastSuccessfulTime != nil && !cronJob.Status.LastSuccessfulTime.Time.Before(since) {
		return nil
	}
	since = view.Began(JobPodsFailed, since) // the next failure is the same trouble, and has no grace of its own
	if clearedAway(view, job, pods) || len(pods) == 0 && leftToStuckJobs(view, w, job) || !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	how, remediation := failure(job, pods)
	if len(pods) > 0 {
		how = "Of its pods: " + why(pods[0]) // the next Job has others, in the same trouble
	}
	remediation.Commands = append(remediation.Commands, "kubectl describe "+w.Argument())
	return []v1alpha1.FindingSpec{{
		Reason: JobPodsFailed, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Related: failedPods(pods),
		Message:     fmt.Sprintf("The last Job of %s failed, and is not tried again. %s.", w, how),
		Remediation: remediation,
		Since:       metav1.NewTime(since),
	}}
}

// unseen tells whether the last run of a CronJob did not succeed, and nothing is left of
// it: Jobs that failed may be deleted at once, or after some seconds. It stays while the
// next one runs.
func (a analyzer) unseen(view *live.View, w workloads.Workload, jobs []*batchv1.Job) []v1alpha1.FindingSpec {
	cronJob, exists := inputs.CronJobs.Get(view, live.Key{Namespace: w.Meta.Namespace, Name: w.Meta.Name})
	if !exists || cronJob.Status.LastSuccessfulTime == nil {
		return nil // StuckJobs tells that none ever did
	}
	at, before := view.Observed(JobPodsFailed)
	succeeded := cronJob.Status.LastSuccessfulTime.After(at) || slices.ContainsFunc(jobs, func(job *batchv1.Job) bool {
		ended, so := workloads.Ended(job, batchv1.JobComplete)
		return so && ended.After(at)
	})
	runs := slices.ContainsFunc(jobs, func(job *batchv1.Job) bool { return !workloads.Over(job) })
	if stays := before && runs && !succeeded; !stays && !workloads.Unsuccessful(cronJob, jobs) {
		return nil
	}
	since := view.FirstObserved(JobPodsFailed)
	if !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	instead, edit := a.managed.Template(w)
	return []v1alpha1.FindingSpec{{
		Reason: JobPodsFailed, Severity: v1alpha1.SeverityWarning, Subject: w.Reference,
		Message: fmt.Sprintf("The last Job of %s that is over did not succeed, and nothing is left of it to tell why.", w),
		Remediation: v1alpha1.Remediation{
			Text: "What its pods wrote is where the cluster's logs are kept, if anywhere. To have the next failure leave them, raise failedJobsHistoryLimit or the jobTemplate's ttlSecondsAfterFinished." + instead,
			Commands: append([]string{
				"kubectl describe " + w.Argument(),
				fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=CronJob,involvedObject.name=%s", w.Meta.Namespace, w.Meta.Name),
			}, edit...),
		},
		Since: metav1.NewTime(since),
	}}
}

// clearedAway tells whether the pods that a failed Job had left are gone: somebody knows
// of it. Those that went before it failed, as with a node that was drained, tell nobody.
func clearedAway(view *live.View, job *batchv1.Job, pods []*corev1.Pod) bool {
	left := "pods of Job " + string(job.UID) + " were left"
	if _, before := view.Observed(left); len(pods) == 0 && !before {
		return false
	}
	view.FirstObserved(left)
	return len(pods) == 0
}

// leftToStuckJobs tells whether there is nothing to say of a Job but that its CronJob
// never succeeded, which StuckJobs says.
func leftToStuckJobs(view *live.View, w workloads.Workload, job *batchv1.Job) bool {
	if workloads.DeletesItsPods(job) {
		return false
	}
	cronJob, exists := inputs.CronJobs.Get(view, live.Key{Namespace: w.Meta.Namespace, Name: w.Meta.Name})
	return exists && cronJob.Status.LastSuccessfulTime == nil
}

// failure tells how a Job failed that has left some pods, and what to do about it.
func failure(job *batchv1.Job, pods []*corev1.Pod) (how string, remediation v1alpha1.Remediation) {
	how = whyOfJob("It", job)
	remediation = v1alpha1.Remediation{
		Text: "Its pods are gone, and what they wrote is where the cluster's logs are kept, if anywhere. Mend why it failed. A Job that failed is not started again: make another.",
		Commands: []string{
			fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=Job,involvedObject.name=%s", job.Namespace, job.Name),
		},
	}
	if len(pods) > 0 {
		how = "Of its pod " + pods[0].Name + ": " + why(pods[0])
		remediation = v1alpha1.Remediation{
			Text:     "Read what its pods wrote and mend that. A Job that failed is not started again: make another.",
			Commands: []string{fmt.Sprintf("kubectl logs %s -n %s --all-containers --tail=100", pods[0].Name, pods[0].Namespace)},
		}
	}
	remediation.Commands = append(remediation.Commands, fmt.Sprintf("kubectl describe job %s -n %s", job.Name, job.Namespace))
	return how, remediation
}

func failedPods(pods []*corev1.Pod) (related []v1alpha1.RelatedObject) {
	for _, pod := range pods {
		related = append(related, v1alpha1.RelatedObject{Relation: "failed pod", ObjectReference: workloads.PodReference(pod)})
	}
	return related
}

// namespace tells what is wrong with several of the namespace's pods or Jobs together.
func (a analyzer) namespace(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	namespace, exists := inputs.Namespaces.Get(view, subject)
	if !exists || namespace.DeletionTimestamp != nil {
		return nil, nil
	}
	return append(a.piled(view, namespace), a.owned(view, namespace.Name)...), nil
}

// piled tells whether pods that their nodes ended, and others replaced, pile up.
func (a analyzer) piled(view *live.View, namespace *corev1.Namespace) []v1alpha1.FindingSpec {
	replaced := 0
	var reasons []string
	for _, pod := range failedOf(inputs.Pods.ByIndex(view, inputs.ByTroubledNamespace, namespace.Name)) {
		if pod.DeletionTimestamp == nil && !inputs.BarePod(pod) && endedByNode(pod) {
			replaced++
			reasons = append(reasons, pod.Status.Reason)
		}
	}
	if replaced < a.pile {
		return nil
	}
	commands := []string{
		fmt.Sprintf("kubectl get pods -n %s --field-selector status.phase=Failed -o wide", namespace.Name),
		"kubectl describe nodes",
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	for _, reason := range reasons {
		commands = append(commands, fmt.Sprintf("kubectl get pods -n %s --field-selector status.phase=Failed -o %s | awk %s | xargs -r kubectl delete -n %s",
			namespace.Name, analyzers.Quote("jsonpath="+withController), analyzers.Quote(namesOf(reason)), namespace.Name))
	}
	return []v1alpha1.FindingSpec{{
		Reason: EvictedPods, Severity: v1alpha1.SeverityInfo,
		Subject: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: namespace.Name, UID: namespace.UID},
		Message: fmt.Sprintf("Pods that their nodes ended (%s) pile up in namespace %s. Their controllers have made others; these are left over, and tell that nodes run short or go away.",
			workloads.Names(reasons), namespace.Name),
		Remediation: v1alpha1.Remediation{
			Text:     "See why the nodes ended them: too little memory or disk, or nodes that are shut down. Set requests that are what the pods use. What is left over can be deleted, reason by reason; other failed pods of the namespace stay, and those without a controller, which nobody makes again.",
			Commands: commands,
		},
		Since: metav1.NewTime(view.FirstObserved(EvictedPods)),
	}}
}

// withController is the template that prints of each pod of a list its name, its reason
// and the kind of its controller, which is empty of a pod that nobody makes again.
const withController = `{range .items[*]}pod/{.metadata.name}{" "}{.status.reason}{" "}{range .metadata.ownerReferences[?(@.controller==true)]}{.kind}{end}{"\n"}{end}`

// namesOf is the program for awk that picks, of that, the pods with a controller that
// failed for a reason, which no field selector knows.
func namesOf(reason string) string { return fmt.Sprintf(`$2==%q && $3 {print $1}`, reason) }

// failedOf returns those of the pods that failed, by name.
func failedOf(pods []*corev1.Pod) []*corev1.Pod {
	var failed []*corev1.Pod
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodFailed {
			failed = append(failed, pod)
		}
	}
	slices.SortFunc(failed, func(x, y *corev1.Pod) int { return strings.Compare(x.Name, y.Name) })
	return failed
}
