// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	namespace   = "shop"
	deployments = 10
	replicas    = 30 // of each deployment
	sets        = 10
	roles       = 60
	changes     = 10_000
	writers     = 16
)

var anyPods = []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}}}

// populate makes several hundred pods, some of them in trouble, and some wide Roles.
func (s *installation) populate() {
	s.Helper()
	ctx := s.Context()
	_, err := s.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	must(s.T, err)
	for i := range deployments {
		name := fmt.Sprintf("web-%d", i)
		_, err := s.kube.CoreV1().ConfigMaps(namespace).Create(ctx, configMap(name, "before"), metav1.CreateOptions{})
		must(s.T, err)
		_, err = s.kube.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](replicas), Selector: selector(name), Template: template(name),
			},
		}, metav1.CreateOptions{})
		must(s.T, err)
	}
	for i := range sets {
		name := fmt.Sprintf("db-%d", i)
		_, err := s.kube.AppsV1().StatefulSets(namespace).Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To[int32](2), Selector: selector(name), Template: template(name), PodManagementPolicy: appsv1.ParallelPodManagement,
			},
		}, metav1.CreateOptions{})
		must(s.T, err)
	}
	for i := deployments; i < writers; i++ {
		_, err := s.kube.CoreV1().ConfigMaps(namespace).Create(ctx, configMap(fmt.Sprintf("other-%d", i), "before"), metav1.CreateOptions{})
		must(s.T, err)
	}
	for i := range roles {
		_, err := s.kube.RbacV1().Roles(namespace).Create(ctx, role(i, "*"), metav1.CreateOptions{})
		must(s.T, err)
	}
	s.eventually("all pods to be ready", func(ctx context.Context) (bool, string) {
		pods, err := s.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		ready := 0
		for i := range pods.Items {
			for _, condition := range pods.Items[i].Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		return ready == deployments*replicas+sets*2, fmt.Sprint(ready, " are ready")
	})
	for i := range sets / 2 {
		s.annotate(ctx, fmt.Sprintf("db-%d-0", i), "controlplane.srenix.io/ready", "false")
	}
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"key": value}}
}

func role(i int, verb string) *rbacv1.Role {
	return &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("wide-%d", i)},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{verb}}},
	}
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func template(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "example/app:1",
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: ptr.To(true),
			}}},
		}}},
	}
}

func (s *installation) annotate(ctx context.Context, pod, annotation, value string) {
	s.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, annotation, value)
	_, err := s.kube.CoreV1().Pods(namespace).Patch(ctx, pod, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	must(s.T, err)
}

// burst makes a number of changes as fast as kube-apiserver takes them: Roles that become wide
// and narrow, ConfigMaps that pods use, pods that become unready and recover.
func (s *installation) burst(changes int) {
	s.Helper()
	var made atomic.Int64
	began := time.Now()
	group, ctx := errgroup.WithContext(s.Context())
	for writer := range writers {
		group.Go(func() error {
			for i := writer; i < changes; i += writers {
				if err := s.change(ctx, i); err != nil {
					return fmt.Errorf("change %d: %w", i, err)
				}
				made.Add(1)
			}
			return nil
		})
	}
	must(s.T, group.Wait())
	s.Logf("%d changes in %s", made.Load(), time.Since(began).Round(time.Second))
}

// change makes change number i. No two writers change one object.
func (s *installation) change(ctx context.Context, i int) error {
	round := i / (4 * writers)
	switch which := i % writers; i / writers % 4 {
	case 0, 1:
		_, err := s.kube.RbacV1().Roles(namespace).Update(ctx, role(which, []string{"get", "*"}[round%2]), metav1.UpdateOptions{})
		return err
	case 2:
		object := configMap(fmt.Sprintf("web-%d", which), fmt.Sprint(i))
		if which >= deployments {
			object.Name = fmt.Sprintf("other-%d", which)
		}
		_, err := s.kube.CoreV1().ConfigMaps(namespace).Update(ctx, object, metav1.UpdateOptions{})
		return err
	default:
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"controlplane.srenix.io/ready":"%t","round":"%d"}}}`, round%2 == 0, round)
		pod := fmt.Sprintf("db-%d-%d", which%sets, which/sets)
		_, err := s.kube.CoreV1().Pods(namespace).Patch(ctx, pod, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}
}

// large makes objects of about as much as etcd takes, and takes them back.
func (s *installation) large() (undo func(*installation)) {
	s.Helper()
	ctx := s.Context()
	for i := range 5 {
		object := configMap(fmt.Sprintf("large-%d", i), strings.Repeat("x", 1<<20-2048))
		_, err := s.kube.CoreV1().ConfigMaps(namespace).Create(ctx, object, metav1.CreateOptions{})
		must(s.T, err)
	}
	// One that is used: it changed after the pods started.
	used := configMap("web-0", strings.Repeat("日本語", 110_000))
	_, err := s.kube.CoreV1().ConfigMaps(namespace).Update(ctx, used, metav1.UpdateOptions{})
	must(s.T, err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "large", Annotations: map[string]string{}}, Spec: template("large").Spec}
	for i := range 4 { // 256 KiB is the most
		pod.Annotations[fmt.Sprintf("large.example.com/%d", i)] = strings.Repeat("a", 64<<10-256)
	}
	for i := range 100 {
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("LARGE_%d", i), Value: strings.Repeat("e", 10<<10)})
	}
	_, err = s.kube.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	must(s.T, err)
	return func(s *installation) {
		ctx := s.Context()
		for i := range 5 {
			must(s.T, s.kube.CoreV1().ConfigMaps(namespace).Delete(ctx, fmt.Sprintf("large-%d", i), metav1.DeleteOptions{}))
		}
		_, err := s.kube.CoreV1().ConfigMaps(namespace).Update(ctx, configMap("web-0", "small again"), metav1.UpdateOptions{})
		must(s.T, err)
		must(s.T, s.kube.CoreV1().Pods(namespace).Delete(ctx, "large", metav1.DeleteOptions{}))
	}
}
