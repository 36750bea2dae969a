// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbacdrift finds rights that are more, or less, than anybody meant:
// wildcard verbs in user-defined roles, bindings that make a ServiceAccount
// cluster-admin or give something to who is not authenticated, bindings to what
// does not exist, and ServiceAccounts that pods mount and no binding is about.
package rbacdrift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "RBACDrift"
	// WildcardVerbs means that a rule allows every verb on some resources.
	WildcardVerbs = "WildcardVerbs"
	// WildcardEverything means that a rule allows every verb on every resource of every group.
	WildcardEverything = "WildcardEverything"
	// ClusterAdminGranted means that a binding gives cluster-admin to a ServiceAccount.
	ClusterAdminGranted = "ClusterAdminGranted"
	// AnonymousGranted means that a binding gives something to who is not authenticated.
	AnonymousGranted = "AnonymousGranted"
	// BoundRoleMissing means that a binding gives a role that does not exist.
	BoundRoleMissing = "BoundRoleMissing"
	// BoundAccountMissing means that a binding is for a ServiceAccount that does not exist.
	BoundAccountMissing = "BoundAccountMissing"
	// Unbound means that pods mount a ServiceAccount that no binding is about.
	Unbound = "ServiceAccountUnbound"

	// standardGrace is for bindings and what they are about to be made in any order.
	standardGrace = 5 * time.Minute

	// bootstrapLabel marks what kube-apiserver itself makes
	// (k8s.io/kubernetes, plugin/pkg/auth/authorizer/rbac/bootstrappolicy).
	bootstrapLabel = "kubernetes.io/bootstrapping"
	// partOfLabel with ownPart marks the binding that srenix has for everybody, so that
	// they can read its public keys (artifacts/kustomize/base/rbac).
	partOfLabel  = "app.kubernetes.io/part-of"
	ownPart      = "srenix"
	clusterAdmin = "cluster-admin"
)

// Options of the analyzer. All names are full ones and there are no patterns: a
// name that merely begins like an operator's must show.
type Options struct {
	// AllowedRoles may have wildcards: "some-operator" is a ClusterRole and
	// "namespace/name" a Role.
	AllowedRoles []string `json:"allowedRoles"`
	// AllowedServiceAccounts, each "namespace/name", may be cluster-admin, and may
	// be without any binding.
	AllowedServiceAccounts []string `json:"allowedServiceAccounts"`
	// AllowedAnonymousBindings may give something to who is not authenticated:
	// "name" is a ClusterRoleBinding and "namespace/name" a RoleBinding.
	AllowedAnonymousBindings []string `json:"allowedAnonymousBindings"`
	// OptionalServiceAccounts, each "namespace/name", may be in a binding and not exist,
	// beside another one of their namespace that does: installers name the accounts of
	// parts that were not asked for.
	OptionalServiceAccounts []string `json:"optionalServiceAccounts"`
}

// standard are the options where none are given: kubeadm lets nodes that are to
// join read one ConfigMap before they have an identity (kubeadm init, phase
// bootstrap-token).
func standard() Options {
	return Options{AllowedAnonymousBindings: []string{metav1.NamespacePublic + "/kubeadm:bootstrap-signer-clusterinfo"}}
}

type analyzer struct {
	grace                      time.Duration
	roles, accounts, anonymous map[string]bool
	optional                   map[string]bool
	managed                    workloads.ManagedBy
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	options := standard()
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), managed: settings.ManagedBy}
	for _, list := range []struct {
		field, what string
		names       []string
		slashes     []int
		into        *map[string]bool
	}{
		{"allowedRoles", "the full name of a role", options.AllowedRoles, []int{0, 1}, &a.roles},
		{"allowedServiceAccounts", "namespace/name of a ServiceAccount", options.AllowedServiceAccounts, []int{1}, &a.accounts},
		{"allowedAnonymousBindings", "the full name of a binding", options.AllowedAnonymousBindings, []int{0, 1}, &a.anonymous},
		{"optionalServiceAccounts", "namespace/name of a ServiceAccount", options.OptionalServiceAccounts, []int{1}, &a.optional},
	} {
		*list.into = map[string]bool{}
		for _, name := range list.names {
			parts := strings.Split(name, "/")
			if slices.Contains(parts, "") || strings.ContainsAny(name, "*?") || !slices.Contains(list.slashes, len(parts)-1) {
				return analyzers.Analyzer{}, fmt.Errorf("options: %s: %q: want %s, without patterns", list.field, name, list.what)
			}
			(*list.into)[name] = true
		}
	}
	ofAccounts := []live.KindRef{inputs.RoleBindings.Ref(), inputs.ClusterRoleBindings.Ref(), inputs.Roles.Ref(), inputs.Pods.Ref()}
	for _, starter := range workloads.Starters() {
		ofAccounts = append(ofAccounts, starter.Kind)
	}
	critical, warning := []v1alpha1.Severity{v1alpha1.SeverityCritical}, []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: WildcardVerbs, Severities: warning, Summary: "A user-defined role allows every verb on some resources."},
			{Name: WildcardEverything, Severities: critical, Summary: "A user-defined role allows everything."},
			{Name: ClusterAdminGranted, Severities: critical, Summary: "A binding gives cluster-admin to a ServiceAccount."},
			{Name: AnonymousGranted, Severities: critical, Summary: "A binding gives something to who is not authenticated."},
			{Name: BoundRoleMissing, Severities: warning, Summary: "A binding gives a role that does not exist."},
			{Name: BoundAccountMissing, Severities: warning, Summary: "A binding is for a ServiceAccount that does not exist."},
			{Name: Unbound, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning, v1alpha1.SeverityInfo}, Summary: "Pods mount a ServiceAccount that no binding is about."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.Roles.Ref(), Analyze: a.role},
			{Subject: inputs.ClusterRoles.Ref(), Analyze: a.clusterRole},
			{
				Subject: inputs.RoleBindings.Ref(),
				Reads:   []live.KindRef{inputs.Roles.Ref(), inputs.ClusterRoles.Ref(), inputs.ServiceAccounts.Ref(), inputs.Namespaces.Ref()},
				Analyze: a.roleBinding,
			},
			{
				Subject: inputs.ClusterRoleBindings.Ref(),
				Reads:   []live.KindRef{inputs.ClusterRoles.Ref(), inputs.ServiceAccounts.Ref()},
				Analyze: a.clusterRoleBinding,
			},
			{
				Subject: inputs.ServiceAccounts.Ref(),
				Reads:   ofAccounts,
				Analyze: a.serviceAccount,
			},
		},
	}, nil
}

// systemNamespaces are where the cluster keeps what it is made of.
var systemNamespaces = []string{metav1.NamespaceSystem, metav1.NamespacePublic, "kube-node-lease"}

// past tells whether the grace is over since then, and else asks to be called when it is.
func (a analyzer) past(view *live.View, since time.Time) bool {
	return analyzers.Past(view, since.Add(a.grace))
}

// fullName is "name", or "namespace/name" of what is in a namespace.
func fullName(object metav1.Object) string {
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}

func reference(apiVersion, kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: apiVersion, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}

// argument is how kubectl is told of an object. Names of RBAC's objects may have
// blanks and whatever a shell takes to be something else.
func argument(kind string, object metav1.Object) string {
	text := analyzers.Quote(strings.ToLower(kind) + "/" + object.GetName())
	if namespace := object.GetNamespace(); namespace != "" {
		text += " -n " + namespace
	}
	return text
}
