// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// annotationPort is a port's name by which the AWS Load Balancer Controller takes
// the Service's name for that of an annotation.
const annotationPort = "use-annotation"

func (a analyzer) ingress(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	ingress, exists := inputs.Ingresses.Get(view, subject)
	if !exists || ingress.DeletionTimestamp != nil {
		return nil, nil
	}
	called := map[live.Key]bool{}
	add := func(backend *networkingv1.IngressBackend) {
		if backend != nil && backend.Service != nil && backend.Service.Port.Name != annotationPort {
			called[live.Key{Namespace: ingress.Namespace, Name: backend.Service.Name}] = false
		}
	}
	add(ingress.Spec.DefaultBackend)
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for i := range rule.HTTP.Paths {
			add(&rule.HTTP.Paths[i].Backend)
		}
	}
	return a.missing(view, caller{of: reference("networking.k8s.io/v1", "Ingress", ingress), called: called}), nil
}

func (a analyzer) route(kind string, routes live.Kind[*unstructured.Unstructured]) func(*live.View, live.Key) ([]v1alpha1.FindingSpec, error) {
	return func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
		route, exists := routes.Get(view, subject)
		if !exists || route.GetDeletionTimestamp() != nil {
			return nil, nil
		}
		called := map[live.Key]bool{}
		for _, service := range inputs.RouteBackends(route) {
			called[service] = false
		}
		return a.missing(view, caller{of: reference(route.GetAPIVersion(), kind, route), called: called}), nil
	}
}

func (a analyzer) definition(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	definition, exists := inputs.Definitions.Get(view, subject)
	if !exists || definition.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	service, converts := inputs.Converter(definition)
	if !converts {
		return nil, nil
	}
	// What converts for one mostly does so for all of a project: the first tells of them.
	// Nobody is harmed while what there is is of the version that is asked for.
	found := a.missing(view, caller{of: reference(definition.GetAPIVersion(), definitionKind, definition), called: map[live.Key]bool{service: false}})
	for _, other := range inputs.Definitions.ByIndex(view, inputs.ByBackend, service.String()) {
		if other.GetDeletionTimestamp() != nil || other.GetName() == definition.GetName() {
			continue
		}
		if other.GetName() < definition.GetName() {
			return nil, nil
		}
		for i := range found {
			found[i].Related = append(found[i].Related, v1alpha1.RelatedObject{
				Relation: "is converted by it too", ObjectReference: reference(other.GetAPIVersion(), definitionKind, other),
			})
		}
	}
	return found, nil
}

func (a analyzer) validating(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	configuration, exists := inputs.ValidatingWebhookConfigurations.Get(view, subject)
	if !exists || configuration.DeletionTimestamp != nil {
		return nil, nil
	}
	var clients []admissionregistrationv1.WebhookClientConfig
	for _, webhook := range configuration.Webhooks {
		clients = append(clients, webhook.ClientConfig)
	}
	of := reference("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", configuration)
	return a.missing(view, caller{of: of, called: validatingCalls(configuration), configuration: configuration, whole: orphaned(view, clients)}), nil
}

func (a analyzer) mutating(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	configuration, exists := inputs.MutatingWebhookConfigurations.Get(view, subject)
	if !exists || configuration.DeletionTimestamp != nil {
		return nil, nil
	}
	var clients []admissionregistrationv1.WebhookClientConfig
	for _, webhook := range configuration.Webhooks {
		clients = append(clients, webhook.ClientConfig)
	}
	of := reference("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", configuration)
	return a.missing(view, caller{of: of, called: mutatingCalls(configuration), configuration: configuration, whole: orphaned(view, clients)}), nil
}

// caller is an object that leads to Services.
type caller struct {
	of v1alpha1.ObjectReference
	// called tells of each Service whether requests are refused because of it.
	called map[live.Key]bool
	// configuration of webhooks that it is, or nil, and whether none of them has a
	// Service.
	configuration metav1.Object
	whole         bool
}

// orphaned tells whether no webhook leads anywhere: what is left of the configuration is
// of use to nobody.
func orphaned(view *live.View, clients []admissionregistrationv1.WebhookClientConfig) bool {
	return !slices.ContainsFunc(clients, func(client admissionregistrationv1.WebhookClientConfig) bool {
		if client.Service == nil {
			return true // a URL, of which nothing is known
		}
		_, exists := inputs.Services.Get(view, live.Key{Namespace: client.Service.Namespace, Name: client.Service.Name})
		return exists
	})
}

// missing tells which of the Services that an object leads to do not exist.
func (a analyzer) missing(view *live.View, c caller) []v1alpha1.FindingSpec {
	var found []v1alpha1.FindingSpec
	for _, service := range slices.SortedFunc(maps.Keys(c.called), func(a, b live.Key) int { return strings.Compare(a.String(), b.String()) }) {
		if _, exists := inputs.Services.Get(view, service); exists || service.Name == "" {
			continue
		}
		since := view.FirstObserved("no Service " + service.String())
		if !after(view, since.Add(a.grace)) || c.of.Namespace != "" && closing(view, c.of.Namespace) {
			continue
		}
		found = append(found, a.absent(c, service, metav1.NewTime(since)))
	}
	return found
}

func (a analyzer) absent(c caller, service live.Key, since metav1.Time) v1alpha1.FindingSpec {
	of, name := c.of, service.Name
	if service.Namespace != of.Namespace {
		name = service.String()
	}
	spec := v1alpha1.FindingSpec{
		Reason: ServiceMissing, Severity: v1alpha1.SeverityWarning, Subject: of, Discriminator: service.String(), Since: since,
		Message: fmt.Sprintf("%s %s leads to Service %s, which does not exist.", of.Kind, of.Name, name),
		Remediation: v1alpha1.Remediation{
			Text: "Make the Service, or correct its name.",
			Commands: []string{
				fmt.Sprintf("kubectl get %s -o yaml", workloads.Argument(of)),
				fmt.Sprintf("kubectl get services -n %s", service.Namespace),
			},
		},
	}
	if c.called[service] {
		spec.Severity = v1alpha1.SeverityCritical
	}
	if c.called[service] || of.Kind == definitionKind {
		spec.Message += refused(of.Kind)
	}
	switch {
	case of.Kind == definitionKind:
		spec.Remediation.Text = "Bring back what converts between its versions. If that was uninstalled for good, its CustomResourceDefinitions were left behind: look whether anybody still wants their objects, for whoever deletes such a definition deletes all of those."
	case c.configuration == nil:
	case c.whole:
		spec.Remediation.Text = "Bring what answered it back. If that was uninstalled, the configuration was left behind and can be deleted."
		spec.Remediation.Commands = append(spec.Remediation.Commands, fmt.Sprintf("kubectl delete %s", workloads.Argument(of)))
	default:
		instead, edit := a.managed.Edit(of.Kind+" "+of.Name, workloads.Argument(of), c.configuration)
		spec.Remediation.Text = "Bring what answered it back. If that was uninstalled, take the webhooks that call it out of the configuration, whose others are in use." + instead
		spec.Remediation.Commands = append(spec.Remediation.Commands, edit...)
	}
	return spec
}
