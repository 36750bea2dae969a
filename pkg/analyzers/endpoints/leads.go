// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"maps"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// lead is an object that leads requests to Services.
type lead struct {
	v1alpha1.ObjectReference
	// blocks tells that the API server refuses requests while nobody answers.
	blocks bool
}

const definitionKind = "CustomResourceDefinition"

// refused says what the API server refuses while nobody answers, because of objects of a kind.
func refused(kind string) string {
	if kind == definitionKind {
		return " Without it the API server can neither read nor write the custom resources whose stored version is another than the one asked for; namespaces that have some are not deleted."
	}
	return " With failurePolicy Fail the API server refuses everything that it should ask about."
}

// leadsTo returns what leads to a Service, sorted: webhooks that block first.
func leadsTo(view *live.View, service live.Key) []lead {
	var blocking, others []lead
	add := func(l lead, of metav1.Object) {
		switch {
		case of.GetDeletionTimestamp() != nil:
		case l.blocks:
			blocking = append(blocking, l)
		default:
			others = append(others, l)
		}
	}
	for _, configuration := range inputs.ValidatingWebhookConfigurations.ByIndex(view, inputs.ByBackend, service.String()) {
		add(lead{reference("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", configuration), validatingCalls(configuration)[service]}, configuration)
	}
	for _, configuration := range inputs.MutatingWebhookConfigurations.ByIndex(view, inputs.ByBackend, service.String()) {
		add(lead{reference("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", configuration), mutatingCalls(configuration)[service]}, configuration)
	}
	for _, ingress := range inputs.Ingresses.ByIndex(view, inputs.ByBackend, service.String()) {
		add(lead{reference("networking.k8s.io/v1", "Ingress", ingress), false}, ingress)
	}
	for _, definition := range inputs.Definitions.ByIndex(view, inputs.ByBackend, service.String()) {
		add(lead{reference(definition.GetAPIVersion(), definitionKind, definition), true}, definition)
	}
	for _, kind := range slices.Sorted(maps.Keys(inputs.Routes)) {
		for _, route := range inputs.Routes[kind].ByIndex(view, inputs.ByBackend, service.String()) {
			add(lead{reference(route.GetAPIVersion(), kind, route), false}, route)
		}
	}
	return append(blocking, others...)
}

// validatingCalls are the Services that webhooks call, and whether one of them
// blocks while nobody answers.
func validatingCalls(configuration *admissionregistrationv1.ValidatingWebhookConfiguration) map[live.Key]bool {
	called := map[live.Key]bool{}
	for _, webhook := range configuration.Webhooks {
		call(called, webhook.ClientConfig, webhook.FailurePolicy)
	}
	return called
}

func mutatingCalls(configuration *admissionregistrationv1.MutatingWebhookConfiguration) map[live.Key]bool {
	called := map[live.Key]bool{}
	for _, webhook := range configuration.Webhooks {
		call(called, webhook.ClientConfig, webhook.FailurePolicy)
	}
	return called
}

// call notes which Service a webhook calls. Fail is the failurePolicy that the API
// server writes where there is none.
func call(called map[live.Key]bool, config admissionregistrationv1.WebhookClientConfig, policy *admissionregistrationv1.FailurePolicyType) {
	if config.Service == nil {
		return
	}
	service := live.Key{Namespace: config.Service.Namespace, Name: config.Service.Name}
	called[service] = called[service] || policy == nil || *policy == admissionregistrationv1.Fail
}

func reference(apiVersion, kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: apiVersion, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}
