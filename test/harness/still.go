// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	stillNamespace = "still"
	stillSets      = 3
	stillRoles     = 5
	stillDeadline  = time.Minute
	stillPoll      = 100 * time.Millisecond
)

// Still is trouble that nothing changes: StatefulSets whose first pod is stuck, and wide
// Roles. Whatever happens to the servers, nobody who watches is to hear of it again.
type Still struct {
	mu   sync.Mutex
	told []string
}

// NewStill makes the trouble in a namespace of its own, and waits until informers that
// run until ctx ends know its findings and proposals. It needs a grace of
// WorkloadStateDrift of seconds.
func NewStill(ctx context.Context, kube kubernetes.Interface, client dynamic.Interface) (*Still, error) {
	if err := makeStill(ctx, kube); err != nil {
		return nil, err
	}
	s := &Still{}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, stillNamespace, nil)
	stores := map[string]cache.Store{}
	for _, resource := range []string{"findings", "proposals"} {
		informer := factory.ForResource(v1alpha1.SchemeGroupVersion.WithResource(resource)).Informer()
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { s.hear("added", resource, object) },
			DeleteFunc: func(object any) { s.hear("deleted", resource, object) },
			UpdateFunc: func(old, object any) {
				// After a list, an informer tells of all that has another version, as
				// everything has that another server lists.
				if diff := difference(old, object); diff != "" {
					s.hear("changed", resource, object, diff)
				}
			},
		}); err != nil {
			return nil, fmt.Errorf("following %s: %w", resource, err)
		}
		stores[resource] = informer.GetStore()
	}
	factory.Start(ctx.Done())
	var has string
	err := wait.PollUntilContextTimeout(ctx, stillPoll, stillDeadline, true, func(context.Context) (bool, error) {
		stuck, wide, proposed := reasons(stores["findings"], "OrdinalZeroNotReady"), reasons(stores["findings"], "WildcardVerbs"), len(stores["proposals"].List())
		named := 0 // which is the last that becomes so
		for _, object := range stores["findings"].List() {
			names, _, _ := unstructured.NestedStringSlice(object.(*unstructured.Unstructured).Object, "status", "proposals")
			named += len(names)
		}
		has = fmt.Sprintf("%d findings of StatefulSets, %d of Roles, %d proposals, %d named by findings", stuck, wide, proposed, named)
		return stuck == stillSets && wide == stillRoles && proposed == stillSets && named == stillSets, nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the findings and proposals of namespace %s: %w; there are %s", stillNamespace, err, has)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = nil
	return s, nil
}

// Told is what was told since: nothing, if all is well.
func (s *Still) Told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

func (s *Still) hear(what, resource string, object any, how ...string) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		key = err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, strings.Join(append([]string{what, resource, key}, how...), " "))
}

// difference is what two versions of an object differ in beside the version.
func difference(old, object any) string {
	var plain [2]*unstructured.Unstructured
	for i, of := range []any{old, object} {
		plain[i] = of.(*unstructured.Unstructured).DeepCopy()
		plain[i].SetResourceVersion("")
	}
	return cmp.Diff(plain[0].Object, plain[1].Object)
}

func reasons(store cache.Store, reason string) (count int) {
	for _, object := range store.List() {
		if text, _, _ := unstructured.NestedString(object.(*unstructured.Unstructured).Object, "spec", "reason"); text == reason {
			count++
		}
	}
	return count
}

func makeStill(ctx context.Context, kube kubernetes.Interface) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: stillNamespace}}
	if _, err := kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making namespace %s: %w", stillNamespace, err)
	}
	for i := range stillRoles {
		role := &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("wide-%d", i)},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}}},
		}
		if _, err := kube.RbacV1().Roles(stillNamespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making a Role: %w", err)
		}
	}
	for i := range stillSets {
		name := fmt.Sprintf("stuck-%d", i)
		labels := map[string]string{"app": name}
		set := &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels}, PodManagementPolicy: appsv1.ParallelPodManagement,
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example/app:1"}}},
				},
			},
		}
		if _, err := kube.AppsV1().StatefulSets(stillNamespace).Create(ctx, set, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making a StatefulSet: %w", err)
		}
	}
	for i := range stillSets {
		if err := stick(ctx, kube, fmt.Sprintf("stuck-%d-0", i)); err != nil {
			return err
		}
	}
	return nil
}

// stick has a pod that has become Ready not be so any more.
func stick(ctx context.Context, kube kubernetes.Interface, name string) error {
	pods := kube.CoreV1().Pods(stillNamespace)
	err := wait.PollUntilContextTimeout(ctx, stillPoll, stillDeadline, true, func(ctx context.Context) (bool, error) {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // It is not made yet.
		}
		return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for pod %s to be ready: %w", name, err)
	}
	patch := []byte(`{"metadata":{"annotations":{"controlplane.srenix.io/ready":"false"}}}`)
	if _, err := pods.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("having pod %s be stuck: %w", name, err)
	}
	return nil
}
