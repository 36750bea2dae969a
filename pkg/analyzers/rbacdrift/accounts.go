// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rbacdrift

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// everybodys are the roles that Kubernetes gives to everybody who is authenticated,
// or to all ServiceAccounts: to ask what there is, and what one may do. An account
// that has no more than these has nothing that somebody gave it.
var everybodys = []string{"system:basic-user", "system:discovery", publicInfoViewer, "system:service-account-issuer-discovery"}

// identities are the annotations by which clouds give an identity of theirs to an
// account: of IAM roles of AWS, of Google Cloud, and of Entra.
var identities = []string{"eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account", "azure.workload.identity/client-id"}

// serviceAccount judges whether an account that pods mount is good for anything.
// Pods are read last, and only of accounts without a binding: there are few, so
// that the pods of the others may come and go.
func (a analyzer) serviceAccount(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	account, exists := inputs.ServiceAccounts.Get(view, subject)
	if !exists || account.DeletionTimestamp != nil || account.Name == "default" ||
		slices.Contains(systemNamespaces, account.Namespace) || a.accounts[fullName(account)] {
		return nil, nil
	}
	if bound(view, account) || !mounted(view, account) {
		return nil, nil
	}
	since := view.FirstObserved(Unbound)
	if !a.past(view, since) {
		return nil, nil
	}
	spec := v1alpha1.FindingSpec{
		Reason: Unbound, Severity: v1alpha1.SeverityWarning, Subject: reference("v1", "ServiceAccount", account),
		Message: fmt.Sprintf("Pods mount the token of ServiceAccount %s, and no RoleBinding or ClusterRoleBinding gives it anything.", account.Name),
		Remediation: v1alpha1.Remediation{
			Text:     "If its pods use the API, give it what they need, as the first command does. If they do not, do not bind it, and do not mount its token: " + unmount(account),
			Commands: commands(view, account),
		},
		Since: metav1.NewTime(since),
	}
	if slices.ContainsFunc(identities, func(key string) bool { return account.Annotations[key] != "" }) {
		spec.Severity = v1alpha1.SeverityInfo
		spec.Message = fmt.Sprintf("Pods mount the token of ServiceAccount %s, which a cloud knows, and no RoleBinding or ClusterRoleBinding gives it anything here.", account.Name)
		spec.Remediation.Text = "If its pods use the API too, give it what they need, as the first command does. An account that is for the cloud alone needs nothing here: do not bind it, and do not mount its token: " + unmount(account)
	}
	return []v1alpha1.FindingSpec{spec}, nil
}

// bound tells whether some binding is about an account: by its name, by that of
// its user, or by a group that it is in.
func bound(view *live.View, account *corev1.ServiceAccount) bool {
	namespace, name := account.Namespace, account.Name
	for _, subject := range []rbacv1.Subject{
		{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name},
		{Kind: rbacv1.UserKind, Name: serviceaccount.MakeUsername(namespace, name)},
		{Kind: rbacv1.GroupKind, Name: serviceaccount.MakeNamespaceGroupName(namespace)},
		{Kind: rbacv1.GroupKind, Name: serviceaccount.AllServiceAccountsGroup},
		{Kind: rbacv1.GroupKind, Name: user.AllAuthenticated},
	} {
		value := inputs.SubjectValue(subject, "")
		gives := func(role rbacv1.RoleRef) bool {
			return subject.Kind != rbacv1.GroupKind || role.Kind != "ClusterRole" || !slices.Contains(everybodys, role.Name)
		}
		if slices.ContainsFunc(inputs.RoleBindings.ByIndex(view, inputs.BySubject, value), func(b *rbacv1.RoleBinding) bool { return gives(b.RoleRef) }) ||
			slices.ContainsFunc(inputs.ClusterRoleBindings.ByIndex(view, inputs.BySubject, value), func(b *rbacv1.ClusterRoleBinding) bool { return gives(b.RoleRef) }) {
			return true
		}
	}
	return false
}

// mounted tells whether a pod that is not over has the token of an account. What
// the pod says wins over what the account says.
func mounted(view *live.View, account *corev1.ServiceAccount) bool {
	return slices.ContainsFunc(inputs.Pods.ByIndex(view, inputs.ByServiceAccount, fullName(account)), func(pod *corev1.Pod) bool {
		mounts := pod.Spec.AutomountServiceAccountToken
		if mounts == nil {
			mounts = account.AutomountServiceAccountToken
		}
		return pod.DeletionTimestamp == nil && !inputs.Finished(pod) && (mounts == nil || *mounts)
	})
}

// unmount is the command of who does not want the token mounted, which is not to be run
// beside the one that gives it something, as it is in a text.
func unmount(account *corev1.ServiceAccount) string {
	return fmt.Sprintf("`kubectl patch serviceaccount %s -n %s -p '{\"automountServiceAccountToken\":false}'`", account.Name, account.Namespace)
}

// commands bind the account to the role of its name, if there is one, else to the
// least of the roles that every cluster has.
func commands(view *live.View, account *corev1.ServiceAccount) []string {
	namespace, name := account.Namespace, account.Name
	bind := fmt.Sprintf("kubectl create rolebinding %s-view --clusterrole=view --serviceaccount=%s:%s -n %s", name, namespace, name, namespace)
	if _, exists := inputs.Roles.Get(view, live.Key{Namespace: namespace, Name: name}); exists {
		bind = fmt.Sprintf("kubectl create rolebinding %s --role=%s --serviceaccount=%s:%s -n %s", name, name, namespace, name, namespace)
	}
	return []string{
		bind,
		fmt.Sprintf("kubectl get pods -n %s --field-selector spec.serviceAccountName=%s", namespace, name),
	}
}
