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

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

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
		Message: fmt.Sprintf("Pods mount the token of ServiceAccount %s, and no RoleBinding or ClusterRoleBinding gives it anything beyond what every ServiceAccount has.", account.Name),
		Remediation: v1alpha1.Remediation{
			Text:     "If its pods use the API, give it what they need, as the first command does. If they do not, do not bind it, and do not mount its token: " + unmount(account),
			Commands: commands(view, account),
		},
		Since: metav1.NewTime(since),
	}
	if slices.ContainsFunc(identities, func(key string) bool { return account.Annotations[key] != "" }) {
		spec.Severity = v1alpha1.SeverityInfo
		spec.Message = fmt.Sprintf("Pods mount the token of ServiceAccount %s, which a cloud knows, and no RoleBinding or ClusterRoleBinding gives it anything here beyond what every ServiceAccount has.", account.Name)
		spec.Remediation.Text = "If its pods use the API too, give it what they need, as the first command does. An account that is for the cloud alone needs nothing here: do not bind it, and do not mount its token: " + unmount(account)
	}
	return []v1alpha1.FindingSpec{spec}, nil
}

// bound tells whether some binding is about an account: by its name, by that of its
// user, or by the group of the accounts of its namespace. What every ServiceAccount has,
// by the groups that all are in, tells nothing of this one: Kubernetes and srenix itself
// have such bindings.
func bound(view *live.View, account *corev1.ServiceAccount) bool {
	namespace, name := account.Namespace, account.Name
	for _, subject := range []rbacv1.Subject{
		{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name},
		{Kind: rbacv1.UserKind, Name: serviceaccount.MakeUsername(namespace, name)},
		{Kind: rbacv1.GroupKind, Name: serviceaccount.MakeNamespaceGroupName(namespace)},
	} {
		value := inputs.SubjectValue(subject, "")
		if len(inputs.RoleBindings.ByIndex(view, inputs.BySubject, value)) > 0 || len(inputs.ClusterRoleBindings.ByIndex(view, inputs.BySubject, value)) > 0 {
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
