// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Whoever takes the executor over has what its roles give: what it writes, with the
// verb that it writes it with, and no other.
func TestTheRolesOfTheExecutorGiveWhatItUses(t *testing.T) {
	data, err := os.ReadFile("../../artifacts/kustomize/base/rbac/executor.yaml")
	if err != nil {
		t.Fatal(err)
	}
	writes, tellsDegraded := map[string][]string{}, false
	for documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		role := &rbacv1.ClusterRole{}
		if err := documents.Decode(role); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					name := group + "/" + resource
					tellsDegraded = tellsDegraded || name == "srenix.io/clusterfindings" && slices.Contains(rule.Verbs, "list")
					for _, verb := range rule.Verbs {
						if !slices.Contains([]string{"get", "list", "watch"}, verb) {
							writes[name] = append(writes[name], verb)
						}
					}
				}
			}
		}
	}
	want := map[string][]string{
		"/pods": {"delete"}, "batch/jobs": {"delete"}, "cert-manager.io/certificaterequests": {"delete"},
		"apps/deployments": {"patch"}, "networking.k8s.io/ingresses": {"patch"},
		"ops.srenix.io/approvals/status": {"update"}, "ops.srenix.io/auditevents": {"create"},
		"authorization.k8s.io/subjectaccessreviews": {"create"}, "coordination.k8s.io/leases": {"create", "update"},
		"/events": {"create", "patch", "update"}, "events.k8s.io/events": {"create", "patch", "update"},
	}
	if diff := cmp.Diff(want, writes); diff != "" {
		t.Errorf("what the roles let the executor write (-want +have):\n%s", diff)
	}
	if !tellsDegraded {
		t.Error("it may not ask whether an analyzer is degraded")
	}
}
