// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command readerrole prints the ClusterRoles that let the apiserver read what
// the analyzers and proposals declare that they read. Secrets are in one of
// their own, because RBAC cannot say that only metadata is asked for, and some
// will want to withhold it.
package main

import (
	"fmt"
	"os"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/proposals"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "readerrole:", err)
		os.Exit(1)
	}
}

func run() error {
	const namespace = "srenix-system"
	configuration := &config.SrenixConfiguration{}
	config.Default(configuration)
	rules, err := catalog.Build(configuration, namespace, func(string) string { return "" })
	if err != nil {
		return fmt.Errorf("building the analyzers: %w", err)
	}
	rules = append(rules, proposals.Rules(configuration, namespace)...)
	all, secrets := split(catalog.ReaderRules(rules), "secrets")
	fmt.Println("# Generated from what analyzers and proposals declare that they read; run make generate.")
	for i, role := range []rbacv1.ClusterRole{
		{ObjectMeta: metav1.ObjectMeta{Name: "srenix-apiserver-reader"}, Rules: all},
		{ObjectMeta: metav1.ObjectMeta{Name: "srenix-apiserver-secrets-reader"}, Rules: secrets},
	} {
		role.TypeMeta = metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"}
		manifest, err := yaml.Marshal(role)
		if err != nil {
			return fmt.Errorf("encoding the ClusterRole: %w", err)
		}
		if i > 0 {
			fmt.Println("---")
		}
		fmt.Print(string(manifest))
	}
	return nil
}

// split moves a resource of the core group out of rules.
func split(rules []rbacv1.PolicyRule, resource string) (rest, moved []rbacv1.PolicyRule) {
	for _, rule := range rules {
		if rule.APIGroups[0] == "" && slices.Contains(rule.Resources, resource) {
			moved = append(moved, rbacv1.PolicyRule{APIGroups: rule.APIGroups, Resources: []string{resource}, Verbs: rule.Verbs})
			rule.Resources = slices.DeleteFunc(rule.Resources, func(r string) bool { return r == resource })
		}
		rest = append(rest, rule)
	}
	return rest, moved
}
