// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/policy"
)

// TestGoldens computes findings and proposals of the objects in testdata. A golden
// says which findings there must be and, indented by "->", what is proposed for
// each; what is proposed must be what layer 2 of the policy lets through.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding goldens: %v", err)
	}
	proposed, reasons := map[string]bool{}, map[string]bool{}
	for key := range matchers(time.Hour) {
		reasons[key[1]] = true
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			golden := analyzertest.Read(t, file)
			clock := testingclock.NewFakeClock(golden.Now)
			engine := newEngineOfAll(t, clock, nil)
			shop := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
			livetest.Run(t, engine, analyzertest.Cluster(t, append(golden.Objects, shop)))
			livetest.Eventually(t, "everything is evaluated", engine.Settled)
			if golden.After > 0 {
				clock.Step(golden.After)
				livetest.Eventually(t, "everything is evaluated again", engine.Settled)
			}
			have := []string{}
			for _, finding := range live.List(engine, Findings) {
				if _, matched := matchers(time.Hour)[[2]string{finding.Spec.Analyzer, finding.Spec.Reason}]; !matched {
					continue // nothing is ever proposed for it
				}
				line := fmt.Sprintf("%s %s/%s", finding.Spec.Reason, finding.Spec.Subject.Kind, finding.Spec.Subject.Name)
				for _, proposal := range live.List(engine, Proposals) {
					if proposal.Spec.Finding.UID == finding.UID {
						line += " -> " + described(t, proposal)
						proposed[finding.Spec.Reason] = true
					}
				}
				have = append(have, line)
			}
			want := slices.DeleteFunc(golden.Want, func(line string) bool {
				reason, _, _ := strings.Cut(line, " ")
				return !strings.Contains(line, "->") && !reasons[reason]
			})
			slices.Sort(have)
			slices.Sort(want)
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("findings and what is proposed (-want +have):\n%s", diff)
			}
		})
	}
	for key := range matchers(time.Hour) {
		if len(files) > 0 && !proposed[key[1]] && !elsewhere[key[1]] && outdatedPods[key[1]] == nil {
			t.Errorf("no golden has a proposal for %s", key[1])
		}
	}
}

// elsewhere are the reasons whose matchers other tests are about.
var elsewhere = map[string]bool{
	"ConfigurationChangedAfterStart": true,
}

func described(t *testing.T, proposal *v1alpha1.Proposal) string {
	t.Helper()
	for _, verdict := range proposal.Status.Verdicts {
		if verdict.Layer == string(policy.TargetScope) && verdict.Result != v1alpha1.VerdictAllowed {
			t.Errorf("layer 2 refuses %s: %s", proposal.Name, verdict.Message)
		}
	}
	text := fmt.Sprintf("%s %s/%s", proposal.Spec.ActionKind, proposal.Spec.Target.Kind, proposal.Spec.Target.Name)
	if patch := proposal.Spec.Patch; patch != nil {
		for _, operation := range patch.JSONPatch {
			text += fmt.Sprintf(" %s %s %s", operation.Op, operation.Path, operation.Value)
		}
	}
	return text
}
