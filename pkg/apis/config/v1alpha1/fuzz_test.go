// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// FuzzDecode loads any file: what is accepted never widens what is compiled in,
// and means the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	const head = "apiVersion: config.srenix.io/v1alpha1\nkind: SrenixConfiguration\n"
	for _, seed := range []string{
		"", "null", "---\n---\n", head, head + "policy: {}\n", head + "policy: {maxTokenLifetime: 48h}\n", head + "policy: {allowedActionKinds: [DeletePod, Exec]}\n",
		head + "policy: {approvers: {Runbook: 1}}\n", head + "policy: {protectedNamespaces: [\"*\"]}\n", head + "analyzers: {RBACDrift: {enabled: no}}\n",
		head + "executor: {settleTime: -1s}\n", head + "x: &a [*a]\n", head + "policy: {budget: 99999999999999999999}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		configuration, err := Decode(data)
		if err != nil {
			return
		}
		Default(configuration)
		if len(Validate(configuration)) > 0 {
			return
		}
		for _, kind := range configuration.Policy.AllowedActionKinds {
			if !slices.Contains(BuiltInActionKinds(), kind) {
				t.Errorf("action kind %q is allowed", kind)
			}
		}
		for kind, approvers := range configuration.Policy.Approvers {
			if approvers < MinimumApprovers(kind) {
				t.Errorf("%d approvers are enough for %s", approvers, kind)
			}
		}
		if interval := configuration.Policy.ApprovalInterval; interval != nil && interval.Duration < DefaultApprovalInterval {
			t.Errorf("approvals of %s may be %s apart", srenix.ActionRunbook, interval.Duration)
		}
		again, err := yaml.Marshal(configuration)
		if err != nil {
			t.Fatal(err)
		}
		reread, err := Decode(again)
		if err != nil {
			t.Fatalf("written again it is not accepted: %v\n%s", err, again)
		}
		if once, err := yaml.Marshal(reread); err != nil || string(once) != string(again) {
			t.Errorf("read again it is\n%s\nnot\n%s", once, again)
		}
	})
}
