// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package imagepull

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// pullSecrets tells which pull secrets a pod has, and which of them are not there.
// Those of its service account are among them: admission copies them into the pod.
func pullSecrets(view *live.View, pod *corev1.Pod) (sentence string, related []v1alpha1.RelatedObject) {
	var there, missing []string
	for _, reference := range pod.Spec.ImagePullSecrets {
		if reference.Name == "" {
			continue
		}
		to := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Secret", Namespace: pod.Namespace, Name: reference.Name}
		if secret, exists := inputs.Secrets.Get(view, live.Key{Namespace: pod.Namespace, Name: reference.Name}); exists {
			to.UID = secret.UID
			there = append(there, reference.Name)
		} else {
			missing = append(missing, reference.Name)
		}
		related = append(related, v1alpha1.RelatedObject{Relation: "pull secret", ObjectReference: to})
	}
	switch {
	case len(there)+len(missing) == 0:
		return fmt.Sprintf("Pod %s has no pull secret", pod.Name), nil
	case len(there) == 0:
		return fmt.Sprintf("Pod %s has no pull secret that exists: %s %s not", pod.Name, workloads.Names(missing), does(missing)), related
	}
	sentence = fmt.Sprintf("Pod %s has pull secret %s", pod.Name, workloads.Names(there))
	if len(missing) > 0 {
		sentence += fmt.Sprintf(". It also names %s, which %s not exist", workloads.Names(missing), does(missing))
	}
	return sentence, related
}

func does(names []string) string {
	if len(names) > 1 {
		return "do"
	}
	return "does"
}

func secretCommands(pod *corev1.Pod) []string {
	return []string{
		fmt.Sprintf("kubectl get serviceaccount %s -n %s -o yaml", cmp.Or(pod.Spec.ServiceAccountName, "default"), pod.Namespace),
		fmt.Sprintf("kubectl get secrets -n %s --field-selector type=kubernetes.io/dockerconfigjson", pod.Namespace),
	}
}
