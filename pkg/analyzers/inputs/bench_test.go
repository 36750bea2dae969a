// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkTrimPod is done to every Pod that arrives.
func BenchmarkTrimPod(b *testing.B) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: map[string]string{"app": "a"}, ManagedFields: make([]metav1.ManagedFieldsEntry, 3)}}
	for i := range 2 {
		container := corev1.Container{Name: fmt.Sprint(i), Image: "example/app:1"}
		for j := range 12 {
			container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprint(j), Value: "value"})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, container)
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: fmt.Sprint(i), Ready: true})
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	b.ReportAllocs()
	for b.Loop() {
		trimPod(pod)
	}
}
