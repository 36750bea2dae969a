// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// operation is one of RFC 6902. Value is always written, because test, add and
// replace all need one.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// sendPatch applies operations to object, which names the target, if the target
// still has the UID and the resourceVersion of the order. It returns what is
// stored, or would be.
func sendPatch(ctx context.Context, c client.Client, order order, object client.Object, dryRun bool, operations ...operation) (client.Object, error) {
	guarded := append([]operation{
		{Op: "test", Path: "/metadata/uid", Value: string(order.target.UID)},
		{Op: "test", Path: "/metadata/resourceVersion", Value: order.object.GetResourceVersion()},
	}, operations...)
	data, err := json.Marshal(guarded)
	if err != nil {
		return nil, fmt.Errorf("encoding the patch of %s %s/%s: %w", order.target.Kind, order.target.Namespace, order.target.Name, err)
	}
	object.SetNamespace(order.target.Namespace)
	object.SetName(order.target.Name)
	options := []client.PatchOption{fieldOwner}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	if err := c.Patch(ctx, object, client.RawPatch(types.JSONPatchType, data), options...); err != nil {
		return nil, fmt.Errorf("patching %s %s/%s: %w", order.target.Kind, order.target.Namespace, order.target.Name, err)
	}
	return object, nil
}

// lookAt reads the target of a patch. The sight is complete unless it is the
// very object that was to be patched.
func lookAt(ctx context.Context, reader client.Reader, order order, object client.Object) (seen sight, same bool, err error) {
	err = reader.Get(ctx, client.ObjectKey{Namespace: order.target.Namespace, Name: order.target.Name}, object)
	switch {
	case gone(err, order.target.Name):
		return sight{text: "is gone, so that it cannot be told whether it was patched"}, false, nil
	case err != nil:
		return sight{}, false, fmt.Errorf("looking whether %s %s/%s was patched: %w", order.target.Kind, order.target.Namespace, order.target.Name, err)
	case object.GetUID() != order.target.UID:
		return sight{text: "was replaced by another one of its name, so that it cannot be told whether it was patched", object: object}, false, nil
	}
	return sight{object: object}, true, nil
}
