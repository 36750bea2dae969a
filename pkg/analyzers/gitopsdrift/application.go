// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package gitopsdrift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// skipReconcile has Argo CD leave an Application as it is: its status is then of
// some time ago (common.AnnotationKeyAppSkipReconcile).
const skipReconcile = "argocd.argoproj.io/skip-reconcile"

func (a analyzer) application(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	app, exists := inputs.Applications.Get(view, subject)
	if !exists || app.GetDeletionTimestamp() != nil || app.GetAnnotations()[skipReconcile] == "true" {
		return nil, nil
	}
	return slices.Concat(a.sync(view, app), a.health(view, app)), nil
}

// sync judges whether an Application has what its source says. No field tells
// since when it has not: reconciledAt moves whenever somebody looks.
func (a analyzer) sync(view *live.View, app *unstructured.Unstructured) []v1alpha1.FindingSpec {
	switch inputs.TextAt(app, "status", "sync", "status") {
	case "Synced":
		if stuck := a.syncStuck(view, app); len(stuck) > 0 {
			return stuck
		}
		return a.syncFailed(view, app)
	case "OutOfSync":
		return a.outOfSync(view, app)
	case "Unknown":
		kind, message, at := trouble(app)
		since := view.Began(SyncUnknown, at)
		if !past(view, since.Add(a.grace)) {
			return nil
		}
		cause := ""
		if message != "" {
			cause = fmt.Sprintf(" %s: %s.", kind, message)
		}
		return []v1alpha1.FindingSpec{{
			Reason: SyncUnknown, Severity: v1alpha1.SeverityWarning, Subject: reference(app),
			Message: fmt.Sprintf("Argo CD cannot tell whether Application %s differs from its source.%s", app.GetName(), cause),
			Remediation: v1alpha1.Remediation{
				Text:     "Mend what its conditions say: the source that cannot be read or built, or the cluster that cannot be reached.",
				Commands: []string{describe(app), argocd(app, "get", "--hard-refresh")},
			},
			Since: metav1.NewTime(since),
		}}
	}
	return nil
}

func (a analyzer) outOfSync(view *live.View, app *unstructured.Unstructured) []v1alpha1.FindingSpec {
	differing := names(app, func(s inputs.ResourceState) bool { return s.Sync == "OutOfSync" })
	what := "its source"
	if differing != "" {
		what += ": " + differing
	}
	spec := v1alpha1.FindingSpec{
		Reason: OutOfSync, Severity: v1alpha1.SeverityWarning, Subject: reference(app),
		Message: fmt.Sprintf("Application %s differs from %s.", app.GetName(), what),
		Remediation: v1alpha1.Remediation{
			Text:     "See what differs. Either sync the Application, which undoes what was changed in the cluster, or put the change into its source.",
			Commands: []string{argocd(app, "diff"), argocd(app, "sync"), describe(app)},
		},
	}
	since, failing := view.FirstObserved(OutOfSync), false
	if at, message, keeps := a.failing(view, app); keeps {
		failing = true
		spec.Severity = v1alpha1.SeverityCritical
		spec.Message = fmt.Sprintf("Application %s differs from %s. Its automated sync keeps failing: %s.", app.GetName(), what, message)
		spec.Remediation.Text = "Mend what the sync stumbles over, in the source or in the cluster, and sync again: Argo CD does not try the same revision again by itself."
		if at.Before(since) {
			since = at
		}
	}
	spec.Since = metav1.NewTime(since)
	if !failing {
		// Until it ends nothing else can be synced, so that is what there is to mend.
		if stuck := a.syncStuck(view, app); len(stuck) > 0 {
			return stuck
		}
	}
	if !past(view, since.Add(a.grace)) || !failing && a.syncing(view, app) {
		return nil
	}
	return []v1alpha1.FindingSpec{spec}
}

