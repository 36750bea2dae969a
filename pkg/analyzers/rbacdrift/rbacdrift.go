// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbacdrift finds roles that allow more than anybody meant: wildcard
// verbs in user-defined Roles and ClusterRoles.
package rbacdrift

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
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

	// bootstrapLabel marks the roles that kube-apiserver itself makes
	// (k8s.io/kubernetes, plugin/pkg/auth/authorizer/rbac/bootstrappolicy).
	bootstrapLabel = "kubernetes.io/bootstrapping"
)

// Options of the analyzer.
type Options struct {
	// AllowedRoles are full names of roles that may have wildcards, as
	// "some-operator" for a ClusterRole and "namespace/name" for a Role. There
	// are no patterns: a name that merely begins like an operator's must show.
	AllowedRoles []string `json:"allowedRoles"`
}

type analyzer struct{ allowed map[string]bool }

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	var options Options
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{allowed: map[string]bool{}}
	for _, name := range options.AllowedRoles {
		if name == "" || strings.ContainsAny(name, "*?") {
			return analyzers.Analyzer{}, fmt.Errorf("options: allowedRoles: %q: want the full name of a role, without patterns", name)
		}
		a.allowed[name] = true
	}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: WildcardVerbs, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A user-defined role allows every verb on some resources."},
			{Name: WildcardEverything, Severities: []v1alpha1.Severity{v1alpha1.SeverityCritical}, Summary: "A user-defined role allows everything."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.Roles.Ref(), Analyze: a.role},
			{Subject: inputs.ClusterRoles.Ref(), Analyze: a.clusterRole},
		},
	}, nil
}

func (a analyzer) role(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	role, exists := inputs.Roles.Get(view, subject)
	systemNamespaces := []string{metav1.NamespaceSystem, metav1.NamespacePublic, "kube-node-lease"}
	if !exists || slices.Contains(systemNamespaces, role.Namespace) || a.skip(role, role.Namespace+"/"+role.Name) {
		return nil, nil
	}
	return judge("Role", role, role.Rules), nil
}

func (a analyzer) clusterRole(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	role, exists := inputs.ClusterRoles.Get(view, subject)
	// An aggregated role has no rules of its own: those that it gathers show.
	if !exists || role.Name == "cluster-admin" || role.AggregationRule != nil || a.skip(role, role.Name) {
		return nil, nil
	}
	return judge("ClusterRole", role, role.Rules), nil
}

func (a analyzer) skip(role metav1.Object, fullName string) bool {
	return role.GetDeletionTimestamp() != nil ||
		strings.HasPrefix(role.GetName(), "system:") ||
		role.GetLabels()[bootstrapLabel] != "" ||
		a.allowed[fullName]
}

func judge(kind string, role metav1.Object, rules []rbacv1.PolicyRule) []v1alpha1.FindingSpec {
	var wide []string
	everything := false
	for _, rule := range rules {
		// Rules on URLs have no resources; "*" there is a matter of its own.
		if !slices.Contains(rule.Verbs, rbacv1.VerbAll) || len(rule.Resources) == 0 {
			continue
		}
		if slices.Contains(rule.Resources, rbacv1.ResourceAll) && slices.Contains(rule.APIGroups, rbacv1.APIGroupAll) {
			everything = true
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				wide = append(wide, qualified(resource, group))
			}
		}
	}
	if len(wide) == 0 {
		return nil
	}
	slices.Sort(wide)
	wide = slices.Compact(wide)
	spec := v1alpha1.FindingSpec{
		Reason: WildcardVerbs, Severity: v1alpha1.SeverityWarning,
		Subject: v1alpha1.ObjectReference{
			APIVersion: "rbac.authorization.k8s.io/v1", Kind: kind, Namespace: role.GetNamespace(), Name: role.GetName(), UID: role.GetUID(),
		},
		Message: fmt.Sprintf("%s %s allows every verb, also those that do not exist yet, on %s.", kind, role.GetName(), shorten(wide)),
		Since:   inputs.Changed(role),
	}
	if everything {
		spec.Reason, spec.Severity = WildcardEverything, v1alpha1.SeverityCritical
		spec.Message = fmt.Sprintf("%s %s allows every verb on every resource of every API group: whoever is bound to it can do anything there.", kind, role.GetName())
	}
	spec.Remediation = remediation(kind, role)
	return []v1alpha1.FindingSpec{spec}
}

func remediation(kind string, role metav1.Object) v1alpha1.Remediation {
	where, bindings := "", "clusterrolebindings,rolebindings -A"
	if kind == "Role" {
		where, bindings = " -n "+role.GetNamespace(), "rolebindings -n "+role.GetNamespace()
	}
	return v1alpha1.Remediation{
		Text: "See what the role allows and who is bound to it, and name the verbs that they need.",
		Commands: []string{
			fmt.Sprintf("kubectl describe %s %s%s", strings.ToLower(kind), role.GetName(), where),
			fmt.Sprintf("kubectl get %s -o wide", bindings),
			fmt.Sprintf("kubectl edit %s %s%s", strings.ToLower(kind), role.GetName(), where),
		},
	}
}

func qualified(resource, group string) string {
	switch group {
	case "":
		if resource == rbacv1.ResourceAll {
			return "* of the core group"
		}
		return resource
	case rbacv1.APIGroupAll:
		return resource + " of every group"
	}
	return resource + "." + group
}

// shorten lists at most five: a message is a sentence.
func shorten(resources []string) string {
	const most, longest = 5, 100
	shown := slices.Clone(resources[:min(most, len(resources))])
	for i, name := range shown {
		// Nothing bounds what a rule calls a resource.
		if len(name) > longest {
			shown[i] = strings.ToValidUTF8(name[:longest], "") + "..."
		}
	}
	text := strings.Join(shown, ", ")
	if len(resources) > most {
		text += " and others"
	}
	return text
}
