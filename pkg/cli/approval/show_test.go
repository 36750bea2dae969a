// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// TestShow compares what a person sees with testdata/NAME.txt. UPDATE_GOLDENS=1 writes the files.
func TestShow(t *testing.T) {
	for name, proposal := range map[string]string{
		"a pod to delete":                "delete-orders-db-0",
		"an approval that is held back":  "held-orders-db-0",
		"a restart that a layer refuses": "restart-catalog",
		"every path of a JSON patch, text that would forge the page, unknown result": "tls-web",
		"a runbook, and no verdicts": "release-failover",
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := show(&out, readProposal(t, proposal), nil, nil, v1alpha1.DecisionApprove); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", proposal+".txt")
			if os.Getenv("UPDATE_GOLDENS") != "" {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestARefusalOfAnApprovalIsNotOneOfADenial(t *testing.T) {
	for decision, test := range map[v1alpha1.Decision]struct{ has, hasNot string }{
		v1alpha1.DecisionApprove: {"an approval would be refused by: GitOpsManaged", "A denial does nothing"},
		v1alpha1.DecisionDeny:    {"A denial does nothing to the target", "would be refused"},
	} {
		var out bytes.Buffer
		if err := show(&out, readProposal(t, "restart-catalog"), nil, nil, decision); err != nil {
			t.Fatal(err)
		}
		contains(t, string(decision), out.String(), test.has, "✗ GitOpsManaged", "To make it pass: ")
		if strings.Contains(out.String(), test.hasNot) {
			t.Errorf("%s has %q:\n%s", decision, test.hasNot, out.String())
		}
	}
	// Where nothing refuses, there is nothing to explain.
	var out bytes.Buffer
	if err := show(&out, readProposal(t, "delete-orders-db-0"), nil, nil, v1alpha1.DecisionDeny); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "A denial does nothing") {
		t.Errorf("nothing refuses:\n%s", out.String())
	}
}

func TestOfARunbookIsToldWhoWroteIt(t *testing.T) {
	proposal := readProposal(t, "release-failover")
	proposal.Spec.Runbook = &v1alpha1.RunbookReference{Investigation: "failover"}
	for from, want := range map[v1alpha1.Source]string{
		v1alpha1.SourceInvestigation: "written in Investigation failover",
		v1alpha1.SourceLLM:           "drafted by a model in Investigation failover",
	} {
		proposal.Spec.Source = from
		if have := source(&proposal.Spec); have != want {
			t.Errorf("%s: %q, want %q", from, have, want)
		}
	}
}
