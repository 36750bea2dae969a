// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package gitopsdrift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// reconciled is an object of Flux, with what tells how it is reconciled.
type reconciled struct {
	*unstructured.Unstructured
	// kind is the collection that it is of, and those are that it depends on.
	kind live.Kind[*unstructured.Unstructured]
	// ready is the condition of this name.
	ready inputs.Condition
	// cause is the condition that tells why it is not Ready; ready itself as a rule.
	cause inputs.Condition
	// command is how flux calls the kind.
	command string
	// once is flux' flag to have it reconcile at once, and again to have it reconcile
	// what it gave up.
	once, again string
	// patience is how long one attempt may take.
	patience time.Duration
	// fetched tells that it is a source, which others apply.
	fetched bool
}

// flux makes the function of a rule out of the judgment of one object. Objects that
// are being deleted, and those of which nothing is known, are not judged.
func flux(kind live.Kind[*unstructured.Unstructured], judge func(*live.View, reconciled) []v1alpha1.FindingSpec) func(*live.View, live.Key) ([]v1alpha1.FindingSpec, error) {
	return func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
		object, exists := kind.Get(view, subject)
		if !exists || object.GetDeletionTimestamp() != nil {
			return nil, nil
		}
		ready, _ := inputs.ConditionOf(object, "Ready")
		return judge(view, reconciled{Unstructured: object, kind: kind, ready: ready, cause: ready}), nil
	}
}

func (a analyzer) kustomization(view *live.View, object reconciled) []v1alpha1.FindingSpec {
	object.command, object.once, object.again = "kustomization", withSource, withSource
	object.patience = object.duration("spec", "timeout")
	if object.patience == 0 {
		object.patience = object.duration("spec", "interval")
	}
	return a.reconciled(view, object)
}

func (a analyzer) helmRelease(view *live.View, object reconciled) []v1alpha1.FindingSpec {
	object.command, object.once, object.again = "helmrelease", withSource, "--reset"
	object.patience = max(5*time.Minute, object.duration("spec", "timeout")) // the default, of helm-controller's API
	for _, action := range []string{"install", "upgrade", "test", "rollback", "uninstall"} {
		object.patience = max(object.patience, object.duration("spec", action, "timeout"))
	}
	// After a rollback or the like, Ready tells about that and not about what
	// failed, which Released still does (helm-controller, summarize).
	remediated, _ := inputs.ConditionOf(object.Unstructured, "Remediated")
	released, _ := inputs.ConditionOf(object.Unstructured, "Released")
	if released.Status == "False" && remediated.Reason != "" && remediated.Reason == object.ready.Reason {
		object.cause = released
	}
	return a.reconciled(view, object)
}

// withSource has the source fetched before.
const withSource = "--with-source"

