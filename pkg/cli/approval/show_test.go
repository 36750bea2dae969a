// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShow compares what a person sees with testdata/NAME.txt. UPDATE_GOLDENS=1 writes the files.
func TestShow(t *testing.T) {
	for name, proposal := range map[string]string{
		"a pod to delete":                "delete-orders-db-0",
		"a restart that a layer refuses": "restart-catalog",
		"every path of a JSON patch, text that would forge the page, unknown result": "tls-web",
		"a runbook, and no verdicts": "release-failover",
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := show(&out, readProposal(t, proposal), nil); err != nil {
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
