// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/srenix/srenix/pkg/live"
)

const (
	// BySubject finds bindings by SubjectValue of one of their subjects.
	BySubject = "subject"
)

// Who may do what. Changed tells since when: of roles by the rules, of bindings by who
// is bound to what.
var (
	Roles = live.NewInput(rbacv1.SchemeGroupVersion.WithResource("roles"), live.InputOptions[*rbacv1.Role]{
		Trim: func(in *rbacv1.Role) *rbacv1.Role { keepChangeOf(&in.ObjectMeta, "rules"); return in },
	})
	ClusterRoles = live.NewInput(rbacv1.SchemeGroupVersion.WithResource("clusterroles"), live.InputOptions[*rbacv1.ClusterRole]{
		Trim: func(in *rbacv1.ClusterRole) *rbacv1.ClusterRole { keepChangeOf(&in.ObjectMeta, "rules"); return in },
	})
	RoleBindings = live.NewInput(rbacv1.SchemeGroupVersion.WithResource("rolebindings"), live.InputOptions[*rbacv1.RoleBinding]{
		Trim: func(in *rbacv1.RoleBinding) *rbacv1.RoleBinding {
			keepChangeOf(&in.ObjectMeta, "subjects", "roleRef")
			return in
		},
		Indexes: map[string]func(*rbacv1.RoleBinding) []string{
			BySubject: func(in *rbacv1.RoleBinding) []string { return subjectValues(in.Subjects, in.Namespace) },
		},
	})
	ClusterRoleBindings = live.NewInput(rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings"), live.InputOptions[*rbacv1.ClusterRoleBinding]{
		Trim: func(in *rbacv1.ClusterRoleBinding) *rbacv1.ClusterRoleBinding {
			keepChangeOf(&in.ObjectMeta, "subjects", "roleRef")
			return in
		},
		Indexes: map[string]func(*rbacv1.ClusterRoleBinding) []string{
			BySubject: func(in *rbacv1.ClusterRoleBinding) []string { return subjectValues(in.Subjects, "") },
		},
	})
	ServiceAccounts = live.NewInput(corev1.SchemeGroupVersion.WithResource("serviceaccounts"), live.InputOptions[*corev1.ServiceAccount]{
		Trim: func(in *corev1.ServiceAccount) *corev1.ServiceAccount {
			trimMeta(&in.ObjectMeta)
			in.Secrets = nil
			return in
		},
	})
)

// SubjectValue is what bindings of a subject are found under. namespace is the
// binding's, which a ServiceAccount without one is in; of users and groups it does
// not matter.
func SubjectValue(subject rbacv1.Subject, namespace string) string {
	if subject.Kind != rbacv1.ServiceAccountKind {
		return subject.Kind + ":" + subject.Name
	}
	if subject.Namespace != "" {
		namespace = subject.Namespace
	}
	return subject.Kind + ":" + namespace + "/" + subject.Name
}

func subjectValues(subjects []rbacv1.Subject, namespace string) []string {
	var values []string
	for _, subject := range subjects {
		values = append(values, SubjectValue(subject, namespace))
	}
	return values
}
