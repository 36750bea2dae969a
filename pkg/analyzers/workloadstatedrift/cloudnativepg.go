// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloadstatedrift

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// What CloudNativePG calls things (api/v1, cluster_types.go, and pkg/utils,
// labels_annotations.go).
const (
	phaseHealthy = "Cluster in healthy state"
	// waiting is the phase while instances are not there, as those of a node that is drained.
	waiting = "Waiting for the instances to become active"
	// pendingPrimary is the target while a failover waits for the old primary to end.
	pendingPrimary = "pending"

	hibernation    = "cnpg.io/hibernation" // an annotation, and a condition once it is under way
	fencing        = "cnpg.io/fencedInstances"
	reconciliation = "cnpg.io/reconciliationLoop"
)

var (
	// quiet are the phases of setting a cluster up and of upgrading it, which take
	// as long as its data is large.
	quiet = []string{
		phaseHealthy, "Setting up primary", "Creating a new replica", "Upgrading cluster", "Upgrading Postgres major version",
		"Cluster upgrade delayed", "Primary instance is being restarted in-place",
		"Primary instance is being restarted without a switchover", "Online upgrade in progress",
	}
	// failures are the phases that the operator has no way out of, and those of a failover.
	failures = []string{
		"Failing over", "Failed over", "Cluster is unrecoverable and needs manual intervention", "Unable to create required cluster objects",
		"Cluster has incomplete or invalid image catalog", "Cluster cannot execute instance online upgrade due to missing architecture binary",
		"Cluster cannot proceed to reconciliation due to an unknown plugin being required",
		"Cluster cannot proceed to reconciliation due to an error while interacting with plugins",
	}
	// changing are the phases of a change of the primary.
	changing = []string{"Failing over", "Failed over", "Switchover in progress"}
	// steps also occur for a while in between the quiet phases of a long set-up.
	steps = []string{waiting, "Applying configuration"}
)

func (a analyzer) cluster(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	cluster, exists := inputs.PostgresClusters.Get(view, subject)
	if !exists || cluster.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	if hibernated(cluster) || stopped(cluster) {
		rests(view, cluster)
		return nil, nil
	}
	specs := a.phase(view, cluster)
	switchover, stuck := a.switchover(view, cluster)
	phase := inputs.TextAt(cluster, "status", "phase")
	switch {
	case stuck && (phase == phaseHealthy || slices.Contains(changing, phase)):
		return []v1alpha1.FindingSpec{switchover}, nil // one trouble
	case stuck:
		return append(specs, switchover), nil
	case phase == phaseHealthy:
		return a.followers(view, cluster), nil
	}
	return specs, nil
}

// stopped tells whether somebody keeps the operator from a cluster, or has fenced the
// primary, which stops the cluster and has the operator wait.
func stopped(cluster *unstructured.Unstructured) bool {
	fenced := fencedInstances(cluster)
	return cluster.GetAnnotations()[reconciliation] == "disabled" ||
		slices.Contains(fenced, "*") || slices.Contains(fenced, inputs.TextAt(cluster, "status", "currentPrimary"))
}

// switchover tells whether the cluster has had another primary than it should have
// for the grace.
func (a analyzer) switchover(view *live.View, cluster *unstructured.Unstructured) (v1alpha1.FindingSpec, bool) {
	current, target := inputs.TextAt(cluster, "status", "currentPrimary"), inputs.TextAt(cluster, "status", "targetPrimary")
	if current == "" || target == "" || current == target {
		return v1alpha1.FindingSpec{}, false
	}
	since := inputs.TimeAt(cluster, "status", "targetPrimaryTimestamp")
	if since.IsZero() {
		since = view.FirstObserved(SwitchoverStuck)
	}
	if !analyzers.Past(view, since.Add(a.grace)) {
		return v1alpha1.FindingSpec{}, false
	}
	message := fmt.Sprintf("Cluster %s is to change its primary from %s to %s, and has not.", cluster.GetName(), current, target)
	if target == pendingPrimary {
		message = fmt.Sprintf("Cluster %s is to fail over from its primary %s, and has not chosen another.", cluster.GetName(), current)
	}
	return about(cluster, SwitchoverStuck, v1alpha1.SeverityCritical, since, message), true
}

// What a cluster is observed to do: it rests while nothing is found about its phase,
// whatever its condition Ready says then.
const (
	rest   = "rest"
	unrest = "unrest"
)

// rests notes that a cluster is not Ready, and that this is no trouble.
func rests(view *live.View, cluster *unstructured.Unstructured) {
	if ready, _ := inputs.ConditionOf(cluster, "Ready"); ready.Status == "False" {
		view.FirstObserved(rest)
	}
}

