// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

func (patchDeploymentAnnotation) newTarget() client.Object { return &appsv1.Deployment{} }

func (patchDeploymentAnnotation) do(ctx context.Context, c client.Client, order order, dryRun bool) (client.Object, error) {
	deployment, ok := order.object.(*appsv1.Deployment)
	if !ok {
		return nil, fmt.Errorf("restarting a Deployment: the target is a %T", order.object)
	}
	var operations []operation
	if len(deployment.Spec.Template.Annotations) == 0 {
		operations = append(operations, operation{Op: "add", Path: annotationsPath, Value: map[string]string{}})
	}
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(policy.RestartedAtAnnotation)
	operations = append(operations, operation{Op: "add", Path: annotationsPath + "/" + escaped, Value: order.value})
	return sendPatch(ctx, c, order, &appsv1.Deployment{}, dryRun, operations...)
}

// value implements action.
func (patchDeploymentAnnotation) value(claims *token.Claims) string {
	return policy.RestartedAt(claims)
}

// deletes implements action.
func (patchDeploymentAnnotation) deletes() bool { return false }

// done implements action.
func (patchDeploymentAnnotation) done(target client.Object, order order) (bool, string) {
	deployment, ok := target.(*appsv1.Deployment)
	if !ok {
		return false, fmt.Sprintf("is a %T", target)
	}
	value, set := deployment.Spec.Template.Annotations[policy.RestartedAtAnnotation]
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
