// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rbacdrift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// publicInfoViewer is the one role that Kubernetes gives to who is not
// authenticated: health and version.
const publicInfoViewer = "system:public-info-viewer"

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	metav1.Object
	kind     string
	role     rbacv1.RoleRef
	subjects []rbacv1.Subject
}

func (a analyzer) roleBinding(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	in, exists := inputs.RoleBindings.Get(view, subject)
	if !exists || in.DeletionTimestamp != nil {
		return nil, nil
	}
	return a.binding(view, binding{in, "RoleBinding", in.RoleRef, in.Subjects}), nil
}

func (a analyzer) clusterRoleBinding(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	in, exists := inputs.ClusterRoleBindings.Get(view, subject)
	if !exists || in.DeletionTimestamp != nil {
		return nil, nil
	}
	return a.binding(view, binding{in, "ClusterRoleBinding", in.RoleRef, in.Subjects}), nil
}

func (a analyzer) binding(view *live.View, b binding) []v1alpha1.FindingSpec {
	return slices.Concat(a.clusterAdmin(view, b), a.anonymousAccess(view, b), a.missing(view, b))
}

// clusterAdmin judges who is made cluster-admin.
func (a analyzer) clusterAdmin(view *live.View, b binding) []v1alpha1.FindingSpec {
	if b.role.Kind != "ClusterRole" || b.role.Name != clusterAdmin {
		return nil
	}
	var who []string
	for _, subject := range b.subjects {
		switch account, is := b.account(subject); {
		case is && !a.accounts[account.String()]:
			who = append(who, "ServiceAccount "+account.String())
		case subject.Kind == rbacv1.GroupKind && everyAccount(subject.Name):
			who = append(who, "every ServiceAccount in the group "+subject.Name)
		}
	}
	if len(who) == 0 {
		return nil
	}
	what := "everything in the cluster"
	if b.kind == "RoleBinding" {
		what = "everything in the namespace " + b.GetNamespace()
	}
	out, change := b.out(who)
	return []v1alpha1.FindingSpec{a.finding(b, ClusterAdminGranted, v1alpha1.SeverityCritical, view.Began(ClusterAdminGranted, inputs.Changed(b).Time),
		fmt.Sprintf("%s %s lets %s do %s: so can whoever gets hold of its token, or may run a pod as it.", b.kind, b.GetName(), workloads.Names(who), what),
		fmt.Sprintf("Give it a role with the verbs that it needs, and %s. Where it is meant, list the account in the analyzer's allowedServiceAccounts.", out), change)}
}

// anonymousAccess judges what is given to who is not authenticated.
func (a analyzer) anonymousAccess(view *live.View, b binding) []v1alpha1.FindingSpec {
	own := b.kind == "ClusterRoleBinding" && b.GetName() == publicInfoViewer && b.role.Name == publicInfoViewer && b.GetLabels()[bootstrapLabel] != ""
	if own || a.anonymous[fullName(b)] {
		return nil
	}
	var who []string
	for _, subject := range b.subjects {
		if subject.Kind == rbacv1.UserKind && subject.Name == user.Anonymous || subject.Kind == rbacv1.GroupKind && subject.Name == user.AllUnauthenticated {
			who = append(who, subject.Name)
		}
	}
	if len(who) == 0 {
		return nil
	}
	out, change := b.out(who)
	return []v1alpha1.FindingSpec{a.finding(b, AnonymousGranted, v1alpha1.SeverityCritical, view.Began(AnonymousGranted, inputs.Changed(b).Time),
		fmt.Sprintf("%s %s gives %s %s to %s: to everybody who reaches the API server.", b.kind, b.GetName(), b.role.Kind, b.role.Name, workloads.Names(who)),
		fmt.Sprintf("Find out who uses it without authenticating, give them an identity, and %s.", out), change)}
}

// missing judges whether there is what a binding is about. Kubernetes' own are for
// accounts of controllers that may run as somebody else.
func (a analyzer) missing(view *live.View, b binding) []v1alpha1.FindingSpec {
	if b.GetLabels()[bootstrapLabel] != "" && strings.HasPrefix(b.GetName(), "system:") {
		return nil
	}
	var specs []v1alpha1.FindingSpec
	if !b.roleExists(view) && !b.vanishing(view) {
		if since := view.FirstObserved(BoundRoleMissing); a.past(view, since) {
			specs = append(specs, a.finding(b, BoundRoleMissing, v1alpha1.SeverityWarning, since,
				fmt.Sprintf("%s %s gives %s %s, which does not exist: it gives nothing, until somebody makes a role of that name.", b.kind, b.GetName(), b.role.Kind, b.role.Name),
				"Make the role, or delete the binding. The role that a binding gives cannot be changed.", toDelete))
		}
	}
	if accounts := a.missingAccounts(view, b); len(accounts) > 0 && !b.vanishing(view) {
		if since := view.FirstObserved(BoundAccountMissing); a.past(view, since) {
			out, change := b.out(accounts)
			text, changes := fmt.Sprintf("Make the account, correct its name or namespace in the binding, or %s.", out), []string{toEdit}
			if change == toDelete {
				changes = append(changes, toDelete)
			}
			specs = append(specs, a.finding(b, BoundAccountMissing, v1alpha1.SeverityWarning, since,
				fmt.Sprintf("%s %s gives %s %s to ServiceAccount %s, which does not exist: whoever makes it has these rights.", b.kind, b.GetName(), b.role.Kind, b.role.Name, workloads.Names(accounts)),
				text, changes...))
		}
	}
	return specs
}

