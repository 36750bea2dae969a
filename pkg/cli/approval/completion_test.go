// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompletion(t *testing.T) {
	listed := "delete-orders-db-0\tDeletePod Pod/orders-db-0, Open\nrestart-catalog\tPatchDeploymentAnnotation Deployment/catalog, Blocked\n:4\n"
	for name, test := range map[string]struct {
		words []string
		want  string
	}{
		"the flag's value":             {[]string{"--proposal", ""}, listed},
		"the argument":                 {[]string{""}, listed},
		"no second argument":           {[]string{pod, ""}, ":4\n"},
		"no argument beside the flag":  {[]string{"--proposal", pod, ""}, ":4\n"},
		"dry runs":                     {[]string{pod, "--dry-run", ""}, "none\nclient\nserver\n:4\n"},
		"outputs":                      {[]string{pod, "-o", ""}, "yaml\njson\nname\n:4\n"},
		"a list that fails":            {[]string{"-n", "elsewhere", ""}, ":1\n"},
		"values for lifetimes of days": {[]string{"--token-lifetime", ""}, "15m\n1h\n24h\n:4\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, pod, "restart-catalog")
			have := complete(t, s, test.words...)
			if diff := cmp.Diff(test.want, have.Stdout); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}
