// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Whoever takes the server over has what its roles give. What they let it write is
// its own bookkeeping, by name where RBAC can say so.
func TestTheServerMayWriteToNoWorkload(t *testing.T) {
	own := map[string][]string{
		"":                             {"secrets", "configmaps"},                                          // of its own namespace, see below
		"ops.srenix.io":                {"approvals", "auditevents", "auditcheckpoints", "investigations"}, // and no status
		"apiregistration.k8s.io":       {"apiservices"},
		"admissionregistration.k8s.io": {"validatingwebhookconfigurations"},
	}
	rules := 0
	for _, file := range []string{"apiserver.yaml", "apiserver-reader.yaml"} {
		data, err := os.ReadFile("../../artifacts/kustomize/base/rbac/" + file)
		if err != nil {
			t.Fatal(err)
		}
		documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
		for {
			role := &rbacv1.ClusterRole{}
			if err := documents.Decode(role); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			for _, rule := range role.Rules {
				rules++
				writes := slices.DeleteFunc(slices.Clone(rule.Verbs), func(verb string) bool { return slices.Contains([]string{"get", "list", "watch"}, verb) })
				for _, group := range rule.APIGroups {
					for _, resource := range rule.Resources {
						if len(writes) > 0 && !slices.Contains(own[group], resource) {
							t.Errorf("%s %s: %v %s of %q", role.Kind, role.Name, writes, resource, group)
						}
						if len(writes) > 0 && group == "" && role.Kind != "Role" {
							t.Errorf("%s may be written in every namespace", resource)
						}
						named := len(rule.ResourceNames) > 0 || slices.Equal(writes, []string{"create"}) || group == "ops.srenix.io"
						if len(writes) > 0 && !named {
							t.Errorf("%s %s: %v any %s", role.Kind, role.Name, writes, resource)
						}
					}
				}
			}
		}
	}
	if rules < 10 {
		t.Errorf("only %d rules were read", rules)
	}
}
