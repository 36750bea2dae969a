// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/live"
)

// What the API server calls, with the authorities that it trusts there.
var (
	ValidatingWebhookConfigurations = live.NewInput(admissionregistrationv1.SchemeGroupVersion.WithResource("validatingwebhookconfigurations"),
		live.InputOptions[*admissionregistrationv1.ValidatingWebhookConfiguration]{
			Trim: func(in *admissionregistrationv1.ValidatingWebhookConfiguration) *admissionregistrationv1.ValidatingWebhookConfiguration {
				trimMeta(&in.ObjectMeta)
				for i, webhook := range in.Webhooks {
					in.Webhooks[i] = admissionregistrationv1.ValidatingWebhook{Name: webhook.Name, ClientConfig: calls(webhook.ClientConfig), FailurePolicy: webhook.FailurePolicy}
				}
				return in
			},
			Indexes: map[string]func(*admissionregistrationv1.ValidatingWebhookConfiguration) []string{ByBackend: func(in *admissionregistrationv1.ValidatingWebhookConfiguration) []string {
				var services []string
				for _, webhook := range in.Webhooks {
					services = append(services, calledService(webhook.ClientConfig)...)
				}
				return services
			}},
		})
	MutatingWebhookConfigurations = live.NewInput(admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations"),
		live.InputOptions[*admissionregistrationv1.MutatingWebhookConfiguration]{
			Trim: func(in *admissionregistrationv1.MutatingWebhookConfiguration) *admissionregistrationv1.MutatingWebhookConfiguration {
				trimMeta(&in.ObjectMeta)
				for i, webhook := range in.Webhooks {
					in.Webhooks[i] = admissionregistrationv1.MutatingWebhook{Name: webhook.Name, ClientConfig: calls(webhook.ClientConfig), FailurePolicy: webhook.FailurePolicy}
				}
				return in
			},
			Indexes: map[string]func(*admissionregistrationv1.MutatingWebhookConfiguration) []string{ByBackend: func(in *admissionregistrationv1.MutatingWebhookConfiguration) []string {
				var services []string
				for _, webhook := range in.Webhooks {
					services = append(services, calledService(webhook.ClientConfig)...)
				}
				return services
			}},
		})
	APIServices = live.NewInput(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"},
		live.InputOptions[*unstructured.Unstructured]{
			Trim: func(in *unstructured.Unstructured) *unstructured.Unstructured {
				unstructured.RemoveNestedField(in.Object, "metadata", "managedFields")
				unstructured.RemoveNestedField(in.Object, "metadata", "annotations", lastApplied)
				// Their availability changes often, and is nobody's business here.
				unstructured.RemoveNestedField(in.Object, "status")
				return in
			},
		})
)

// calls keeps which Service is called, and the authorities trusted there.
func calls(config admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.WebhookClientConfig {
	out := admissionregistrationv1.WebhookClientConfig{CABundle: config.CABundle}
	if service := config.Service; service != nil {
		out.Service = &admissionregistrationv1.ServiceReference{Namespace: service.Namespace, Name: service.Name}
	}
	return out
}

func calledService(config admissionregistrationv1.WebhookClientConfig) []string {
	if config.Service == nil {
		return nil
	}
	return []string{config.Service.Namespace + "/" + config.Service.Name}
}
