// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package failingexternalsecrets finds what the External Secrets Operator says that
// it cannot do, and what it has not done for long. A store that is down is the first
// cause of all that depends on it, and is one finding.
package failingexternalsecrets

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "FailingExternalSecrets"
	// StoreNotReady means that a SecretStore or a ClusterSecretStore is not Ready.
	StoreNotReady = "StoreNotReady"
	// ExternalSecretNotReady means that an ExternalSecret is not Ready, and its stores are.
	ExternalSecretNotReady = "ExternalSecretNotReady"
	// ClusterExternalSecretNotReady means that a ClusterExternalSecret is not in all of its namespaces.
	ClusterExternalSecretNotReady = "ClusterExternalSecretNotReady"
	// PushSecretNotReady means that a PushSecret is not Ready, and its stores are.
	PushSecretNotReady = "PushSecretNotReady"
	// RefreshOverdue means that something has not been refreshed for long.
	RefreshOverdue = "RefreshOverdue"

	standardGrace = 2 * time.Minute

	// operator shows whether the operator runs.
	operator = "kubectl get deployments -A -l app.kubernetes.io/name=external-secrets"
)

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	stores := []live.KindRef{inputs.SecretStores.Ref(), inputs.ClusterSecretStores.Ref()}
	users := []live.KindRef{inputs.ExternalSecrets.Ref(), inputs.PushSecrets.Ref()}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: StoreNotReady, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning, v1alpha1.SeverityCritical}, Summary: "A SecretStore or a ClusterSecretStore is not Ready, or the operator has not looked at it."},
			{Name: ExternalSecretNotReady, Severities: warning, Summary: "An ExternalSecret is not Ready, though its stores are."},
			{Name: ClusterExternalSecretNotReady, Severities: warning, Summary: "A ClusterExternalSecret is not in all of its namespaces."},
			{Name: PushSecretNotReady, Severities: warning, Summary: "A PushSecret is not Ready, though its stores are."},
			{Name: RefreshOverdue, Severities: warning, Summary: "ExternalSecrets or PushSecrets have not been refreshed for long after they were due."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.SecretStores.Ref(), Reads: users, Analyze: a.judge(inputs.SecretStores, a.store)},
			{Subject: inputs.ClusterSecretStores.Ref(), Reads: users, Analyze: a.judge(inputs.ClusterSecretStores, a.store)},
			{Subject: inputs.ExternalSecrets.Ref(), Reads: stores, Analyze: a.judge(inputs.ExternalSecrets, a.externalSecret)},
			{Subject: inputs.PushSecrets.Ref(), Reads: stores, Analyze: a.judge(inputs.PushSecrets, a.pushSecret)},
			{Subject: inputs.ClusterExternalSecrets.Ref(), Analyze: a.judge(inputs.ClusterExternalSecrets, a.clusterExternalSecret)},
		},
	}, nil
}

type judge func(*live.View, *unstructured.Unstructured) []v1alpha1.FindingSpec

// judge is done to every object of a kind that is not being deleted.
func (a analyzer) judge(kind live.Kind[*unstructured.Unstructured], of judge) func(*live.View, live.Key) ([]v1alpha1.FindingSpec, error) {
	return func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
		object, exists := kind.Get(view, subject)
		if !exists || object.GetDeletionTimestamp() != nil {
			return nil, nil
		}
		return of(view, object), nil
	}
}

// failing returns what an object says while it is not Ready, and since when, once
// the grace is over.
func (a analyzer) failing(view *live.View, object *unstructured.Unstructured) (ready inputs.Condition, since time.Time, over bool) {
	ready, _ = inputs.ConditionOf(object, "Ready")
	if ready.Status != "False" {
		return ready, time.Time{}, false
	}
	since = ready.LastTransition
	if since.IsZero() { // as those of ClusterExternalSecrets are
		since = view.FirstObserved("not Ready")
	}
	return ready, since, analyzers.Past(view, since.Add(a.grace))
}

// notReady is the finding that an object is not Ready.
func notReady(reason string, object *unstructured.Unstructured, ready inputs.Condition, since time.Time) v1alpha1.FindingSpec {
	message := fmt.Sprintf("%s %s is not Ready", object.GetKind(), object.GetName())
	if said := inputs.Sentence(ready.Message); said != "" {
		message += ": " + said
	}
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: v1alpha1.SeverityWarning, Subject: reference(object), Since: metav1.NewTime(since), Message: message + ".",
		Remediation: v1alpha1.Remediation{Commands: []string{"kubectl describe " + argument(object)}},
	}
}

// neglected is the finding that the operator has not looked at an object, if it has not
// for long.
func neglected(view *live.View, reason string, object *unstructured.Unstructured) []v1alpha1.FindingSpec {
	since, is := analyzers.Neglected(view, 0)
	if !is {
		return nil
	}
	return []v1alpha1.FindingSpec{{
		Reason: reason, Severity: v1alpha1.SeverityWarning, Subject: reference(object), Since: metav1.NewTime(since),
		Message: fmt.Sprintf("%s %s does not say whether it is Ready: the External Secrets Operator has not looked at it.", object.GetKind(), object.GetName()),
		Remediation: v1alpha1.Remediation{
			Text:     "See whether the External Secrets Operator runs and gets on, and whether it was told to leave out this kind, namespace or store; it looks at what is new by itself.",
			Commands: []string{operator, "kubectl describe " + argument(object)},
		},
	}}
}

