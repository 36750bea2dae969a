// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecretmismatch

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func (a analyzer) gateway(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	gateway, exists := inputs.Gateways.Get(view, subject)
	if !exists || gateway.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	return a.judge(view, ofGateway(gateway)), nil
}

// ofGateway takes the listeners of a Gateway that terminate TLS for one hostname
// with one Secret of its namespace. Of several Secrets a Gateway serves the one that
// fits, and another namespace's Certificates are not compared with.
func ofGateway(gateway *unstructured.Unstructured) server {
	s := server{object: gateway, subject: v1alpha1.ObjectReference{
		APIVersion: gateway.GetAPIVersion(), Kind: "Gateway", Namespace: gateway.GetNamespace(), Name: gateway.GetName(), UID: gateway.GetUID(),
	}}
	listeners, _, err := unstructured.NestedSlice(gateway.Object, "spec", "listeners")
	if err != nil {
		return s
	}
	var indexes []int // of the listeners that the entries are of
	for i, item := range listeners {
		fields, ok := item.(map[string]any)
		if !ok {
			continue
		}
		listener := &unstructured.Unstructured{Object: fields}
		host, mode := inputs.TextAt(listener, "hostname"), inputs.TextAt(listener, "tls", "mode")
		secret := secretRef(listener, gateway.GetNamespace())
		if host == "" || secret == "" || mode != "" && mode != "Terminate" {
			continue
		}
		s.entries = append(s.entries, networkingv1.IngressTLS{Hosts: []string{host}, SecretName: secret})
		indexes = append(indexes, i)
	}
	s.path = func(index int) string {
		return fmt.Sprintf("/spec/listeners/%d/tls/certificateRefs/0/name", indexes[index])
	}
	return s
}

// secretRef is the name of the one Secret that a listener refers to, or empty.
func secretRef(listener *unstructured.Unstructured, namespace string) string {
	refs, _, err := unstructured.NestedSlice(listener.Object, "tls", "certificateRefs")
	if err != nil || len(refs) != 1 {
		return ""
	}
	fields, ok := refs[0].(map[string]any)
	if !ok {
		return ""
	}
	ref := &unstructured.Unstructured{Object: fields}
	kind, in := inputs.TextAt(ref, "kind"), inputs.TextAt(ref, "namespace")
	if inputs.TextAt(ref, "group") != "" || kind != "" && kind != "Secret" || in != "" && in != namespace {
		return ""
	}
	return inputs.TextAt(ref, "name")
}
