// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command readerrole prints the ClusterRole that lets the apiserver read what
// the analyzers and proposals declare that they read.
package main

import (
	"fmt"
	"os"

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
	configuration := &config.SrenixConfiguration{}
	config.Default(configuration)
	rules, err := catalog.Build(configuration, func(string) string { return "" })
	if err != nil {
		return fmt.Errorf("building the analyzers: %w", err)
	}
	rules = append(rules, proposals.Rules(configuration, "srenix-system")...)
	manifest, err := yaml.Marshal(rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: "srenix-apiserver-reader"},
		Rules:      catalog.ReaderRules(rules),
	})
	if err != nil {
		return fmt.Errorf("encoding the ClusterRole: %w", err)
	}
	_, err = fmt.Printf("# Generated from what analyzers and proposals declare that they read; run make generate.\n%s", manifest)
	return err
}
