// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
)

// request is something that is asked of kube-apiserver, about an object as it was
// read, on dry run. It returns what would be stored, where the answer says.
type request func(ctx context.Context, c client.Client, object client.Object) (client.Object, error)

// operation is one of RFC 6902.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Requests are made as package executor makes them (deletion.go, jsonpatch.go):
// deletions in the background with UID and resourceVersion as preconditions,
// patches as JSON patches that test both.

func deletion(change func(*client.DeleteOptions)) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		options := &client.DeleteOptions{
			Preconditions:     &metav1.Preconditions{UID: ptr.To(object.GetUID()), ResourceVersion: ptr.To(object.GetResourceVersion())},
			PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
			DryRun:            []string{metav1.DryRunAll},
		}
		if change != nil {
			change(options)
		}
		return nil, c.Delete(ctx, object.DeepCopyObject().(client.Object), options)
	}
}

func jsonPatch(operations ...operation) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		guarded := append([]operation{
			{Op: "test", Path: "/metadata/uid", Value: string(object.GetUID())},
			{Op: "test", Path: "/metadata/resourceVersion", Value: object.GetResourceVersion()},
		}, operations...)
		data, err := json.Marshal(guarded)
		if err != nil {
			return nil, err
		}
		return rawPatch(types.JSONPatchType, string(data))(ctx, c, object)
	}
}

func rawPatch(kind types.PatchType, data string) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		stored := object.DeepCopyObject().(client.Object)
		options := []client.PatchOption{client.FieldOwner(executorAccount), client.DryRunAll}
		if kind == types.ApplyPatchType {
			options = append(options, client.ForceOwnership)
		}
		err := c.Patch(ctx, stored, client.RawPatch(kind, []byte(data)), options...)
		return stored, err
	}
}

// put replaces the object by a changed one.
func put[T client.Object](change func(T)) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		stored := object.DeepCopyObject().(T)
		change(stored)
		err := c.Update(ctx, stored, client.DryRunAll)
		return stored, err
	}
}

// create makes another object, whatever there is already.
func create(object client.Object) request {
	return func(ctx context.Context, c client.Client, _ client.Object) (client.Object, error) {
		stored := object.DeepCopyObject().(client.Object)
		err := c.Create(ctx, stored, client.DryRunAll)
		return stored, err
	}
}

// subresource creates a body at one.
func subresource(name string, body client.Object) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		return nil, c.SubResource(name).Create(ctx, object, body.DeepCopyObject().(client.Object), client.DryRunAll)
	}
}

// connect asks for a connection, for which there is no dry run, and no node either.
func connect(name string) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		return nil, c.SubResource(name).Create(ctx, object, &corev1.Pod{})
	}
}

// mergeAt patches a subresource.
func mergeAt(name, patch string) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		stored := object.DeepCopyObject().(client.Object)
		err := c.SubResource(name).Patch(ctx, stored, client.RawPatch(types.MergePatchType, []byte(patch)), client.DryRunAll)
		return stored, err
	}
}

// annotationPath points at an annotation of the pod template (RFC 6901).
func annotationPath(key string) string {
	return "/spec/template/metadata/annotations/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// approved is the request of an approved action: of the proposal, and of the time
// of the token.
func approved(object client.Object, spec *v1alpha1.ProposalSpec, tokenTime string, more ...operation) request {
	switch spec.ActionKind {
	case v1alpha1.ActionPatchDeploymentAnnotation:
		var operations []operation
		if deployment := object.(*appsv1.Deployment); len(deployment.Spec.Template.Annotations) == 0 {
			operations = append(operations, operation{Op: "add", Path: "/spec/template/metadata/annotations", Value: map[string]string{}})
		}
		operations = append(operations, operation{Op: "add", Path: annotationPath(policy.RestartedAtAnnotation), Value: tokenTime})
		return jsonPatch(append(operations, more...)...)
	case v1alpha1.ActionPatchIngressTLS:
		var operations []operation
		for _, of := range spec.Patch.JSONPatch {
			operations = append(operations, operation{Op: of.Op, Path: of.Path, Value: of.Value})
		}
		return jsonPatch(append(operations, more...)...)
	}
	return deletion(nil)
}

var saysLayer = regexp.MustCompile(`ValidatingAdmissionPolicy '` + leashName + `' with binding '` + leashName + `' denied request: layer (\w+): `)

// refusal reads which layer of the leash in CEL refused; none if nothing did. Any
// other error is one of the test, for nothing else may stand in the way.
func refusal(err error) (policy.Layer, error) {
	if err == nil {
		return "", nil
	}
	match := saysLayer.FindStringSubmatch(err.Error())
	if match == nil || !apierrors.IsForbidden(err) {
		return "", fmt.Errorf("refused otherwise than by a layer of the leash: %w", err)
	}
	return policy.Layer(match[1]), nil
}

// errNotAsked is for requests that even the admin is refused: they prove nothing.
var errNotAsked = errors.New("the API server refuses the request to the admin, too")
