// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// annotationsPath points at the annotations of the pod template (RFC 6901).
const annotationsPath = "/spec/template/metadata/annotations"

// patchDeploymentAnnotation restarts a Deployment as kubectl rollout restart
// does. The value is the time of the approval's token, so that the same approval
// would write the same again.
type patchDeploymentAnnotation struct{}

var _ action = patchDeploymentAnnotation{}

func (patchDeploymentAnnotation) newTarget() client.Object {
	return newWhole(srenix.ActionPatchDeploymentAnnotation)
}

func (a patchDeploymentAnnotation) do(ctx context.Context, c client.Client, order order, dryRun bool) (client.Object, error) {
	operations, err := a.operations(order)
	if err != nil {
		return nil, err
	}
	return sendPatch(ctx, c, order, newWhole(srenix.ActionPatchDeploymentAnnotation), dryRun, operations)
}

// request implements action.
func (a patchDeploymentAnnotation) request(order order) (any, error) { return a.operations(order) }

func (patchDeploymentAnnotation) operations(order order) ([]operation, error) {
	annotations, err := templateAnnotations(order.object)
	if err != nil {
		return nil, fmt.Errorf("restarting a Deployment: %w", err)
	}
	var operations []operation
	if len(annotations) == 0 {
		operations = append(operations, operation{Op: "add", Path: annotationsPath, Value: map[string]string{}})
	}
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(policy.RestartedAtAnnotation)
	operations = append(operations, operation{Op: "add", Path: annotationsPath + "/" + escaped, Value: order.value})
	return guarded(order, operations...), nil
}

// templateAnnotations are those of the pod template of a Deployment.
func templateAnnotations(object client.Object) (map[string]string, error) {
	deployment, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("the target is a %T", object)
	}
	annotations, _, err := unstructured.NestedStringMap(deployment.Object, "spec", "template", "metadata", "annotations")
	return annotations, err
}

// value implements action.
func (patchDeploymentAnnotation) value(claims *token.Claims) string {
	return policy.RestartedAt(claims)
}

// deletes implements action.
func (patchDeploymentAnnotation) deletes() bool { return false }

// done implements action.
func (patchDeploymentAnnotation) done(target client.Object, order order) (bool, string) {
	annotations, err := templateAnnotations(target)
	if err != nil {
		return false, "cannot be read: " + err.Error()
	}
	value, set := annotations[policy.RestartedAtAnnotation]
	switch {
	case !set:
		return false, "does not have the annotation " + policy.RestartedAtAnnotation
	case value != order.value || order.value == "":
		return false, fmt.Sprintf("has the annotation %s with another value than %q", policy.RestartedAtAnnotation, order.value)
	}
	return true, fmt.Sprintf("has the annotation %s=%s", policy.RestartedAtAnnotation, order.value)
}

func (patchDeploymentAnnotation) summary(order order) string {
	return fmt.Sprintf("Set %s=%s on the pod template of Deployment %s/%s",
		policy.RestartedAtAnnotation, order.value, order.target.Namespace, order.target.Name)
}
