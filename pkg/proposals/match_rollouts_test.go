// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// Of all rollouts that the analyzer's own goldens find stuck, none is restarted: nothing
// has changed since their pods started. Where something has, testdata shows.
func TestARolloutIsRestartedOnlyWhereThatCanHelp(t *testing.T) {
	helps := map[string]string{
		// No restart: the set keeps a pod of a revision that it was set back from.
		"found-stateful-set-was-set-back-and-keeps-a-pod":                 "DeletePod Pod/db-1",
		"found-stateful-set-was-set-back-and-keeps-a-pod-without-a-claim": "DeletePod Pod/db-1",
	}
	files, err := filepath.Glob("../analyzers/stuckrollout/testdata/found-*.yaml")
	if err != nil || len(files) <= len(helps) {
		t.Fatalf("finding goldens: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			golden := analyzertest.Read(t, file)
			clock := testingclock.NewFakeClock(golden.Now)
			engine := live.New(live.Options{Clock: clock})
			for _, rule := range rulesOf(t, stuckrollout.Name) {
				if err := engine.AddRule(rule); err != nil {
					t.Fatal(err)
				}
			}
			shop := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
			livetest.Run(t, engine, analyzertest.Cluster(t, append(golden.Objects, shop)))
			livetest.Eventually(t, "everything is evaluated", engine.Settled)
			clock.Step(golden.After)
			livetest.Eventually(t, "everything is evaluated again", engine.Settled)
			if findings := live.List(engine, Findings); len(findings) != 1 {
				t.Fatalf("%d findings", len(findings))
			}
			have := ""
			for _, proposal := range live.List(engine, Proposals) {
				have += described(t, proposal)
			}
			if have != helps[name] {
				t.Errorf("proposed %q, want %q", have, helps[name])
			}
		})
	}
}

// rulesOf are the rules of one analyzer, with those that propose.
func rulesOf(t *testing.T, name string) []live.Rule {
	t.Helper()
	configuration := &config.SrenixConfiguration{}
	config.Default(configuration)
	rules, err := catalog.Build(configuration, "srenix-system", func(variable string) string {
		if variable == catalog.Variable(name) || !strings.HasPrefix(variable, "SRENIX_ANALYZER_") {
			return ""
		}
		return "off"
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(rules, Rules(configuration, "srenix-system")...)
}
