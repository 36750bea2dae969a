// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
)

// every is one of how many goldens of an analyzer is read.
const every = 5

// TestGoldens has what the analyzers' goldens say found in files too, but for those that
// take time to go by or a Vault.
func TestGoldens(t *testing.T) {
	folders, err := filepath.Glob("../analyzers/*/testdata")
	if err != nil || len(folders) == 0 {
		t.Fatalf("finding goldens: %v", err)
	}
	nothing := empty(t)
	for _, folder := range folders {
		goldens, err := filepath.Glob(filepath.Join(folder, "found-*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for i, file := range goldens {
			// Each takes a tenth of a second, so most are left to the analyzers' own tests.
			if i%every != 0 && !strings.Contains(file, "found-secret-is-over") {
				continue
			}
			golden := analyzertest.Read(t, file)
			if golden.After > 0 || len(golden.Vault) > 0 {
				continue
			}
			t.Run(filepath.Base(filepath.Dir(folder))+"/"+filepath.Base(file), func(t *testing.T) {
				var documents []string
				for _, object := range golden.Objects {
					if object.GetUID() == "" {
						object.SetUID(types.UID("uid-of-" + object.GetName()))
					}
					documents = append(documents, asJSON(t, object))
				}
				all := nothing.with(files{"objects.json": strings.Join(documents, "\n")})
				cluster := read(t, all.folder(t), func(o *Options) {
					o.AsOf = golden.Now
					o.Configuration.Analyzers = map[string]config.AnalyzerConfiguration{
						certexpiry.Name:        {Options: &runtime.RawExtension{Raw: []byte(`{"tlsSecrets": true}`)}},
						tlssecretmismatch.Name: {Options: &runtime.RawExtension{Raw: []byte(`{"tlsSecrets": true}`)}},
					}
				})
				if broken(cluster) != "" {
					t.Error(broken(cluster))
				}
				have := found(cluster)
				for _, line := range golden.Want {
					if !slices.Contains(have, line) {
						t.Errorf("it lacks %s\n%s", line, cmp.Diff(golden.Want, have))
					}
				}
			})
		}
	}
}
