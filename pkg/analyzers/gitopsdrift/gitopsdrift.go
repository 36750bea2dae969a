// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitopsdrift finds what Git says and the cluster does not have: Argo CD
// Applications that are out of sync or not healthy, and Kustomizations, HelmReleases
// and sources of Flux that do not become Ready, or whose reconcile loop stands still. It believes the controllers, and reads nothing of Git itself.
package gitopsdrift

import (
	"errors"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "GitOpsDrift"
	// OutOfSync means that an Application differs from its source.
	OutOfSync = "ApplicationOutOfSync"
	// SyncFailed means that the last sync of an Application failed, though it has what its source says.
	SyncFailed = "ApplicationSyncFailed"
	// SyncStuck means that a sync of an Application runs for very long.
	SyncStuck = "ApplicationSyncStuck"
	// SyncUnknown means that Argo CD cannot tell whether it does.
	SyncUnknown = "ApplicationSyncUnknown"
	// Degraded means that what an Application is made of does not work.
	Degraded = "ApplicationDegraded"
	// HealthMissing means that something that it is made of does not exist.
	HealthMissing = "ApplicationMissing"
	// HealthUnknown means that Argo CD cannot tell whether it works.
	HealthUnknown = "ApplicationHealthUnknown"
	// NotReady means that Flux does not get a Kustomization, a HelmRelease or a source Ready.
	NotReady = "ReconcileNotReady"
	// Suspended means that Flux was told to leave it alone.
	Suspended = "ReconcileSuspended"
	// Stalled means that Flux has given up on it until somebody changes something.
	Stalled = "ReconcileStalled"
	// Stuck means that a reconcile began, or should have, and nothing happens.
	Stuck = "ReconcileStuck"

	standardGrace = 10 * time.Minute
	// standardSync is longer than what syncs wait for as a rule: hooks that migrate, and
	// waves of resources that take their time to be healthy.
	standardSync = time.Hour
	// standardIntervals without progress are too many.
	standardIntervals = 3
)

// Options of the analyzer.
type Options struct {
	// SyncTimeout is how long a sync of an Application may run; 1h by default. Argo CD
	// itself has no such limit unless it is given one.
	SyncTimeout *metav1.Duration `json:"syncTimeout,omitempty"`
	// StuckIntervals is the number of its intervals in which an object of Flux must get
	// on; 3 by default.
	StuckIntervals *int32 `json:"stuckIntervals,omitempty"`
}

type analyzer struct {
	grace, patience time.Duration
	intervals       int32
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	var options Options
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), patience: standardSync, intervals: standardIntervals}
	if options.SyncTimeout != nil {
		a.patience = options.SyncTimeout.Duration
	}
	if options.StuckIntervals != nil {
		a.intervals = *options.StuckIntervals
	}
	if a.patience <= 0 {
		return analyzers.Analyzer{}, errors.New("options: syncTimeout must be more than 0s")
	}
	if a.intervals < 1 {
		return analyzers.Analyzer{}, errors.New("options: stuckIntervals must be at least 1")
	}
	critical, warning := v1alpha1.SeverityCritical, v1alpha1.SeverityWarning
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: OutOfSync, Severities: []v1alpha1.Severity{critical, warning}, Summary: "An Argo CD Application differs from its source; Critical where automated sync keeps failing."},
			{Name: SyncFailed, Severities: []v1alpha1.Severity{critical, warning}, Summary: "The last sync of an Argo CD Application failed, though it is Synced; Critical where sync is automated."},
			{Name: SyncStuck, Severities: []v1alpha1.Severity{warning}, Summary: "A sync of an Argo CD Application runs for longer than an hour."},
			{Name: SyncUnknown, Severities: []v1alpha1.Severity{warning}, Summary: "Argo CD cannot tell whether an Application differs from its source."},
			{Name: Degraded, Severities: []v1alpha1.Severity{critical}, Summary: "An Argo CD Application is Degraded."},
			{Name: HealthMissing, Severities: []v1alpha1.Severity{warning}, Summary: "Something that an Argo CD Application is made of does not exist."},
			{Name: HealthUnknown, Severities: []v1alpha1.Severity{warning}, Summary: "Argo CD cannot tell whether an Application works."},
			{Name: NotReady, Severities: []v1alpha1.Severity{critical, warning}, Summary: "A Flux Kustomization, HelmRelease or source is not Ready; Critical where applying it fails, or nothing was fetched to apply."},
			{Name: Suspended, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}, Summary: "A Flux Kustomization, HelmRelease or source is suspended."},
			{Name: Stalled, Severities: []v1alpha1.Severity{critical, warning}, Summary: "Flux has given up reconciling a Kustomization, HelmRelease or source; Critical where applying it fails."},
			{Name: Stuck, Severities: []v1alpha1.Severity{warning}, Summary: "Reconciling a Flux Kustomization, HelmRelease or source makes no progress."},
		},
		Rules: append([]analyzers.Rule{
			{Subject: inputs.Applications.Ref(), Analyze: a.application},
			{Subject: inputs.Kustomizations.Ref(), Reads: sourceReads(), Analyze: flux(inputs.Kustomizations, a.kustomization)},
			{Subject: inputs.HelmReleases.Ref(), Reads: sourceReads(), Analyze: flux(inputs.HelmReleases, a.helmRelease)},
		}, a.sourceRules()...),
	}, nil
}

// past tells whether a time has come, and else asks to be called when it has.
func past(view *live.View, at time.Time) bool {
	if view.Now().Before(at) {
		view.RecheckAt(at)
		return false
	}
	return true
}

// What messages count and time differs from try to try.
var (
	retried  = regexp.MustCompile(`\s*\(retried \d+ times\)|\.?\s*(due to application controller sync timeout\.\s*)?Retrying attempt #\d+ at \d+:\d+(AM|PM)\.?`)
	duration = regexp.MustCompile(` after (\d+(\.\d+)?(h|ms|µs|ns|m|s))+`)
)

// said is a controller's own message, without what changes with each try.
func said(message string) string {
	message = duration.ReplaceAllString(retried.ReplaceAllString(message, ""), "")
	return strings.TrimRight(inputs.Sentence(message), ".") // the sentence around it ends it
}

func reference(object *unstructured.Unstructured) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}
