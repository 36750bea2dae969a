// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// What specimens are about: the cheapest finding is that of a Role which allows every
// verb, the cheapest clusterfinding that of such a ClusterRole, and the cheapest
// proposal the runbook of an Investigation of such a finding.

func createWide(ctx context.Context, namespace, name string) error {
	return createRole(ctx, namespace, name)
}

func updateWide(ctx context.Context, namespace, name string, round int) error {
	return updateRole(ctx, namespace, name, fmt.Sprintf("resource-%d", round))
}

// clusterRolePrefix is how the names of this package's ClusterRoles begin, and
// clusterRoleLabel is on all of them.
const (
	clusterRolePrefix = "conformance-"
	clusterRoleLabel  = "conformance"
)

func wideClusterRole(name, resource string) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: clusterRolePrefix + name, Labels: map[string]string{clusterRoleLabel: ""}},
		Rules:      wideRole("", name, resource).Rules,
	}
}

func createClusterRole(ctx context.Context, _, name string) error {
	_, err := kube.RbacV1().ClusterRoles().Create(ctx, wideClusterRole(name, "pods"), metav1.CreateOptions{})
	return err
}

func updateClusterRole(ctx context.Context, _, name string, round int) error {
	_, err := kube.RbacV1().ClusterRoles().Update(ctx, wideClusterRole(name, fmt.Sprintf("resource-%d", round)), metav1.UpdateOptions{})
	return err
}

func deleteClusterRole(ctx context.Context, _, name string) error {
	return kube.RbacV1().ClusterRoles().Delete(ctx, clusterRolePrefix+name, metav1.DeleteOptions{})
}

// deleteClusterRoles deletes what a test made of them when it ends.
func deleteClusterRoles(t *testing.T) {
	t.Helper()
	all := metav1.ListOptions{LabelSelector: labels.Set{clusterRoleLabel: ""}.String()}
	if err := kube.RbacV1().ClusterRoles().DeleteCollection(context.Background(), metav1.DeleteOptions{}, all); err != nil {
		t.Error(err)
	}
}

// withoutClusterRoles waits until no clusterfinding is about what an earlier test made.
func withoutClusterRoles(t *testing.T) {
	t.Helper()
	eventually(t, "the clusterfindings of others to go", func(ctx context.Context) (bool, string) {
		list, err := objects.Resource(clusterFindingsResource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		left := slices.DeleteFunc(subjects(list.Items), func(name string) bool { return !strings.HasPrefix(name, clusterRolePrefix) })
		return len(left) == 0, fmt.Sprint(left)
	})
}

// target is the name of what a proposal is about.
func target(proposal *unstructured.Unstructured) string {
	name, _, _ := unstructured.NestedString(proposal.Object, "spec", "target", "name")
	return name
}

var investigationsResource = opsv1alpha1.SchemeGroupVersion.WithResource("investigations")

// createRunbook makes a wide Role, and drafts a runbook for the finding about it.
func createRunbook(ctx context.Context, namespace, name string) error {
	if err := createRole(ctx, namespace, name); err != nil {
		return err
	}
	var finding *unstructured.Unstructured
	err := wait.PollUntilContextTimeout(ctx, pollInterval/5, deadline, true, func(ctx context.Context) (bool, error) {
		list, err := objects.Resource(findingsResource).Namespace(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.subject.name=" + name})
		if err != nil || len(list.Items) == 0 {
			return false, err
		}
		finding = &list.Items[0]
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the finding about %s: %w", name, err)
	}
	investigation := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": opsv1alpha1.SchemeGroupVersion.String(), "kind": "Investigation",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec":     map[string]any{"finding": map[string]any{"name": finding.GetName(), "uid": string(finding.GetUID())}},
	}}
	if _, err := objects.Resource(investigationsResource).Namespace(namespace).Create(ctx, investigation, metav1.CreateOptions{}); err != nil {
		return err
	}
	return updateRunbook(ctx, namespace, name, 0)
}

func updateRunbook(ctx context.Context, namespace, name string, round int) error {
	client := objects.Resource(investigationsResource).Namespace(namespace)
	investigation, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	draft := map[string]any{"title": "Narrow " + name, "text": fmt.Sprintf("kubectl edit role %s # edition %d", name, round)}
	if err := unstructured.SetNestedMap(investigation.Object, draft, "status", "runbook"); err != nil {
		return err
	}
	_, err = client.UpdateStatus(ctx, investigation, metav1.UpdateOptions{})
	return err
}

// deleteRunbook deletes the draft first, so that the proposal goes once.
func deleteRunbook(ctx context.Context, namespace, name string) error {
	if err := objects.Resource(investigationsResource).Namespace(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return deleteRole(ctx, namespace, name)
}
