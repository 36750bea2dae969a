// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// benchmarkSizes are in pods.
var benchmarkSizes = []int{1000, 10000}

// filled is a cluster of StatefulSets with five replicas over a hundred namespaces.
func filled(size int) (*livetest.Cluster, []*corev1.Pod) {
	const namespaces, replicas = 100, 5
	cluster := &livetest.Cluster{}
	var pods []*corev1.Pod
	for i := range size / replicas {
		meta := metav1.ObjectMeta{Namespace: fmt.Sprintf("ns-%02d", i%namespaces), Name: fmt.Sprintf("web-%d", i), UID: types.UID(fmt.Sprint(i))}
		template := corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": meta.Name}},
			Spec: corev1.PodSpec{ServiceAccountName: "default", Containers: []corev1.Container{{Name: "main", EnvFrom: []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: meta.Name}}},
			}}}},
		}
		cluster.Set(inputs.ConfigMaps.Ref().Resource(), &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name}})
		cluster.Set(inputs.StatefulSets.Ref().Resource(), &appsv1.StatefulSet{
			ObjectMeta: meta,
			Spec:       appsv1.StatefulSetSpec{Replicas: ptr.To[int32](replicas), Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template},
			Status:     appsv1.StatefulSetStatus{Replicas: replicas, ReadyReplicas: replicas, UpdatedReplicas: replicas, AvailableReplicas: replicas},
		})
		for ordinal := range replicas {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: meta.Namespace, Name: fmt.Sprintf("%s-%d", meta.Name, ordinal), Labels: template.Labels,
					OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: meta.Name, UID: meta.UID, Controller: ptr.To(true)}},
				},
				Spec: *template.Spec.DeepCopy(),
				Status: corev1.PodStatus{
					Phase: corev1.PodRunning, StartTime: &metav1.Time{Time: time.Now().Add(-time.Hour)},
					Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
					ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
				},
			}
			pod.Spec.NodeName = fmt.Sprintf("node-%02d", ordinal)
			pods = append(pods, pod)
			cluster.Set(inputs.Pods.Ref().Resource(), pod)
		}
	}
	return cluster, pods
}

func newEngine(b *testing.B, workers int) *live.Engine {
	b.Helper()
	configuration := &config.SrenixConfiguration{}
	config.Default(configuration)
	rules, err := Build(configuration, "srenix-system", func(string) string { return "" })
	if err != nil {
		b.Fatal(err)
	}
	engine := live.New(live.Options{Workers: workers})
	for _, rule := range rules {
		if err := engine.AddRule(rule); err != nil {
			b.Fatal(err)
		}
	}
	return engine
}

// BenchmarkColdStart is the time from an engine that knows nothing to all that
// analyzers have to say of a cluster.
func BenchmarkColdStart(b *testing.B) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprintf("%d pods", size), func(b *testing.B) {
			cluster, _ := filled(size)
			b.ReportAllocs()
			for b.Loop() {
				engine := newEngine(b, 0)
				ctx, stop := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				go func() { ended <- engine.Run(ctx, cluster) }()
				if err := engine.WaitForSync(ctx); err != nil {
					b.Fatal(err)
				}
				stop()
				if err := <-ended; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPodChange is the time from a changed pod to all that analyzers make of
// it, in clusters of different sizes: it must not depend on the size.
func BenchmarkPodChange(b *testing.B) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprintf("%d pods", size), func(b *testing.B) {
			cluster, pods := filled(size)
			changePods(b, cluster, pods, func(pod *corev1.Pod) { pod.Status.ContainerStatuses[0].RestartCount++ })
		})
	}
}

// BenchmarkPodChangeOfDaemonSet is that of one workload with many pods, each of which
// was restarted that often, long ago.
func BenchmarkPodChangeOfDaemonSet(b *testing.B) {
	for _, restarts := range []int32{0, 1, 30} {
		for _, size := range []int{50, 500, 5000} {
			b.Run(fmt.Sprintf("%d pods, %d restarts each", size, restarts), func(b *testing.B) {
				cluster, pods := daemonSet(size, restarts)
				changePods(b, cluster, pods, func(*corev1.Pod) {})
			})
		}
	}
}

// daemonSet is a cluster of one DaemonSet.
func daemonSet(size int, restarts int32) (*livetest.Cluster, []*corev1.Pod) {
	cluster := &livetest.Cluster{}
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "agent", UID: "agent"}
	count := int32(size)
	cluster.Set(inputs.Namespaces.Ref().Resource(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: meta.Namespace, UID: "namespace"}})
	cluster.Set(inputs.DaemonSets.Ref().Resource(), &appsv1.DaemonSet{
		ObjectMeta: meta,
		Status:     appsv1.DaemonSetStatus{DesiredNumberScheduled: count, CurrentNumberScheduled: count, UpdatedNumberScheduled: count, NumberReady: count},
	})
	since := metav1.NewTime(time.Now().Add(-time.Hour))
	status := corev1.ContainerStatus{Name: "main", Ready: true, RestartCount: restarts, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: since}}}
	if restarts > 0 {
		status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: 1, Reason: "Error", StartedAt: metav1.NewTime(since.Add(-time.Hour)), FinishedAt: since,
		}
	}
	var pods []*corev1.Pod
	for i := range size {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: meta.Namespace, Name: fmt.Sprintf("agent-%05d", i), UID: types.UID(fmt.Sprint(i)),
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: meta.Name, UID: meta.UID, Controller: ptr.To(true)}},
			},
			Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i)},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, StartTime: &since,
				Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{*status.DeepCopy()},
			},
		}
		pods = append(pods, pod)
		cluster.Set(inputs.Pods.Ref().Resource(), pod)
	}
	return cluster, pods
}

// changePods changes one pod after the other, and waits for what analyzers make of it.
func changePods(b *testing.B, cluster *livetest.Cluster, pods []*corev1.Pod, change func(*corev1.Pod)) {
	b.Helper()
	engine := newEngine(b, 1)
	livetest.Run(b, engine, cluster)
	livetest.Settle(b, engine, cluster, inputs.StatefulSets)
	livetest.Settle(b, engine, cluster, inputs.Pods)
	version := func(pod *corev1.Pod) string {
		stored, _ := live.Get(engine, inputs.Pods, live.Key{Namespace: pod.Namespace, Name: pod.Name})
		return stored.ResourceVersion
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		pod := pods[i*7%len(pods)]
		change(pod)
		pod.Status.Conditions[0].LastTransitionTime.Time = time.Now().Add(time.Duration(i) * time.Second) // kept in whole seconds
		before := version(pod)
		cluster.Set(inputs.Pods.Ref().Resource(), pod)
		for version(pod) == before || !engine.Settled() {
			runtime.Gosched()
		}
	}
}
