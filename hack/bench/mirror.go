// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

// Custom resources that baselines are measured on. They take any content.
const (
	benchGroup = "bench.srenix.io"
	// mirrors have the content of findings.
	mirrors    = "mirrors"
	mirrorPath = "/apis/" + benchGroup + "/v1/" + mirrors
	// decisions have the content of approvals, and a validating webhook.
	decisions = "decisions"
)

var (
	definitionResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	mirrorResource     = schema.GroupVersionResource{Group: benchGroup, Version: "v1", Resource: mirrors}
	decisionResource   = schema.GroupVersionResource{Group: benchGroup, Version: "v1", Resource: decisions}
)

func (b *bench) dynamicClient() (dynamic.Interface, error) {
	client, err := dynamic.NewForConfig(b.admin)
	if err != nil {
		return nil, fmt.Errorf("making a dynamic client: %w", err)
	}
	return client, nil
}

// ensureDefinition creates the CRD of one of the custom resources, and waits
// until it is served.
func (b *bench) ensureDefinition(ctx context.Context, resource, kind string) error {
	client, err := b.dynamicClient()
	if err != nil {
		return err
	}
	definitions, name := client.Resource(definitionResource), resource+"."+benchGroup
	if _, err := definitions.Get(ctx, name, metav1.GetOptions{}); err == nil {
		return nil
	}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"group": benchGroup, "scope": "Namespaced",
			"names": map[string]any{"plural": resource, "singular": strings.TrimSuffix(resource, "s"), "kind": kind, "listKind": kind + "List"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}
	if _, err := definitions.Create(ctx, definition, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating CRD %s: %w", name, err)
	}
	path := b.admin.Host + "/apis/" + benchGroup + "/v1/" + resource
	var last error
	if err := wait.PollUntilContextTimeout(ctx, pollInterval, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, last = get(ctx, b.adminHTTP, path)
		return last == nil, nil
	}); err != nil {
		return fmt.Errorf("waiting for CRD %s to be served: %w (%w)", name, err, last)
	}
	return nil
}

// mirrorFindings makes the custom resources be the findings of now, item by item
// of the same number of bytes.
func (b *bench) mirrorFindings(ctx context.Context) error {
	if err := b.ensureDefinition(ctx, mirrors, "Mirror"); err != nil {
		return err
	}
	client, err := b.dynamicClient()
	if err != nil {
		return err
	}
	for i := range namespaceCount {
		if err := client.Resource(mirrorResource).Namespace(namespaceName(i)).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return fmt.Errorf("deleting the custom resources of before: %w", err)
		}
	}
	findings, err := b.findings(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, finding := range findings {
		group.Go(func() error { return mirror(ctx, client, finding) })
	}
	return group.Wait()
}

// mirror creates one custom resource with the content of a finding. As a finding
// has no managedFields, it has none either.
func mirror(ctx context.Context, client dynamic.Interface, finding json.RawMessage) error {
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(finding, &object.Object); err != nil {
		return fmt.Errorf("reading a finding: %w", err)
	}
	object.SetAPIVersion(benchGroup + "/v1")
	object.SetKind("Mirror")
	object.SetResourceVersion("")
	resource := client.Resource(mirrorResource).Namespace(object.GetNamespace())
	created, err := resource.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating a custom resource: %w", err)
	}
	// What a custom resource has and a finding has not is taken off its text.
	created.SetManagedFields(nil)
	text, err := created.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encoding a custom resource: %w", err)
	}
	const field = "remediation"
	remedy, _, err := unstructured.NestedString(created.Object, "spec", field, "text")
	if err != nil {
		return fmt.Errorf("reading a custom resource: %w", err)
	}
	// The generation's digit and the newline that encoding appends cancel out
	// within a byte or two.
	surplus := len(text) - len(finding)
	if surplus > 0 {
		remedy = remedy[:max(0, len(remedy)-surplus)]
	} else {
		remedy += strings.Repeat(".", -surplus)
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/" + field + "/text", "value": remedy},
	})
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	if _, err := resource.Patch(ctx, object.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("adjusting a custom resource: %w", err)
	}
	strip := []byte(`[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`)
	if _, err := resource.Patch(ctx, object.GetName(), types.JSONPatchType, strip, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("stripping a custom resource of its managedFields: %w", err)
	}
	return nil
}
