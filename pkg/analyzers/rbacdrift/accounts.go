// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rbacdrift

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// identities are the annotations by which clouds give an identity of theirs to an
// account: of IAM roles of AWS, of Google Cloud, and of Entra.
var identities = []string{"eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account", "azure.workload.identity/client-id"}

// serviceAccount judges whether an account that pods mount is good for anything.
// Pods and what makes them are read last, and only of accounts without a binding: there
// are few, so that the pods of the others may come and go.
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
	how, commands := a.bind(view, account)
	spec := v1alpha1.FindingSpec{
		Reason: Unbound, Severity: v1alpha1.SeverityWarning, Subject: reference("v1", "ServiceAccount", account),
		Message: fmt.Sprintf("Pods mount the token of ServiceAccount %s, and no RoleBinding or ClusterRoleBinding gives it anything beyond what every ServiceAccount has.", account.Name),
		Remediation: v1alpha1.Remediation{
			Text:     "If its pods use the API, " + how + " If they do not, do not bind it, and do not mount its token: " + unmount(account),
			Commands: commands,
		},
		Since: metav1.NewTime(since),
	}
	if slices.ContainsFunc(identities, func(key string) bool { return account.Annotations[key] != "" }) {
		spec.Severity = v1alpha1.SeverityInfo
		spec.Message = fmt.Sprintf("Pods mount the token of ServiceAccount %s, which a cloud knows, and no RoleBinding or ClusterRoleBinding gives it anything here beyond what every ServiceAccount has.", account.Name)
		spec.Remediation.Text = "If its pods use the API too, " + how + " An account that is for the cloud alone needs nothing here: do not bind it, and do not mount its token: " + unmount(account)
	}
	return []v1alpha1.FindingSpec{spec}, nil
}

// bound tells whether some binding is about an account: by its name, by that of its
// user, or by a group that it is in. Those that Kubernetes and srenix itself have for
// the groups that all accounts are in tell nothing of this one.
func bound(view *live.View, account *corev1.ServiceAccount) bool {
	namespace, name := account.Namespace, account.Name
	for _, subject := range []rbacv1.Subject{
		{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name},
		{Kind: rbacv1.UserKind, Name: serviceaccount.MakeUsername(namespace, name)},
		{Kind: rbacv1.GroupKind, Name: serviceaccount.MakeNamespaceGroupName(namespace)},
	} {
		if boundAs(view, subject, func(metav1.Object) bool { return true }) {
			return true
		}
	}
	for _, group := range []string{serviceaccount.AllServiceAccountsGroup, user.AllAuthenticated} {
		if boundAs(view, rbacv1.Subject{Kind: rbacv1.GroupKind, Name: group}, ofTheSite) {
			return true
		}
	}
	return false
}

// boundAs tells whether a binding that counts has a subject.
func boundAs(view *live.View, subject rbacv1.Subject, counts func(metav1.Object) bool) bool {
	value := inputs.SubjectValue(subject, "")
	return slices.ContainsFunc(inputs.RoleBindings.ByIndex(view, inputs.BySubject, value), func(b *rbacv1.RoleBinding) bool { return counts(b) }) ||
		slices.ContainsFunc(inputs.ClusterRoleBindings.ByIndex(view, inputs.BySubject, value), func(b *rbacv1.ClusterRoleBinding) bool { return counts(b) })
}

// ofTheSite tells whether a binding is neither Kubernetes' own nor srenix's.
func ofTheSite(binding metav1.Object) bool {
	labels := binding.GetLabels()
	return labels[bootstrapLabel] == "" && labels[partOfLabel] != ownPart
}

// mounted tells whether the token of an account is in a pod that is not over, or will be
// in the next one of a template: those of a CronJob come and go. What the pod says wins
// over what the account says.
func mounted(view *live.View, account *corev1.ServiceAccount) bool {
	mounts := func(spec *corev1.PodSpec) bool {
		said := spec.AutomountServiceAccountToken
		if said == nil {
			said = account.AutomountServiceAccountToken
		}
		return said == nil || *said
	}
	for _, starter := range workloads.Starters() {
		if slices.ContainsFunc(starter.As(view, fullName(account)), func(w workloads.Workload) bool { return mounts(&w.Template.Spec) }) {
			return true
		}
	}
	return slices.ContainsFunc(inputs.Pods.ByIndex(view, inputs.ByServiceAccount, fullName(account)), func(pod *corev1.Pod) bool {
		return pod.DeletionTimestamp == nil && !inputs.Finished(pod) && mounts(&pod.Spec)
	})
}

// unmount is the command of who does not want the token mounted, which is not to be run
// beside the one that gives it something, as it is in a text.
func unmount(account *corev1.ServiceAccount) string {
	return fmt.Sprintf("`kubectl patch serviceaccount %s -n %s -p '{\"automountServiceAccountToken\":false}'`", account.Name, account.Namespace)
}

// bind returns how an account is bound, and the commands that do: to the role of its
// name, if there is one, else to the least of the roles that every cluster has. A
// RoleBinding that gives the role already has the account most likely in a wrong
// namespace: its subjects can be changed, and no other can have its name.
func (a analyzer) bind(view *live.View, account *corev1.ServiceAccount) (how string, commands []string) {
	namespace, name := account.Namespace, account.Name
	role, kind, binding := "view", "ClusterRole", name+"-view"
	if _, exists := inputs.Roles.Get(view, live.Key{Namespace: namespace, Name: name}); exists {
		role, kind, binding = name, "Role", name
	}
	pods := fmt.Sprintf("kubectl get pods -n %s --field-selector spec.serviceAccountName=%s", namespace, name)
	for {
		existing, exists := inputs.RoleBindings.Get(view, live.Key{Namespace: namespace, Name: binding})
		switch {
		case !exists:
			create := fmt.Sprintf("kubectl create rolebinding %s --%s=%s --serviceaccount=%s:%s -n %s", binding, strings.ToLower(kind), role, namespace, name, namespace)
			return "give it what they need, as the first command does.", []string{create, pods}
		case existing.RoleRef.Kind == kind && existing.RoleRef.Name == role:
			how, of := fmt.Sprintf("correct the subjects of RoleBinding %s, which gives %s %s and not to this account: the namespace may be wrong.", binding, kind, role), argument("RoleBinding", existing)
			if instead := a.managed.Elsewhere("RoleBinding "+binding, existing); instead != "" {
				return how + instead, []string{"kubectl describe " + of, pods}
			}
			return how + fmt.Sprintf(" The first command adds the account; what is wrong is taken out with `kubectl edit %s`.", of),
				[]string{fmt.Sprintf("kubectl set subject %s --serviceaccount=%s:%s", of, namespace, name), "kubectl describe " + of, pods}
		}
		binding += "-" + strings.ToLower(kind) // another role has the name
	}
}
