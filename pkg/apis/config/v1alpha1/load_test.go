// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const header = "apiVersion: config.srenix.io/v1alpha1\nkind: SrenixConfiguration\n"

func load(t *testing.T, text string) (*SrenixConfiguration, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestDefaults(t *testing.T) {
	for name, load := range map[string]func() (*SrenixConfiguration, error){
		"no file":    func() (*SrenixConfiguration, error) { return Load("") },
		"empty file": func() (*SrenixConfiguration, error) { return load(t, header) },
	} {
		c, err := load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.Policy.ApprovalInterval.Duration != 30*time.Minute || *c.Policy.ApprovalsPerHour != 10 || c.Executor.SettleTime.Duration != 30*time.Second {
			t.Errorf("%s: have %+v", name, c)
		}
	}
}

func TestWhatWidensOrMakesNoSenseIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ text, word string }{
		"unknown field":                      {header + "policy: {protectedNamespace: [x]}", "protectedNamespace"},
		"duplicate field":                    {header + "policy: {}\npolicy: {}", "policy"},
		"wrong kind":                         {"apiVersion: config.srenix.io/v1alpha1\nkind: Other\n", "Other"},
		"wrong version":                      {"apiVersion: config.srenix.io/v1\nkind: SrenixConfiguration\n", "config.srenix.io/v1"},
		"not YAML":                           {header + "policy: [", "yaml"},
		"unknown action":                     {header + "policy: {allowedActionKinds: [DeleteCluster]}", "DeleteCluster"},
		"an empty list of actions":           {header + "policy: {allowedActionKinds: []}", "leave the field out"},
		"fewer approvers":                    {header + "policy: {approvers: {Runbook: 1}}", "at least 2"},
		"shorter interval":                   {header + "policy: {approvalInterval: 29m}", "30m"},
		"more approvals":                     {header + "policy: {approvalsPerHour: 11}", "between 0 and 10"},
		"longer tokens":                      {header + "policy: {maxTokenLifetime: 25h}", "24h"},
		"later breaker":                      {header + "executor: {breakerThreshold: 4}", "between 1 and 3"},
		"no settle time":                     {header + "executor: {settleTime: 0s}", "at least 1s"},
		"a deadline before anything settles": {header + "executor: {settleTime: 2m, verifyDeadline: 1m}", "at least executor.settleTime, which is 2m"},
		"a settle time beyond the default's deadline": {header + "executor: {settleTime: 11m}", "executor.verifyDeadline"},
		"a deadline below the default's settle time":  {header + "executor: {verifyDeadline: 29s}", "executor.verifyDeadline"},
		"negative grace":            {header + "analyzers: {RBACDrift: {grace: -1s}}", "grace"},
		"a duration without a unit": {header + "policy: {approvalInterval: 30}", "approvalInterval"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.text)
			if err == nil || !strings.Contains(err.Error(), test.word) {
				t.Errorf("have %v, want an error with %q", err, test.word)
			}
		})
	}
}

func TestWrongTypesNameTheirField(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"a duration in words":    {"executor: {verifyDeadline: 5 minutes}", `executor.verifyDeadline: Invalid value: "5 minutes": time: unknown unit " minutes" in duration "5 minutes"`},
		"a duration as a number": {"executor: {settleTime: 30}", "executor.settleTime: Invalid value: 30: must be a string"},
		"a duration in a map":    {`analyzers: {"a.b": {grace: soon}}`, `analyzers[a.b].grace: Invalid value: "soon": time: invalid duration "soon"`},
		"a word for a number":    {"policy: {approvalsPerHour: ten}", `policy.approvalsPerHour: Invalid value: "ten": must be an integer of 32 bits`},
		"a number that is large": {"policy: {approvers: {DeletePod: 5000000000}}", "policy.approvers[DeletePod]: Invalid value: 5e+09: must be an integer of 32 bits"},
		"an item of a list":      {"policy: {allowedActionKinds: [DeletePod, {}]}", "policy.allowedActionKinds[1]: Invalid value: {}: must be a string"},
		"an item for a list":     {"policy: {allowedActionKinds: DeletePod}", `policy.allowedActionKinds: Invalid value: "DeletePod": must be a list`},
		"a word for an object":   {"policy: strict", `policy: Invalid value: "strict": must be an object`},
		"a word for a yes":       {"analyzers: {RBACDrift: {enabled: maybe}}", "analyzers[RBACDrift].enabled: Invalid value: \"maybe\": must be true or false"},
		"two of them":            {"executor: {settleTime: x, verifyDeadline: z}", `[executor.settleTime: Invalid value: "x": time: invalid duration "x", executor.verifyDeadline: Invalid value: "z": time: invalid duration "z"]`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, header+test.text)
			if err == nil || !strings.HasSuffix(err.Error(), "config.yaml: "+test.want) {
				t.Errorf("have %v, want it to end with %q", err, test.want)
			}
		})
	}
}
