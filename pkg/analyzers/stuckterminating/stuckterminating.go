// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package stuckterminating finds what is being deleted and does not go: pods,
// namespaces and volume claims, with who holds them. What holds something does so
// for a reason, so it never tells to take that away first.
package stuckterminating

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "StuckTerminating"
	// PodStuck means that a pod should have been gone for some time.
	PodStuck = "PodStuckTerminating"
	// PodsStuckOnNode means that pods cannot go because their node does not answer.
	PodsStuckOnNode = "PodsStuckOnNode"
	// NamespaceStuck means that a namespace cannot be emptied.
	NamespaceStuck = "NamespaceStuckTerminating"
	// ClaimStuck means that a claim is held by something other than the pods that use it.
	ClaimStuck = "ClaimStuckTerminating"
	// ClaimInUse means that a claim goes, with its data, as soon as its pods do.
	ClaimInUse = "ClaimDeletedWhileInUse"

	standardGrace = 10 * time.Minute
)

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: PodStuck, Severities: warning, Summary: "Pods should have been gone for some time, and something holds them."},
			{Name: PodsStuckOnNode, Severities: warning, Summary: "Pods cannot go, because their node does not answer."},
			{Name: NamespaceStuck, Severities: warning, Summary: "A namespace cannot be emptied, and why."},
			{Name: ClaimStuck, Severities: warning, Summary: "A PersistentVolumeClaim does not go, though no pod uses it."},
			{Name: ClaimInUse, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}, Summary: "A PersistentVolumeClaim goes as soon as the pods do that still use it."},
		},
		Derivations: []live.Rule{a.heldRule(), leftRule()},
		Rules: append(rules(),
			analyzers.Rule{Subject: unclaimed.Ref(), Analyze: alone},
			analyzers.Rule{Subject: inputs.Nodes.Ref(), Reads: []live.KindRef{inputs.Pods.Ref()}, Analyze: a.node},
			analyzers.Rule{Subject: inputs.Namespaces.Ref(), Reads: []live.KindRef{unclaimed.Ref(), inputs.Pods.Ref()}, Analyze: a.namespace},
			analyzers.Rule{Subject: inputs.PersistentVolumeClaims.Ref(), Reads: []live.KindRef{inputs.Pods.Ref()}, Analyze: a.claim},
		),
	}, nil
}

// past tells whether an object should have been gone for the grace. Its
// deletionTimestamp is when the grace ends that it was given to end by itself.
func (a analyzer) past(view *live.View, object metav1.Object) bool {
	deletion := object.GetDeletionTimestamp()
	return !deletion.IsZero() && analyzers.Past(view, deletion.Add(a.grace))
}

// listed is a sentence's list of names, of three at most. How many more there are
// changes, and is not said.
func listed(names []string) string {
	const most = 3
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}
