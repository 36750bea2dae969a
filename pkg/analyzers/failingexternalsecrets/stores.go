// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failingexternalsecrets

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// storeAt returns the store that inputs.StoreRef names.
func storeAt(view *live.View, ref string) (*unstructured.Unstructured, bool) {
	parts := strings.SplitN(ref, "/", 3)
	key := live.Key{Namespace: parts[1], Name: parts[2]}
	switch parts[0] {
	case "SecretStore":
		return inputs.SecretStores.Get(view, key)
	case "ClusterSecretStore":
		return inputs.ClusterSecretStores.Get(view, key)
	}
	return nil, false
}

// named is how a sentence names the store that inputs.StoreRef names.
func named(ref string) string {
	parts := strings.SplitN(ref, "/", 3)
	return parts[0] + " " + parts[2]
}

// store judges a store by itself, and by when what depends on it was refreshed.
func (a analyzer) store(view *live.View, object *unstructured.Unstructured) []v1alpha1.FindingSpec {
	ref := inputs.StoreRef(object.GetKind(), object.GetNamespace(), object.GetName())
	users := slices.DeleteFunc(slices.Concat(
		inputs.ExternalSecrets.ByIndex(view, inputs.ByStore, ref),
		inputs.PushSecrets.ByIndex(view, inputs.ByStore, ref),
	), func(user *unstructured.Unstructured) bool { return user.GetDeletionTimestamp() != nil })
	if condition(object).Status == "False" {
		return a.down(view, object, users)
	}
	var found []v1alpha1.FindingSpec
	if inputs.Untold(object) {
		found = neglected(view, StoreNotReady, object)
	}
	var overdue []*unstructured.Unstructured
	var first time.Time
	for _, user := range users {
		if inputs.StoresOf(user)[0] != ref {
			continue
		}
		due, over := a.overdue(view, user)
		if !over {
			continue
		}
		overdue = append(overdue, user)
		if first.IsZero() || due.Before(first) {
			first = due
		}
	}
	if len(overdue) == 0 {
		return found
	}
	return append(found, late(object, overdue, first))
}

// down is about a store that is not Ready. It is Critical once something that
// depends on it is not either.
func (a analyzer) down(view *live.View, object *unstructured.Unstructured, users []*unstructured.Unstructured) []v1alpha1.FindingSpec {
	ready, since, over := a.failing(view, object)
	if !over {
		return nil
	}
	finding := notReady(StoreNotReady, object, ready, since)
	finding.Remediation.Text = "Its events tell more. Correct the address or the credentials in its spec, or bring the provider back; what depends on it follows by itself."
	var failing []string
	for _, user := range users {
		if condition(user).Status == "False" {
			failing = append(failing, user.GetKind()+" "+inNamespace(object, user))
			finding.Related = append(finding.Related, v1alpha1.RelatedObject{Relation: "depends on it", ObjectReference: reference(user)})
		}
	}
	if len(failing) > 0 {
		finding.Severity = v1alpha1.SeverityCritical
		finding.Message += fmt.Sprintf(" Not Ready with it: %s.", workloads.Names(failing))
	}
	return []v1alpha1.FindingSpec{finding}
}

// inNamespace names what depends on a store, with its namespace if that is not the
// store's.
func inNamespace(store, user *unstructured.Unstructured) string {
	if store.GetNamespace() == user.GetNamespace() {
		return user.GetName()
	}
	return user.GetNamespace() + "/" + user.GetName()
}

// How long after it was due something is long overdue: another interval, between
// these.
const (
	leastTolerance = 10 * time.Minute
	mostTolerance  = 6 * time.Hour
)

// overdue tells when something was due to be refreshed, if that was long ago. What
// is not Ready is not refreshed, and says so itself.
func (a analyzer) overdue(view *live.View, object *unstructured.Unstructured) (due time.Time, over bool) {
	switch inputs.TextAt(object, "spec", "refreshPolicy") {
	case "", "Periodic":
	default:
		return time.Time{}, false
	}
	interval, err := time.ParseDuration(inputs.TextAt(object, "spec", "refreshInterval"))
	refreshed := inputs.TimeAt(object, "status", "refreshTime")
	if err != nil || interval <= 0 || refreshed.IsZero() || condition(object).Status != "True" {
		return time.Time{}, false
	}
	due = refreshed.Add(interval)
	end := due.Add(min(max(interval, leastTolerance), mostTolerance))
	if view.Now().Before(end) {
		view.RecheckAt(end)
		return due, false
	}
	// Who shortens the interval makes it overdue at once, and the operator refreshes.
	end = view.FirstObserved("overdue " + object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()).Add(a.grace)
	view.RecheckAt(end)
	return due, !view.Now().Before(end)
}

// late is about what has not been refreshed: something by itself, or all of a store.
func late(subject *unstructured.Unstructured, overdue []*unstructured.Unstructured, since time.Time) v1alpha1.FindingSpec {
	finding := v1alpha1.FindingSpec{
		Reason: RefreshOverdue, Severity: v1alpha1.SeverityWarning, Subject: reference(subject), Since: metav1.NewTime(since),
		Message: fmt.Sprintf("%s %s was to be refreshed long ago, and was not. It says that it is Ready, as of then.", subject.GetKind(), subject.GetName()),
		Remediation: v1alpha1.Remediation{
			Text: "See whether the External Secrets Operator runs and gets on; it refreshes what is overdue by itself.",
			Commands: []string{
				operator,
				"kubectl describe " + argument(overdue[0]),
			},
		},
	}
	if subject == overdue[0] {
		return finding
	}
	var names []string
	for _, object := range overdue {
		names = append(names, object.GetKind()+" "+inNamespace(subject, object))
		finding.Related = append(finding.Related, v1alpha1.RelatedObject{Relation: "is overdue", ObjectReference: reference(object)})
	}
	finding.Message = fmt.Sprintf("What depends on %s %s was to be refreshed long ago, and was not: %s. It says that it is Ready, as of then.",
		subject.GetKind(), subject.GetName(), workloads.Names(names))
	return finding
}
