// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
)

const (
	// ByService finds EndpointSlices by "NAMESPACE/NAME" of their Service.
	ByService = "service"
	// ByBackend finds Ingresses, routes of the Gateway API and webhook configurations
	// by "NAMESPACE/NAME" of a Service that they lead to.
	ByBackend = "backend"
)

// How requests find pods.
var (
	Services = live.NewInput(corev1.SchemeGroupVersion.WithResource("services"), live.InputOptions[*corev1.Service]{
		Trim: func(in *corev1.Service) *corev1.Service {
			trimMeta(&in.ObjectMeta)
			return &corev1.Service{ObjectMeta: in.ObjectMeta, Spec: corev1.ServiceSpec{
				Type: in.Spec.Type, Selector: in.Spec.Selector, PublishNotReadyAddresses: in.Spec.PublishNotReadyAddresses,
			}}
		},
	})
	// EndpointSlices with one endpoint of those that are ready and one of those
	// that are not, so that they change only when the answer does.
	EndpointSlices = live.NewInput(discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), live.InputOptions[*discoveryv1.EndpointSlice]{
		Trim: trimEndpointSlice,
		Indexes: map[string]func(*discoveryv1.EndpointSlice) []string{ByService: func(slice *discoveryv1.EndpointSlice) []string {
			if service := slice.Labels[discoveryv1.LabelServiceName]; service != "" {
				return []string{slice.Namespace + "/" + service}
			}
			return nil
		}},
	})
	// Ingresses by what they serve and where they lead to.
	Ingresses = live.NewInput(networkingv1.SchemeGroupVersion.WithResource("ingresses"), live.InputOptions[*networkingv1.Ingress]{
		Trim: trimIngress,
		Indexes: map[string]func(*networkingv1.Ingress) []string{ByBackend: func(ingress *networkingv1.Ingress) []string {
			var services []string
			add := func(backend *networkingv1.IngressBackend) {
				if backend != nil && backend.Service != nil {
					services = append(services, ingress.Namespace+"/"+backend.Service.Name)
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
			return services
		}},
	})
)

// ReadyEndpoint tells whether an endpoint takes traffic. That it is not known counts
// as yes (discovery.k8s.io/v1, EndpointConditions).
func ReadyEndpoint(endpoint discoveryv1.Endpoint) bool {
	return endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
}

func trimEndpointSlice(in *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: in.Namespace, Name: in.Name, UID: in.UID, Labels: in.Labels, DeletionTimestamp: in.DeletionTimestamp,
	}}
	var seen [2]bool
	for _, endpoint := range in.Endpoints {
		ready, which := ReadyEndpoint(endpoint), 0
		if ready {
			which = 1
		}
		if !seen[which] {
			seen[which] = true
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
		}
	}
	if len(out.Endpoints) == 2 && !*out.Endpoints[0].Conditions.Ready {
		out.Endpoints[0], out.Endpoints[1] = out.Endpoints[1], out.Endpoints[0]
	}
	return out
}

func trimIngress(in *networkingv1.Ingress) *networkingv1.Ingress {
	trimMeta(&in.ObjectMeta)
	in.Status = networkingv1.IngressStatus{}
	return in
}