// syncStuck judges whether a sync runs for too long: it waits for a hook, or for a
// resource of a wave to be healthy, and Argo CD lets it wait. One that is suspended, as
// a rollout is that waits for a person, is meant to wait.
func (a analyzer) syncStuck(view *live.View, app *unstructured.Unstructured) []v1alpha1.FindingSpec {
	phase, started := phaseOf(app), inputs.TimeAt(app, "status", "operationState", "startedAt")
	if inputs.TextAt(app, "status", "health", "status") == "Suspended" {
		return nil
	}
	if phase != "Running" && phase != "Terminating" || started.IsZero() || !past(view, started.Add(a.patience)) {
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: SyncStuck, Severity: v1alpha1.SeverityWarning, Subject: reference(app), Since: metav1.NewTime(started),
		Message: fmt.Sprintf("The sync of Application %s does not end, and no other can begin: %s.", app.GetName(), why(app)),
		Remediation: v1alpha1.Remediation{
			Text:     "See which hook or resource it waits for, and mend that. If it cannot come to its end, end it, and sync again once what held it up is mended.",
			Commands: []string{argocd(app, "get", "--show-operation"), describe(app), argocd(app, "terminate-op")},
		},
	}}
}

// syncFailed judges the last sync of an Application that has what its source says all
// the same: a hook of it failed, or it gave up half-way. Argo CD has nothing to sync
// then, so nothing else tells, and it does not try again.
func (a analyzer) syncFailed(view *live.View, app *unstructured.Unstructured) []v1alpha1.FindingSpec {
	if phase := phaseOf(app); phase != "Failed" && phase != "Error" || !ofPresentRevision(app) {
		return nil
	}
	since := view.Began(SyncFailed, inputs.TimeAt(app, "status", "operationState", "finishedAt"))
	if !past(view, since.Add(a.grace)) {
		return nil
	}
	spec := v1alpha1.FindingSpec{
		Reason: SyncFailed, Severity: v1alpha1.SeverityWarning, Subject: reference(app), Since: metav1.NewTime(since),
		Message: fmt.Sprintf("The last sync of Application %s failed, though it has what its source says by now: %s.", app.GetName(), why(app)),
		Remediation: v1alpha1.Remediation{
			Text:     "See which hook or resource of the sync failed, mend it, and sync again: what was to come after it has not been done, and Argo CD does not try the same revision again by itself.",
			Commands: []string{argocd(app, "get", "--show-operation"), describe(app), argocd(app, "sync")},
		},
	}
	if automated(app) {
		spec.Severity = v1alpha1.SeverityCritical
	}
	return []v1alpha1.FindingSpec{spec}
}

// ofPresentRevision tells whether the last operation was of the revision that the
// Application is compared with. What went wrong with another is history.
func ofPresentRevision(app *unstructured.Unstructured) bool {
	if all := inputs.TextsAt(app, "status", "sync", "revisions"); len(all) > 0 {
		return slices.Equal(all, inputs.TextsAt(app, "status", "operationState", "syncResult", "revisions"))
	}
	revision := inputs.TextAt(app, "status", "sync", "revision")
	return revision != "" && revision == inputs.TextAt(app, "status", "operationState", "syncResult", "revision")
}

// why is what Argo CD says of the last operation.
func why(app *unstructured.Unstructured) string {
	if message := said(inputs.TextAt(app, "status", "operationState", "message")); message != "" {
		return message
	}
	return "its phase is " + phaseOf(app)
}

// phaseOf is how the last operation of an Application stands; empty if it was a
// rehearsal, or there was none.
func phaseOf(app *unstructured.Unstructured) string {
	dry, _, err := unstructured.NestedBool(app.Object, "status", "operationState", "operation", "sync", "dryRun")
	if dry && err == nil {
		return ""
	}
	return inputs.TextAt(app, "status", "operationState", "phase")
}

// failing tells whether automated sync has failed for the grace, since when, and
// with which words. One that is tried again is not new each time.
func (a analyzer) failing(view *live.View, app *unstructured.Unstructured) (since time.Time, message string, keeps bool) {
	phase := phaseOf(app)
	if phase == "" || phase == "Succeeded" || !automated(app) {
		return time.Time{}, "", false
	}
	const failed = "automated sync fails"
	ended, again := time.Time{}, phase == "Running" && inputs.NumberAt(app, "status", "operationState", "retryCount") > 0
	if phase == "Failed" || phase == "Error" {
		ended, again = inputs.TimeAt(app, "status", "operationState", "finishedAt"), true
	}
	// A first attempt has not failed while it runs, and what failed before has not
	// succeeded yet.
	if _, before := view.Observed(failed); !again && !before {
		return time.Time{}, "", false
	}
	since = view.Began(failed, ended)
	if !again || !past(view, since.Add(a.grace)) {
		return time.Time{}, "", false
	}
	return since, why(app), true
}

