// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func settings(options string) analyzers.Settings {
	return analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}})
}

func made(t *testing.T, options string) analyzers.Analyzer {
	t.Helper()
	made, err := New(settings(options))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestGoldens(t *testing.T) {
	analyzertest.Run(t, made(t, `{"tlsSecrets": true}`))
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for options, word := range map[string]string{
		`{"expiresWithin":"0s"}`: "expiresWithin", `{"lifetimePercent":0}`: "lifetimePercent", `{"lifetimePercent":51}`: "lifetimePercent", `{"tlsSecret":true}`: "tlsSecret",
	} {
		if _, err := New(settings(options)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// TestOptionsMoveWhatIsFound holds golden objects against other numbers.
func TestOptionsMoveWhatIsFound(t *testing.T) {
	for _, test := range []struct{ golden, options, want string }{
		{"found-expires-soon", `{}`, "CertificateExpiresSoon since 2026-03-06T00:00:00Z"}, // a tenth of 90 days
		{"found-expires-soon", `{"lifetimePercent":1}`, ""},                               // two days, then
		{"found-expires-soon", `{"lifetimePercent":1,"expiresWithin":"240h"}`, "CertificateExpiresSoon since 2026-03-05T00:00:00Z"},
		{"found-renewal-overdue", `{"lifetimePercent":5}`, "RenewalOverdue since 2026-03-05T12:00:00Z"},
		{"found-renewal-overdue", `{"lifetimePercent":11}`, ""},
	} {
		golden, have := analyzertest.Read(t, "testdata/"+test.golden+".yaml"), ""
		for _, spec := range analyzertest.Analyze(t, made(t, test.options), golden.Now, golden.After, golden.Objects) {
			have += spec.Reason + " since " + spec.Since.UTC().Format(time.RFC3339)
		}
		if have != test.want {
			t.Errorf("%s with %s: %q, want %q", test.golden, test.options, have, test.want)
		}
	}
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
