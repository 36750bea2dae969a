// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// hostile are names that RBAC takes: anything but a slash and a percent sign.
var hostile = []string{
	"system-like:with:colons",
	"colons::and: spaces",
	"日本語の役割",
	"emoji 🙂🏳️‍🌈",
	"right-to-left \u202eevil\u202c",
	"zero\u200bwidth\ufeff",
	"quotes ' \" `id` $(id) ; drop table",
	"<script>alert(1)<script>",
	"new\nline\tand\x1b[31mred",
	"UPPER.Case_under-score",
	"..hidden",
	"combining é and é",
	"{{.}} ${x} &amp; \\",
	strings.Repeat("long-", 50),
}

// strange makes wide Roles and ClusterRoles of hostile names, and pods whose
// labels and messages are as strange, and takes them back.
func (s *installation) strange() (undo func(*installation)) {
	s.Helper()
	ctx := s.Context()
	for i, name := range hostile {
		_, err := s.kube.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: anyPods}, metav1.CreateOptions{})
		if err != nil {
			s.Fatalf("name %d, %q: %v", i, name, err)
		}
		_, err = s.kube.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: anyPods}, metav1.CreateOptions{})
		must(s.T, err)
	}
	longest := "n" + strings.Repeat("a", 62)
	for i, message := range hostile {
		name := fmt.Sprintf("strange-%d", i)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Annotations: map[string]string{"strange.example.com/text": message, "controlplane.srenix.io/ready": "false"},
				Labels: map[string]string{strings.Repeat("p", 63) + ".example.com/" + longest: longest},
			},
			Spec: template(name).Spec,
		}
		_, err := s.kube.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
		must(s.T, err)
		patch, err := json.Marshal(map[string]any{"status": map[string]any{
			"message": message, "conditions": []any{map[string]any{"type": "Strange", "status": "False", "message": message}},
		}})
		must(s.T, err)
		_, err = s.kube.CoreV1().Pods(namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		must(s.T, err)
	}
	return func(s *installation) {
		ctx := s.Context()
		for i, name := range hostile {
			must(s.T, s.kube.RbacV1().Roles(namespace).Delete(ctx, name, metav1.DeleteOptions{}))
			must(s.T, s.kube.RbacV1().ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{}))
			must(s.T, s.kube.CoreV1().Pods(namespace).Delete(ctx, fmt.Sprintf("strange-%d", i), metav1.DeleteOptions{}))
		}
	}
}

// missing tells of which hostile Roles and ClusterRoles there are no findings.
func (s *installation) missing(watched *watched) (missing []string) {
	subjects := watched.subjects()
	for _, kind := range []string{"Role", "ClusterRole"} {
		for _, name := range hostile {
			if !subjects[[2]string{kind, name}] {
				missing = append(missing, kind+" "+name)
			}
		}
	}
	return missing
}
