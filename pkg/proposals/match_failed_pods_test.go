// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/failedpods"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// The pod failed half an hour ago, the Job an hour and twenty minutes ago.
func TestHowLongAFailedPodIsLeftIsAnOption(t *testing.T) {
	for golden, offered := range map[string]map[string]bool{
		"failed-pod-failed-half-an-hour-ago": {"": false, "29m": true, "31m": false},
		"failed-pod-of-a-job-that-gave-up":   {"": true, "60m": true, "24h": false},
	} {
		for leftFor, want := range offered {
			t.Run(golden+" "+leftFor, func(t *testing.T) {
				configuration := &config.SrenixConfiguration{}
				if leftFor != "" {
					options := fmt.Appendf(nil, `{"leftFor":%q}`, leftFor)
					configuration.Analyzers = map[string]config.AnalyzerConfiguration{failedpods.Name: {Options: &runtime.RawExtension{Raw: options}}}
				}
				config.Default(configuration)
				rules, err := catalog.Build(configuration, "srenix-system", func(string) string { return "" })
				if err != nil {
					t.Fatal(err)
				}
				golden := analyzertest.Read(t, "testdata/"+golden+".yaml")
				engine := live.New(live.Options{Clock: testingclock.NewFakeClock(golden.Now)})
				for _, rule := range append(rules, Rules(configuration, "srenix-system")...) {
					if err := engine.AddRule(rule); err != nil {
						t.Fatal(err)
					}
				}
				shop := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
				livetest.Run(t, engine, analyzertest.Cluster(t, append(golden.Objects, shop)))
				livetest.Eventually(t, "everything is evaluated", engine.Settled)
				proposals := live.List(engine, Proposals)
				if (len(proposals) == 1) != want {
					t.Fatalf("proposed %v, want one: %t", proposals, want)
				}
				if want && leftFor != "" && !strings.Contains(proposals[0].Spec.Rationale, leftFor) {
					t.Errorf("the rationale %q does not say %s", proposals[0].Spec.Rationale, leftFor)
				}
			})
		}
	}
}