// duration is one in Go's notation; 0 if there is none.
func (r reconciled) duration(path ...string) time.Duration {
	d, err := time.ParseDuration(inputs.TextAt(r.Unstructured, path...))
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// unobserved tells whether Ready is about an earlier generation. The generation of
// the status is of no use: it moves only once a reconcile succeeds.
func (r reconciled) unobserved() bool {
	return r.ready.ObservedGeneration > 0 && r.ready.ObservedGeneration < r.GetGeneration()
}

// String is how a sentence names it.
func (r reconciled) String() string { return r.GetKind() + " " + r.GetName() }

func (a analyzer) reconciled(view *live.View, object reconciled) []v1alpha1.FindingSpec {
	if suspended(object.Unstructured) {
		since := view.FirstObserved(Suspended)
		spec := object.finding(Suspended, v1alpha1.SeverityInfo, since,
			fmt.Sprintf("%s is suspended: Flux does not %s.", object, object.task()))
		spec.Remediation.Text = "Resume it, or leave it so for as long as that is meant."
		spec.Remediation.Commands = []string{object.flux("resume", ""), describe(object.Unstructured)}
		return []v1alpha1.FindingSpec{spec}
	}
	return append(a.stalled(view, object, a.notReady(view, object)), a.stuck(view, object)...)
}

// task is what Flux does with it.
func (r reconciled) task() string {
	if r.fetched {
		return "fetch what is new of it"
	}
	return "apply what its source says"
}

// failure is how bad it is that reconciling fails. What was fetched last stays applied.
func (r reconciled) failure() v1alpha1.Severity {
	if r.fetched {
		return v1alpha1.SeverityWarning
	}
	return v1alpha1.SeverityCritical
}

// What an object is observed to do while it is not Ready: fail at what it tries, not get
// at what it is to apply, or wait for others.
const (
	failing = "failing"
	untried = "untried"
	waiting = "waiting"
)

// artifactFailed is the reason of what could not get at what it is to apply: its source
// has no artifact, or the artifact has no such path (kustomize-controller, reconcile).
const artifactFailed = "ArtifactFailed"

// fetching is how long an attempt may take to get at its artifact: the controllers try
// that nine times, at most half a minute apart (fluxcd/pkg, http/fetch).
const fetching = 5 * time.Minute

// standing tells what an object does that is not Ready, and how bad that is. What failed
// before its artifact was gone goes on failing.
func (r reconciled) standing(view *live.View) (condition string, severity v1alpha1.Severity) {
	if !strings.HasSuffix(r.cause.Reason, "Failed") {
		return waiting, v1alpha1.SeverityWarning
	}
	if _, failed := view.Observed(failing); r.cause.Reason == artifactFailed && !failed {
		return untried, r.failure()
	}
	return failing, r.failure()
}

// notReady judges the condition Ready. Each attempt sets it to Unknown, and to
// False again where it fails (kustomize-controller, reconcile): its times tell
// about attempts, so the beginning is when it was first seen to fail.
func (a analyzer) notReady(view *live.View, object reconciled) []v1alpha1.FindingSpec {
	switch {
	case object.ready.Status == "True" || object.ready.Status == "":
		return nil
	case object.ready.Status == "False" && !object.unobserved():
		condition, severity := object.standing(view)
		since := view.Began(condition, object.ready.LastTransition)
		if !past(view, since.Add(a.grace)) || toldOfSource(view, object) ||
			object.ready.Reason == dependencyNotReady && waitsFor(view, object.kind, object.Unstructured, map[live.Key]bool{}) {
			return nil
		}
		spec := object.finding(NotReady, severity, since,
			fmt.Sprintf("%s is not Ready (%s): %s.", object, object.cause.Reason, said(object.cause.Message)))
		return []v1alpha1.FindingSpec{withSourceOf(view, object, spec)}
	}
	// An attempt is under way.
	if since, is := a.again(view, object); is && !toldOfSource(view, object) {
		return []v1alpha1.FindingSpec{object.finding(NotReady, object.failure(), since,
			fmt.Sprintf("%s is not Ready: reconciling it has failed, and is being tried again. Why is in its events while that runs.", object))}
	}
	return nil
}

// again tells whether an attempt is not the first, and since when those before it have
// failed for longer than the grace.
func (a analyzer) again(view *live.View, object reconciled) (since time.Time, is bool) {
	began := object.ready.LastTransition
	if _, before := view.Observed(untried); before && !past(view, began.Add(fetching)) {
		// It may not get at its artifact this time either. Then nothing has changed.
		since = view.FirstObserved(untried)
		return since, !began.Before(since.Add(a.grace))
	}
	// What was not tried before is tried for the first time. Of others the trouble is
	// older than the attempt.
	const slack = time.Minute // between the controller's clock and this one
	since = view.FirstObserved(failing)
	return since, began.After(since.Add(slack)) && past(view, since.Add(a.grace))
}

// stalled makes of not being Ready, if that is found, that Flux does nothing about it
// any more: one trouble is one finding.
func (a analyzer) stalled(view *live.View, object reconciled, notReady []v1alpha1.FindingSpec) []v1alpha1.FindingSpec {
	stalled, _ := inputs.ConditionOf(object.Unstructured, "Stalled")
	if stalled.Status != "True" || object.unobserved() {
		return notReady
	}
	since, severity := stalled.LastTransition, v1alpha1.SeverityWarning
	if since.IsZero() {
		since = view.FirstObserved(Stalled)
	}
	over := past(view, since.Add(a.grace))
	message := fmt.Sprintf("Flux has given up on %s until it is changed (%s): %s.", object, stalled.Reason, said(stalled.Message))
	for _, found := range notReady {
		over, severity = true, found.Severity
		if found.Since.Time.Before(since) {
			since = found.Since.Time
		}
		if object.cause.Reason != stalled.Reason {
			message += " " + found.Message
		}
	}
	if !over {
		return nil
	}
	spec := object.finding(Stalled, severity, since, message)
	spec.Remediation.Text = "Mend what it says in its source. Where the cause was elsewhere and is gone, have it reconciled again."
	spec.Remediation.Commands[2] = object.flux("reconcile", object.again)
	return []v1alpha1.FindingSpec{spec}
}

// dependencyNotReady is the reason of what waits for one of spec.dependsOn.
const dependencyNotReady = "DependencyNotReady"

// waitsFor tells whether an object waits for another of its kind that is not Ready
// for a reason of its own, or that waits in turn. The trouble, if it is one, is that
// other's. Those that nothing is found about do not count: one that does not exist, is
// suspended or never looked at, and those that wait for each other. seen are those
// that were asked already.
func waitsFor(view *live.View, kind live.Kind[*unstructured.Unstructured], object *unstructured.Unstructured, seen map[live.Key]bool) bool {
	own := live.Key{Namespace: object.GetNamespace(), Name: object.GetName()}
	if seen[own] {
		return false
	}
	seen[own] = true
	field, _, err := unstructured.NestedFieldNoCopy(object.Object, "spec", "dependsOn")
	listed, _ := field.([]any)
	return err == nil && slices.ContainsFunc(listed, func(item any) bool {
		fields, _ := item.(map[string]any)
		key := live.Key{Namespace: own.Namespace}
		key.Name, _ = fields["name"].(string)
		if namespace, _ := fields["namespace"].(string); namespace != "" {
			key.Namespace = namespace
		}
		other, exists := kind.Get(view, key)
		if !exists || other.GetDeletionTimestamp() != nil || suspended(other) {
			return false
		}
		ready, _ := inputs.ConditionOf(other, "Ready")
		if ready.Status == "" || ready.Status == "True" {
			return false
		}
		return ready.Reason != dependencyNotReady || waitsFor(view, kind, other, seen)
	})
}

func suspended(object *unstructured.Unstructured) bool {
	suspend, _, err := unstructured.NestedBool(object.Object, "spec", "suspend")
	return err == nil && suspend
}

// stuck judges whether reconciling gets on: a step of it sets Reconciling anew, and
// a change is taken up at once. What fails in time and is tried again gets on.
func (a analyzer) stuck(view *live.View, object reconciled) []v1alpha1.FindingSpec {
	interval := object.duration("spec", "interval")
	most := interval * time.Duration(a.intervals)
	reconciling, _ := inputs.ConditionOf(object.Unstructured, "Reconciling")
	var since time.Time
	var what string
	switch {
	case interval == 0:
		return nil
	case object.unobserved():
		since, what = view.FirstObserved("unobserved"), "Flux has not taken up the last change of %s: its controller may not run, or be overwhelmed."
	case reconciling.Status == "True" && object.ready.Status != "False" && !reconciling.LastTransition.IsZero():
		since, what = reconciling.LastTransition, "Reconciling %s began and does not get on: its controller may not run, or hang."
	case inputs.Untold(object.Unstructured) && !isOCI(object.Unstructured):
		var is bool
		if since, is = analyzers.Neglected(view, most); !is {
			return nil
		}
		what = "Flux has not looked at %s: its controller may not run, or leave it out."
	default:
		return nil
	}
	if !past(view, since.Add(max(most, object.patience+a.grace))) {
		return nil
	}
	spec := object.finding(Stuck, v1alpha1.SeverityWarning, since, fmt.Sprintf(what, object))
	spec.Remediation.Text = "See whether the controllers of Flux run and what they say, then have it reconciled."
	spec.Remediation.Commands = append([]string{"flux check", "kubectl get deployments -A -l app.kubernetes.io/part-of=flux"}, spec.Remediation.Commands...)
	return []v1alpha1.FindingSpec{spec}
}

// isOCI tells whether a HelmRepository is of an OCI registry: Flux never looks at it, what
// is made of it reads it (source-controller).
func isOCI(object *unstructured.Unstructured) bool {
	return object.GetKind() == "HelmRepository" && inputs.TextAt(object, "spec", "type") == "oci"
}

func (r reconciled) finding(reason string, severity v1alpha1.Severity, since time.Time, message string) v1alpha1.FindingSpec {
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: severity, Subject: reference(r.Unstructured), Message: message,
		Remediation: v1alpha1.Remediation{
			Text: "Mend what it says, in its source or in the cluster. Flux tries again by itself; the command does so at once.",
			Commands: []string{
				describe(r.Unstructured),
				fmt.Sprintf("flux events --for %s/%s -n %s", r.GetKind(), r.GetName(), r.GetNamespace()),
				r.flux("reconcile", r.once),
			},
		},
		Since: metav1.NewTime(since),
	}
}

// flux is the command that does something with the object.
func (r reconciled) flux(verb, flag string) string {
	return strings.TrimSpace(fmt.Sprintf("flux %s %s %s -n %s %s", verb, r.command, r.GetName(), r.GetNamespace(), flag))
}
