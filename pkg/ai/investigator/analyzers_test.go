// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/crashloop"
	"github.com/srenix/srenix/pkg/analyzers/failingexternalsecrets"
	"github.com/srenix/srenix/pkg/analyzers/imagepull"
	"github.com/srenix/srenix/pkg/analyzers/nodes"
	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
)

// Whatever an analyzer finds in its own goldens, an investigation of it comes to an
// end within bounds and goes to what the finding is about.
func TestWhatAnalyzersFindIsLookedInto(t *testing.T) {
	served := map[string]int{}
	for _, entry := range catalog.All() {
		settings := analyzers.NewSettings(config.AnalyzerConfiguration{}).Protecting(func(*corev1.Namespace) bool { return false })
		analyzer, err := entry.New(settings)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join("..", "..", "analyzers", strings.ToLower(entry.Name), "testdata", "found-*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			t.Run(entry.Name+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
				given := analyzertest.Read(t, file)
				g := golden{logs: logs{}}
				for _, object := range given.Objects {
					object := object.DeepCopyObject().(client.Object)
					if object.GetDeletionTimestamp() != nil { // which stays, or it would not be there
						object.SetFinalizers([]string{"example.com/stays"})
					}
					g.objects = append(g.objects, object)
				}
				i := New(Options{Reader: g.reader(t), Logs: g.logs, Clock: testingclock.NewFakePassiveClock(now)})
				for _, spec := range analyzertest.Analyze(t, analyzer, given.Now, given.After, append(given.Objects, given.Vault...)) {
					finding := analyzers.NewFinding(entry.Name, spec)
					result := i.Investigate(t.Context(), finding)
					bounded(t, &result)
					t.Logf("%s: %s\n  %s: %s", spec.Reason, spec.Message, result.Cause, result.RootCause)
					if result.Sufficient {
						served[entry.Name]++
					}
				}
			})
		}
	}
	for _, name := range []string{crashloop.Name, imagepull.Name, pendingpods.Name, certexpiry.Name, failingexternalsecrets.Name, nodes.Name} {
		if served[name] == 0 {
			t.Errorf("of what %s finds, nothing has a root cause", name)
		}
	}
}
