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

// guarded makes operations that apply only if the target still has the UID and
// the resourceVersion of the order.
func guarded(order order, operations ...operation) []operation {
	return append([]operation{
		{Op: "test", Path: "/metadata/uid", Value: string(order.target.UID)},
		{Op: "test", Path: "/metadata/resourceVersion", Value: order.object.GetResourceVersion()},
	}, operations...)
}

// sendPatch applies operations to object, which names the target. It returns what
// is stored, or would be.
func sendPatch(ctx context.Context, c client.Client, order order, object client.Object, dryRun bool, operations []operation) (client.Object, error) {
	data, err := json.Marshal(operations)
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
