// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deletion deletes one object, so that its controller makes a fresh one.
type deletion struct {
	new         func() client.Object
	propagation metav1.DeletionPropagation
}

var _ action = deletion{}

func (d deletion) newTarget() client.Object { return d.new() }

func (d deletion) do(ctx context.Context, c client.Client, order order, dryRun bool) (client.Object, error) {
	resourceVersion := order.object.GetResourceVersion()
	options := []client.DeleteOption{
		client.Preconditions{UID: &order.target.UID, ResourceVersion: &resourceVersion},
		client.PropagationPolicy(d.propagation),
	}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	object := d.new()
	object.SetNamespace(order.target.Namespace)
	object.SetName(order.target.Name)
	if err := c.Delete(ctx, object, options...); err != nil {
		return nil, fmt.Errorf("deleting %s %s/%s: %w", order.target.Kind, order.target.Namespace, order.target.Name, err)
	}
	if dryRun {
		return nil, nil
	}
	return order.object, nil
}

func (d deletion) look(ctx context.Context, reader client.Reader, order order) (sight, error) {
	object := d.new()
	err := reader.Get(ctx, client.ObjectKey{Namespace: order.target.Namespace, Name: order.target.Name}, object)
	switch {
	case gone(err, order.target.Name):
		return sight{done: true, text: "is gone"}, nil
	case err != nil:
		return sight{}, fmt.Errorf("looking whether %s %s/%s is gone: %w", order.target.Kind, order.target.Namespace, order.target.Name, err)
	case object.GetUID() != order.target.UID:
		return sight{done: true, text: fmt.Sprintf("is gone, and another one of its name has UID %s", object.GetUID()), object: object}, nil
	case object.GetDeletionTimestamp() != nil:
		return sight{done: true, text: "is being deleted", object: object}, nil
	}
	return sight{text: "is still there", object: object}, nil
}

func (d deletion) summary(order order) string {
	return fmt.Sprintf("Deleted %s %s/%s (UID %s)", order.target.Kind, order.target.Namespace, order.target.Name, order.target.UID)
}
