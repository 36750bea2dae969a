// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
)

// restartRollout begins the rollout of a Deployment anew where all that is wrong
// is that its new pods run and do not become Ready, and they started before something
// that they take their configuration from was as it is. Whatever else holds a rollout
// up, an image, a key, a crash, a quota, no room, is the same for the next pods of the
// same template; and what a restart of this revision did not mend, another does not.
func restartRollout(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	subject := finding.Spec.Subject
	if subject.Kind != "Deployment" {
		return fix{}, false // no action is for the others
	}
	deployment, exists := inputs.Deployments.Get(view, live.Key{Namespace: subject.Namespace, Name: subject.Name})
	if !exists || deployment.UID != subject.UID || deployment.DeletionTimestamp != nil {
		return fix{}, false
	}
	if stuckrollout.Why(view, deployment).Kind != stuckrollout.NotReady || stuckrollout.Restarted(view, deployment) {
		return fix{}, false
	}
	late, exists := changedSince(view, deployment)
	if !exists {
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionPatchDeploymentAnnotation, target: subject,
		patch: &v1alpha1.Patch{SetAnnotation: &v1alpha1.SetAnnotation{Name: policy.RestartedAtAnnotation}},
		rationale: fmt.Sprintf("The new pods of Deployment %s run on nodes that are Ready, have not crashed, and do not become Ready. %s %s, which they take their configuration from, was made or changed after they started: a restart replaces them by fresh ones, within the Deployment's own update strategy.",
			deployment.Name, late.kind, late.name),
	}, true
}

// changedSince returns a ConfigMap or Secret that changed after all new pods of a
// Deployment started that are not Ready. One that started later shows that it does not help.
func changedSince(view *live.View, deployment *appsv1.Deployment) (configuration, bool) {
	var started time.Time
	for _, pod := range stuckrollout.NewPods(view, deployment) {
		if pod.DeletionTimestamp != nil || inputs.Finished(pod) || inputs.ConditionOfPod(pod, corev1.PodReady).Status == corev1.ConditionTrue {
			continue
		}
		if pod.Status.StartTime == nil {
			return configuration{}, false
		}
		if pod.Status.StartTime.After(started) {
			started = pod.Status.StartTime.Time
		}
	}
	for _, from := range configurationOf(&deployment.Spec.Template.Spec) {
		if object, exists := from.get(view, deployment.Namespace); exists && inputs.Changed(object).After(started) {
			return from, true
		}
	}
	return configuration{}, false
}