func (b binding) roleExists(view *live.View) (exists bool) {
	switch b.role.Kind {
	case "Role":
		_, exists = inputs.Roles.Get(view, live.Key{Namespace: b.GetNamespace(), Name: b.role.Name})
	case "ClusterRole":
		_, exists = inputs.ClusterRoles.Get(view, live.Key{Name: b.role.Name})
	default:
		exists = true // nobody knows
	}
	return exists
}

// missingAccounts are the ServiceAccounts of a binding that do not exist. Those that
// are listed as optional are not missed where another account of their namespace is
// there.
func (a analyzer) missingAccounts(view *live.View, b binding) []string {
	var missing []live.Key
	present := map[string]bool{}
	for _, subject := range b.subjects {
		account, is := b.account(subject)
		if !is || account.Namespace == "" || account.Name == "" {
			continue
		}
		if _, exists := inputs.ServiceAccounts.Get(view, account); exists {
			present[account.Namespace] = true
		} else {
			missing = append(missing, account)
		}
	}
	var names []string
	for _, account := range missing {
		if !present[account.Namespace] || !a.optional[account.String()] {
			names = append(names, account.String())
		}
	}
	return names
}

// vanishing tells whether a binding goes with its namespace, which takes what it is
// about away in any order.
func (b binding) vanishing(view *live.View) bool {
	if b.GetNamespace() == "" {
		return false
	}
	namespace, exists := inputs.Namespaces.Get(view, live.Key{Name: b.GetNamespace()})
	return exists && namespace.DeletionTimestamp != nil
}

// account is the ServiceAccount that a subject is. It may be called by the name of
// its user.
func (b binding) account(subject rbacv1.Subject) (live.Key, bool) {
	switch subject.Kind {
	case rbacv1.ServiceAccountKind:
		namespace := subject.Namespace
		if namespace == "" {
			namespace = b.GetNamespace()
		}
		return live.Key{Namespace: namespace, Name: subject.Name}, true
	case rbacv1.UserKind:
		namespace, name, err := serviceaccount.SplitUsername(subject.Name)
		return live.Key{Namespace: namespace, Name: name}, err == nil
	}
	return live.Key{}, false
}

// everyAccount tells whether all ServiceAccounts, or all of a namespace, are in a group.
func everyAccount(group string) bool {
	return group == serviceaccount.AllServiceAccountsGroup || group == user.AllAuthenticated ||
		strings.HasPrefix(group, serviceaccount.ServiceAccountGroupPrefix)
}

// What may be done about a binding, as kubectl calls it.
const (
	toEdit   = "edit"
	toDelete = "delete"
)

// out is what is done about a binding of which some subjects are wrong: it goes if that
// are all of them, and keeps the others else.
func (b binding) out(wrong []string) (text, change string) {
	if len(wrong) == len(b.subjects) {
		return "delete the binding", toDelete
	}
	return fmt.Sprintf("take %s out of the binding, whose other subjects stay", workloads.Names(wrong)), toEdit
}

func (a analyzer) finding(b binding, reason string, severity v1alpha1.Severity, since time.Time, message, text string, changes ...string) v1alpha1.FindingSpec {
	commands := []string{"kubectl describe " + argument(b.kind, b.Object)}
	if instead := a.managed.Elsewhere(b.kind+" "+b.GetName(), b.Object); instead != "" {
		text += instead
		changes = nil
	}
	for _, verb := range changes {
		commands = append(commands, fmt.Sprintf("kubectl %s %s", verb, argument(b.kind, b.Object)))
	}
	if len(changes) > 1 {
		text += " The last two commands are alternatives."
	}
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: severity, Subject: reference("rbac.authorization.k8s.io/v1", b.kind, b.Object), Message: message,
		Remediation: v1alpha1.Remediation{Text: text, Commands: commands},
		Since:       metav1.NewTime(since),
	}
}
