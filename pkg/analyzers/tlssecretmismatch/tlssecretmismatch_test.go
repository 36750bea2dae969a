// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecretmismatch

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func made(t *testing.T, options string) analyzers.Analyzer {
	t.Helper()
	made, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}}))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestGoldens(t *testing.T) { analyzertest.Run(t, made(t, `{"tlsSecrets": true}`)) }

func TestSecretsAreReadWhereSwitchedOnOnly(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-secret-by-hand-expired.yaml")
	for options, want := range map[string]int{`{}`: 0, `{"tlsSecrets": false}`: 0, `{"tlsSecrets": true}`: 1} {
		analyzer := made(t, options)
		reads := slices.ContainsFunc(analyzer.Rules, func(rule analyzers.Rule) bool {
			return slices.ContainsFunc(rule.Reads, func(k live.KindRef) bool { return k.Resource() == inputs.Secrets.Ref().Resource() })
		})
		if reads != (want > 0) {
			t.Errorf("with options %s Secrets are read: %t", options, reads)
		}
		if found := analyzertest.Analyze(t, analyzer, golden.Now, 0, golden.Objects); len(found) != want {
			t.Errorf("with options %s: found %+v", options, found)
		}
	}
}
