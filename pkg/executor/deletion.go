// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// deletion deletes one object, so that its controller makes a fresh one.
type deletion struct {
	kind        srenix.ActionKind
	propagation metav1.DeletionPropagation
}

var _ action = deletion{}

func (d deletion) newTarget() client.Object { return newWhole(d.kind) }

func (d deletion) do(ctx context.Context, c client.Client, order order, dryRun bool) (client.Object, error) {
	options := d.options(order)
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	object := newWhole(d.kind)
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

// request implements action.
func (d deletion) request(order order) (any, error) {
	return (&client.DeleteOptions{}).ApplyOptions(d.options(order)).AsDeleteOptions(), nil
}

func (d deletion) options(order order) []client.DeleteOption {
	resourceVersion := order.object.GetResourceVersion()
	return []client.DeleteOption{
		client.Preconditions{UID: &order.target.UID, ResourceVersion: &resourceVersion},
		client.PropagationPolicy(d.propagation),
	}
}

// value implements action.
func (d deletion) value(*token.Claims) string { return "" }

// deletes implements action.
func (d deletion) deletes() bool { return true }

// done implements action. What is being deleted stays so.
func (d deletion) done(target client.Object, _ order) (bool, string) {
	if target.GetDeletionTimestamp() != nil {
		return true, "is being deleted"
	}
	return false, "is still there"
}

func (d deletion) summary(order order) string {
	return fmt.Sprintf("Deleted %s %s/%s (UID %s)", order.target.Kind, order.target.Namespace, order.target.Name, order.target.UID)
}