// syncing tells whether a sync runs that began within the grace.
func (a analyzer) syncing(view *live.View, app *unstructured.Unstructured) bool {
	started := inputs.TimeAt(app, "status", "operationState", "startedAt")
	return phaseOf(app) == "Running" && !started.IsZero() && !past(view, started.Add(a.grace))
}

// automated tells whether Argo CD syncs an Application by itself
// (SyncPolicy.IsAutomatedSyncEnabled).
func automated(app *unstructured.Unstructured) bool {
	policy, exists, err := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated")
	enabled, set := policy["enabled"].(bool)
	return exists && err == nil && (enabled || !set)
}

// health judges whether what an Application is made of works. Progressing and
// Suspended are no trouble.
func (a analyzer) health(view *live.View, app *unstructured.Unstructured) []v1alpha1.FindingSpec {
	status := inputs.TextAt(app, "status", "health", "status")
	spec := v1alpha1.FindingSpec{Severity: v1alpha1.SeverityWarning, Subject: reference(app)}
	which := names(app, func(s inputs.ResourceState) bool { return s.Health == status })
	switch status {
	case "Degraded":
		spec.Reason, spec.Severity = Degraded, v1alpha1.SeverityCritical
		spec.Message = fmt.Sprintf("Application %s is Degraded", app.GetName())
		spec.Remediation.Text = "See which of its resources is Degraded, and why."
	case "Missing":
		spec.Reason = HealthMissing
		spec.Message = fmt.Sprintf("Something that Application %s is made of does not exist", app.GetName())
		spec.Remediation.Text = "See what is missing, and sync the Application, which makes it."
	case "Unknown":
		// Where it cannot be told what should be, it cannot be told how that is.
		if inputs.TextAt(app, "status", "sync", "status") == "Unknown" {
			return nil
		}
		spec.Reason = HealthUnknown
		spec.Message = fmt.Sprintf("Argo CD cannot tell whether Application %s works", app.GetName())
		spec.Remediation.Text = "See whose health Argo CD cannot tell: a health check of a custom resource may fail, or the cluster may be out of reach."
	default:
		return nil
	}
	since := inputs.TimeAt(app, "status", "health", "lastTransitionTime")
	if since.IsZero() {
		since = view.FirstObserved(spec.Reason)
	}
	if !past(view, since.Add(a.grace)) {
		return nil
	}
	if which != "" {
		spec.Message += ": " + which
	}
	spec.Message += "."
	spec.Remediation.Commands = []string{argocd(app, "get"), describe(app)}
	if spec.Reason == HealthMissing {
		spec.Remediation.Commands = append(spec.Remediation.Commands, argocd(app, "sync"))
	}
	spec.Since = metav1.NewTime(since)
	return []v1alpha1.FindingSpec{spec}
}

// trouble returns the first of an Application's conditions that is an error. They
// are not like those of other kinds: there is no status.
func trouble(app *unstructured.Unstructured) (kind, message string, at time.Time) {
	conditions, _, err := unstructured.NestedSlice(app.Object, "status", "conditions")
	if err != nil {
		return "", "", time.Time{}
	}
	for _, item := range conditions {
		fields, _ := item.(map[string]any)
		text := func(name string) string { value, _ := fields[name].(string); return value }
		if !strings.HasSuffix(text("type"), "Error") || text("message") == "" || kind != "" && kind < text("type") {
			continue
		}
		kind, message = text("type"), said(text("message"))
		at, _ = time.Parse(time.RFC3339, text("lastTransitionTime"))
	}
	return kind, message, at
}

// names are the resources of an Application of which something is so.
func names(app *unstructured.Unstructured, so func(inputs.ResourceState) bool) string {
	var all []string
	for _, state := range inputs.ResourceStates(app) {
		if so(state) {
			all = append(all, inputs.Sentence(state.Kind+" "+state.Name))
		}
	}
	return workloads.Names(all)
}

func describe(object *unstructured.Unstructured) string {
	return fmt.Sprintf("kubectl describe %s %s -n %s", resource(object), object.GetName(), object.GetNamespace())
}

// resource is the full name of the resource of an object.
func resource(object *unstructured.Unstructured) string {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	return plural.GroupResource().String()
}

func argocd(app *unstructured.Unstructured, verb string, flags ...string) string {
	return strings.Join(append([]string{"argocd app", verb, app.GetNamespace() + "/" + app.GetName()}, flags...), " ")
}