func (a analyzer) externalSecret(view *live.View, object *unstructured.Unstructured) []v1alpha1.FindingSpec {
	return append(a.dependent(view, object, ExternalSecretNotReady), a.overdueAlone(view, object)...)
}

func (a analyzer) pushSecret(view *live.View, object *unstructured.Unstructured) []v1alpha1.FindingSpec {
	return append(a.dependent(view, object, PushSecretNotReady), a.overdueAlone(view, object)...)
}

// overdueAlone judges what has no store that is there: else it is overdue together
// with the others of its store.
func (a analyzer) overdueAlone(view *live.View, object *unstructured.Unstructured) []v1alpha1.FindingSpec {
	if stores := inputs.StoresOf(object); len(stores) > 0 {
		if _, exists := storeAt(view, stores[0]); exists {
			return nil
		}
	}
	due, over := a.overdue(view, object)
	if !over {
		return nil
	}
	return []v1alpha1.FindingSpec{late(object, []*unstructured.Unstructured{object}, due)}
}

// dependent judges what depends on stores. Nothing is said while one of them is not
// Ready: that is the first cause, and has its own finding.
func (a analyzer) dependent(view *live.View, object *unstructured.Unstructured, reason string) []v1alpha1.FindingSpec {
	if inputs.Untold(object) {
		if slices.ContainsFunc(inputs.StoresOf(object), func(ref string) bool {
			store, exists := storeAt(view, ref)
			return exists && inputs.Untold(store)
		}) {
			return nil // so is the store
		}
		return neglected(view, reason, object)
	}
	ready, since, over := a.failing(view, object)
	if !over {
		return nil
	}
	var absent []string
	var describe []string
	for _, ref := range inputs.StoresOf(object) {
		store, exists := storeAt(view, ref)
		if !exists {
			absent = append(absent, named(ref))
			continue
		}
		if store.GetDeletionTimestamp() == nil && condition(store).Status == "False" {
			return nil
		}
		describe = append(describe, "kubectl describe "+argument(store))
	}
	finding := notReady(reason, object, ready, since)
	finding.Remediation.Commands = append(finding.Remediation.Commands, describe...)
	finding.Remediation.Text = "Its events tell more, and what it asks the store for is in its spec. Correct the names there, or make what is missing in the store; the operator tries again by itself."
	if len(absent) > 0 {
		kind, _, _ := strings.Cut(absent[0], " ")
		finding.Message += fmt.Sprintf(" There is no %s.", workloads.Names(absent))
		finding.Remediation.Text = "Make the store, or correct its name in the spec; the operator tries again by itself."
		list := "kubectl get " + strings.ToLower(kind) + "s." + inputs.ExternalSecretsGroup
		if kind == "SecretStore" {
			list += " -n " + object.GetNamespace()
		}
		finding.Remediation.Commands = append(finding.Remediation.Commands, list)
	}
	return []v1alpha1.FindingSpec{finding}
}

func (a analyzer) clusterExternalSecret(view *live.View, object *unstructured.Unstructured) []v1alpha1.FindingSpec {
	if inputs.Untold(object) {
		return neglected(view, ClusterExternalSecretNotReady, object)
	}
	ready, since, over := a.failing(view, object)
	if !over {
		return nil
	}
	finding := notReady(ClusterExternalSecretNotReady, object, ready, since)
	name := inputs.TextAt(object, "status", "externalSecretName")
	if name == "" {
		name = object.GetName()
	}
	if namespaces, why := failedNamespaces(object); len(namespaces) > 0 {
		finding.Message = fmt.Sprintf("ClusterExternalSecret %s cannot write ExternalSecret %s into namespaces %s: %s.", object.GetName(), name, workloads.Names(namespaces), why)
		finding.Remediation.Commands = append(finding.Remediation.Commands,
			fmt.Sprintf("kubectl get externalsecrets.%s %s -n %s -o yaml", inputs.ExternalSecretsGroup, name, namespaces[0]))
	}
	finding.Remediation.Text = "Remove what stands in the way in those namespaces, or take them out of what it selects."
	return []v1alpha1.FindingSpec{finding}
}

// failedNamespaces are those that a ClusterExternalSecret is not in, sorted, and why
// it is not in the first.
func failedNamespaces(object *unstructured.Unstructured) (namespaces []string, why string) {
	failed, _, err := unstructured.NestedSlice(object.Object, "status", "failedNamespaces")
	if err != nil {
		return nil, ""
	}
	reasons := map[string]string{}
	for _, item := range failed {
		fields, _ := item.(map[string]any)
		if namespace, _ := fields["namespace"].(string); namespace != "" {
			namespaces = append(namespaces, namespace)
			reasons[namespace], _ = fields["reason"].(string)
		}
	}
	slices.Sort(namespaces)
	if len(namespaces) > 0 {
		why = inputs.Sentence(reasons[namespaces[0]])
	}
	return namespaces, why
}

func condition(object *unstructured.Unstructured) inputs.Condition {
	ready, _ := inputs.ConditionOf(object, "Ready")
	return ready
}

func reference(object *unstructured.Unstructured) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}

// argument is how kubectl's commands name an object of the operator.
func argument(object *unstructured.Unstructured) string {
	text := strings.ToLower(object.GetKind()) + "s." + inputs.ExternalSecretsGroup + " " + object.GetName()
	if namespace := object.GetNamespace(); namespace != "" {
		text += " -n " + namespace
	}
	return text
}
