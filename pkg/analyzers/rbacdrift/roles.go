// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rbacdrift

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func (a analyzer) role(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	role, exists := inputs.Roles.Get(view, subject)
	if !exists || slices.Contains(systemNamespaces, role.Namespace) || a.skip(role) {
		return nil, nil
	}
	return a.judge(view, "Role", role, role.Rules), nil
}

func (a analyzer) clusterRole(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	role, exists := inputs.ClusterRoles.Get(view, subject)
	// An aggregated role has no rules of its own: those that it gathers show.
	if !exists || role.Name == clusterAdmin || role.AggregationRule != nil || a.skip(role) {
		return nil, nil
	}
	return a.judge(view, "ClusterRole", role, role.Rules), nil
}

func (a analyzer) skip(role metav1.Object) bool {
	return role.GetDeletionTimestamp() != nil ||
		strings.HasPrefix(role.GetName(), "system:") ||
		role.GetLabels()[bootstrapLabel] != "" ||
		a.roles[fullName(role)]
}

func (a analyzer) judge(view *live.View, kind string, role metav1.Object, rules []rbacv1.PolicyRule) []v1alpha1.FindingSpec {
	var wide []string
	everything := false
	for _, rule := range rules {
		// Rules on URLs have no resources; "*" there is a matter of its own.
		if !slices.Contains(rule.Verbs, rbacv1.VerbAll) || len(rule.Resources) == 0 {
			continue
		}
		// What is named in full is bounded, whatever may be done with it.
		named := ""
		if len(rule.ResourceNames) > 0 {
			named = " that it names"
		}
		if named == "" && slices.Contains(rule.Resources, rbacv1.ResourceAll) && slices.Contains(rule.APIGroups, rbacv1.APIGroupAll) {
			everything = true
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				wide = append(wide, qualified(resource, group)+named)
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
		Subject: reference("rbac.authorization.k8s.io/v1", kind, role),
		Message: fmt.Sprintf("%s %s allows every verb, also those that do not exist yet, on %s.", kind, role.GetName(), shorten(wide)),
	}
	if everything {
		spec.Reason, spec.Severity = WildcardEverything, v1alpha1.SeverityCritical
		spec.Message = fmt.Sprintf("%s %s allows every verb on every resource of every API group: whoever is bound to it can do anything there.", kind, role.GetName())
	}
	// Another change of a role that is too wide already is no new beginning.
	spec.Since = metav1.NewTime(view.Began(spec.Reason, inputs.Changed(role).Time))
	spec.Remediation = a.remediation(kind, role)
	return []v1alpha1.FindingSpec{spec}
}

func (a analyzer) remediation(kind string, role metav1.Object) v1alpha1.Remediation {
	bindings := "clusterrolebindings,rolebindings -A"
	if kind == "Role" {
		bindings = "rolebindings -n " + role.GetNamespace()
	}
	instead, edit := a.managed.Edit(kind+" "+role.GetName(), argument(kind, role), role)
	return v1alpha1.Remediation{
		Text: "See what the role allows and who is bound to it, and name the verbs that they need." + instead,
		Commands: append([]string{
			"kubectl describe " + argument(kind, role),
			fmt.Sprintf("kubectl get %s -o wide", bindings),
		}, edit...),
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
