// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import "testing"

// Each try to make a pod has another name, and a quota counts; what is found must
// stay the same.
func TestARefusalKeepsItsWords(t *testing.T) {
	for message, want := range map[string]string{
		`pods "web-6b7-x2l" is forbidden: exceeded quota: few, requested: pods=1, used: pods=5, limited: pods=5`:                           "ResourceQuota few is used up",
		`pods "web-6b7-x2l" is forbidden: violates PodSecurity "restricted:latest": privileged (container "c" must not set it)`:            `violates PodSecurity "restricted:latest": privileged (container "c" must not set it)`,
		`admission webhook "guard.example.com" denied the request: no`:                                                                     `admission webhook "guard.example.com" denied the request: no`,
		`Pod "web-6b7-x2l" is invalid: spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit`: `spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit`,
		`create Pod db-0 in StatefulSet db failed error: admission webhook "guard.example.com" denied the request: no`:                     `admission webhook "guard.example.com" denied the request: no`,
		`create Pod db-0 in StatefulSet db failed error: pods "db-0" is forbidden: exceeded quota: few, requested: pods=1, used: pods=5`:   "ResourceQuota few is used up",
		`Error creating: pods "agent-" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`:           `violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`,
		`Error creating: Internal error occurred: failed calling webhook "guard.example.com"`:                                              `Internal error occurred: failed calling webhook "guard.example.com"`,
		"": "",
	} {
		if have := Refused(message); have != want {
			t.Errorf("%q: have %q, want %q", message, have, want)
		}
	}
}