// restless tells since when a cluster has been in phases that are not quiet, whichever.
// Ready tells it where nobody has looked before: it is False in quiet phases too, and
// does not turn between them and others.
func restless(view *live.View, cluster *unstructured.Unstructured, phase string) time.Time {
	_, rested := view.Observed(rest)
	_, known := view.Observed(unrest)
	var told time.Time
	if ready, _ := inputs.ConditionOf(cluster, "Ready"); ready.Status == "False" && !rested && !known && !slices.Contains(steps, phase) {
		told = ready.LastTransition
	}
	return view.Began(unrest, told)
}

// phase judges a phase that is not healthy.
func (a analyzer) phase(view *live.View, cluster *unstructured.Unstructured) []v1alpha1.FindingSpec {
	phase := inputs.TextAt(cluster, "status", "phase")
	if phase == "" || slices.Contains(quiet, phase) || phase == waiting && maintained(cluster) {
		rests(view, cluster)
		return nil
	}
	severity := v1alpha1.SeverityWarning
	if slices.Contains(failures, phase) {
		severity = v1alpha1.SeverityCritical
	}
	since := restless(view, cluster, phase)
	if !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	why := ""
	if reason := inputs.Sentence(inputs.TextAt(cluster, "status", "phaseReason")); reason != "" {
		why = fmt.Sprintf(" CloudNativePG says: %s.", reason)
	}
	return []v1alpha1.FindingSpec{about(cluster, ClusterNotHealthy, severity, since,
		fmt.Sprintf("Cluster %s is not healthy, its phase is %q.%s", cluster.GetName(), inputs.Sentence(phase), why))}
}

// followers judges whether a healthy cluster has all its instances.
func (a analyzer) followers(view *live.View, cluster *unstructured.Unstructured) []v1alpha1.FindingSpec {
	known := inputs.NumberAt(cluster, "status", "instances") > 0
	want := inputs.NumberAt(cluster, "spec", "instances") - int64(len(fencedInstances(cluster)))
	if have := inputs.NumberAt(cluster, "status", "readyInstances"); !known || have >= want || maintained(cluster) {
		return nil
	}
	since := view.FirstObserved(InstancesNotReady)
	if !analyzers.Past(view, since.Add(a.grace)) {
		return nil
	}
	return []v1alpha1.FindingSpec{about(cluster, InstancesNotReady, v1alpha1.SeverityWarning, since,
		fmt.Sprintf("Cluster %s calls itself healthy, and not all of its %d instances are ready: those that are not do not follow the primary.", cluster.GetName(), want))}
}

// hibernated tells whether a cluster is hibernated, or on its way there. One that
// is not healthy is not hibernated, though it was asked for (pkg/reconciler/hibernation).
func hibernated(cluster *unstructured.Unstructured) bool {
	_, begun := inputs.ConditionOf(cluster, hibernation)
	phase := inputs.TextAt(cluster, "status", "phase")
	return cluster.GetAnnotations()[hibernation] == "on" && (begun || phase == phaseHealthy || phase == "")
}

// maintained tells whether somebody has announced that nodes are being maintained, so
// that the operator waits for the instances on them (docs, kubernetes_upgrade.md).
func maintained(cluster *unstructured.Unstructured) bool {
	on, _, err := unstructured.NestedBool(cluster.Object, "spec", "nodeMaintenanceWindow", "inProgress")
	return err == nil && on
}

// fencedInstances are those that somebody has fenced; "*" stands for all.
func fencedInstances(cluster *unstructured.Unstructured) []string {
	var names []string
	if err := json.Unmarshal([]byte(cluster.GetAnnotations()[fencing]), &names); err != nil {
		return nil // none, or not well formed, which the operator refuses
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func about(cluster *unstructured.Unstructured, reason string, severity v1alpha1.Severity, since time.Time, message string) v1alpha1.FindingSpec {
	name, namespace := cluster.GetName(), cluster.GetNamespace()
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: severity, Message: message,
		Subject: v1alpha1.ObjectReference{
			APIVersion: cluster.GetAPIVersion(), Kind: cluster.GetKind(), Namespace: namespace, Name: name, UID: cluster.GetUID(),
		},
		Remediation: v1alpha1.Remediation{
			Text: "See which instance stands in the way and what it says, before anything is deleted: a primary that is cut off may still have what others lack.",
			Commands: []string{
				fmt.Sprintf("kubectl describe clusters.postgresql.cnpg.io %s -n %s", name, namespace),
				fmt.Sprintf("kubectl get pods -n %s -l cnpg.io/cluster=%s -L cnpg.io/instanceRole -o wide", namespace, name),
				fmt.Sprintf("kubectl get events -n %s --field-selector involvedObject.kind=Cluster,involvedObject.name=%s", namespace, name),
			},
		},
		Since: metav1.NewTime(since),
	}
}
