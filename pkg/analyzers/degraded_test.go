// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/srenix/srenix/pkg/live"
)

// Nobody is told to switch off what is no analyzer.
func TestOnlyAnalyzersCanBeSwitchedOff(t *testing.T) {
	missing := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}}}
	for group, want := range map[string]bool{"ConfigDrift": true, Proposing: false} {
		remedy := remedy(&live.Status{Group: group, Missing: missing}, "srenix-system:srenix-apiserver")
		if told := strings.Contains(remedy.Text, "switch the analyzer off"); told != want || len(remedy.Commands) != 2 {
			t.Errorf("%s: %+v", group, remedy)
		}
	}
}
