// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func TestEveryFixerIsKnown(t *testing.T) {
	all := fixers.All()
	for _, fixer := range all {
		if fixer.Description == "" || byFixer(time.Hour)[fixer.Name] == nil {
			t.Errorf("%q does nothing, or does not say what", fixer.Name)
		}
	}
	if len(all) != len(byFixer(time.Hour)) {
		t.Errorf("a model may choose %v, and there are %d", all, len(byFixer(time.Hour)))
	}
}

// Of each cluster of the goldens, a model chooses each fixer for each finding, and more.
// What rules propose stays as it is. What is added fits, and says who chose it.
func TestWhateverAModelChoosesWhatRulesProposeStays(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding goldens: %v", err)
	}
	choices := map[string]opsv1alpha1.ChosenFix{
		"quarantined": {Quarantined: true, Answered: fixers.RestartDeployment, Fixer: fixers.RestartDeployment},
		"none":        {},
		"unknown":     {Fixer: "reboot-all-nodes"},
	}
	for _, fixer := range fixers.All() {
		choices[fixer.Name] = opsv1alpha1.ChosenFix{Fixer: fixer.Name}
	}
	added := map[string][]string{}
	for _, file := range files {
		of := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(of, func(t *testing.T) {
			golden := analyzertest.Read(t, file)
			clock := testingclock.NewFakeClock(golden.Now)
			engine := newEngineOfAll(t, clock, nil)
			shop := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
			cluster := analyzertest.Cluster(t, append(golden.Objects, shop))
			livetest.Run(t, engine, cluster)
			livetest.Eventually(t, "everything is evaluated", engine.Settled)
			if golden.After > 0 {
				clock.Step(golden.After)
				livetest.Eventually(t, "everything is evaluated again", engine.Settled)
			}
			byRules := proposalsOf(engine)
			findings := live.List(engine, Findings)
			for name, chosen := range choices {
				var investigations []live.Object
				for _, finding := range findings {
					investigations = append(investigations, &opsv1alpha1.Investigation{
						ObjectMeta: metav1.ObjectMeta{Namespace: finding.Namespace, Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)},
						Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
						Status:     opsv1alpha1.InvestigationStatus{RootCause: name, Fix: &chosen},
					})
				}
				cluster.Set(Investigations.Ref().Resource(), investigations...)
				livetest.Settle(t, engine, cluster, Investigations)
				have := proposalsOf(engine)
				for key, proposal := range have {
					if _, byRule := byRules[key]; byRule {
						continue
					}
					described(t, &proposal)
					if !slices.Contains(added[name], of) {
						added[name] = append(added[name], of)
					}
					if proposal.Spec.Source != v1alpha1.SourceLLM || !strings.HasPrefix(proposal.Spec.Rationale, "A model chose this") || byFixer(time.Hour)[name] == nil {
						t.Errorf("%s adds %+v", name, proposal.Spec)
					}
					delete(have, key)
				}
				if diff := cmp.Diff(byRules, have, cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion")); diff != "" {
					t.Errorf("with %s, rules propose (-without +with):\n%s", name, diff)
				}
			}
		})
	}
	// A restart is no fix for whatever else has gone wrong with a Deployment.
	want := map[string][]string{
		fixers.ReplaceOutdatedPod: {"ordinal-zero-recovers-at-an-older-revision"},
		fixers.RestartDeployment:  {"crashes-and-another-pod-runs-with-the-configmap-of-before"},
	}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Errorf("what a model adds, and of which clusters (-want +have):\n%s", diff)
	}
}

func proposalsOf(engine *live.Engine) map[string]v1alpha1.Proposal {
	all := map[string]v1alpha1.Proposal{}
	for _, proposal := range live.List(engine, Proposals) {
		all[proposal.Name] = *proposal
	}
	return all
}
