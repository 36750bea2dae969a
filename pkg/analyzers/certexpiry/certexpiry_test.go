// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

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

func TestGoldens(t *testing.T) {
	analyzertest.Run(t, made(t, `{"tlsSecrets": true}`))
}

func TestSecretsAreReadWhereSwitchedOnOnly(t *testing.T) {
	for options, want := range map[string]bool{`{}`: false, `{"tlsSecrets": false}`: false, `{"tlsSecrets": true}`: true} {
		have := false
		for _, rule := range made(t, options).Rules {
			kinds := append([]live.KindRef{rule.Subject}, rule.Reads...)
			have = have || slices.ContainsFunc(kinds, func(k live.KindRef) bool { return k.Resource() == inputs.Secrets.Ref().Resource() })
		}
		if have != want {
			t.Errorf("with options %s Secrets are read: %t", options, have)
		}
	}
}
