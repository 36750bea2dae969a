// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
)

// restartRollout begins the rollout of a Deployment anew where all that is wrong
// is that its new pods run and do not become Ready: they may have started before
// something that they depend on. Whatever else holds a rollout up, an image, a key,
// a crash, a quota, no room, is the same for the next pods of the same template.
func restartRollout(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	subject := finding.Spec.Subject
	if subject.Kind != "Deployment" {
		return fix{}, false // no action is for the others
	}
	deployment, exists := inputs.Deployments.Get(view, live.Key{Namespace: subject.Namespace, Name: subject.Name})
	if !exists || deployment.UID != subject.UID || deployment.DeletionTimestamp != nil {
		return fix{}, false
	}
	if stuckrollout.Why(view, deployment).Kind != stuckrollout.NotReady {
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionPatchDeploymentAnnotation, target: subject,
		patch: &v1alpha1.Patch{SetAnnotation: &v1alpha1.SetAnnotation{Name: policy.RestartedAtAnnotation}},
		rationale: fmt.Sprintf("The new pods of Deployment %s run on nodes that are Ready, have not crashed, and do not become Ready. What they need may have come after they started: a restart replaces them by fresh ones, within the Deployment's own update strategy.",
			deployment.Name),
	}, true
}
