// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func with(options string) analyzers.Settings {
	return analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}})
}

func configured(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(with(`{"address": "https://Vault.example.com:8200", "tokenFile": "/token", "alsoKnownAs": ["http://vault.vault.svc:8200"]}`))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) { analyzertest.Run(t, configured(t)) }

func TestItIsOffUnlessConfigured(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil || len(analyzer.Rules) > 0 {
		t.Errorf("it has %d rules: %v", len(analyzer.Rules), err)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for options, word := range map[string]string{
		`{"tokenFile": "/t"}`: "options.address",
		`{"address": "vault.example.com", "tokenFile": "/t"}`:                                  "options.address",
		`{"address": "http://vault.example.com", "tokenFile": "/t"}`:                           "must be https",
		`{"address": "https://v"}`:                                                             "one of tokenFile and kubernetesRole",
		`{"address": "https://v", "tokenFile": "/t", "kubernetesRole": "r"}`:                   "one of tokenFile and kubernetesRole",
		`{"address": "https://v", "tokenFile": "/t", "timeout": "0s"}`:                         "options.timeout",
		`{"address": "https://v", "tokenFile": "/t", "timeout": "1h"}`:                         "options.timeout",
		`{"address": "https://v", "tokenFile": "/t", "refreshInterval": "1s"}`:                 "options.refreshInterval",
		`{"address": "https://v", "tokenFile": "/t", "alsoKnownAs": ["https://w", "nowhere"]}`: "options.alsoKnownAs[1]",
		`{"address": "https://v", "token": "t"}`:                                               "token",
		`{"address": "https://v", "tokenFile": "/t", "insecureSkipTLSVerify": true}`:           "insecureSkipTLSVerify",
	} {
		if _, err := New(with(options)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: have %v, want %q named", options, err, word)
		}
	}
	for _, options := range []string{`{"address": "http://127.0.0.1:8200", "tokenFile": "/t"}`, `{"address": "https://v", "kubernetesRole": "r", "timeout": "5s"}`} {
		if _, err := New(with(options)); err != nil {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func TestJunkIsNotFoundAndPanicsNothing(t *testing.T) {
	for name, spec := range map[string]any{
		"nothing":     nil,
		"text":        "x",
		"odd lists":   map[string]any{"data": "x", "dataFrom": []any{"x", nil, map[string]any{"extract": int64(1)}}},
		"odd entries": map[string]any{"secretStoreRef": map[string]any{"name": "vault"}, "data": []any{map[string]any{"remoteRef": map[string]any{"key": int64(1), "property": []any{}}}}},
		"odd keys": map[string]any{"secretStoreRef": map[string]any{"name": "vault"}, "data": []any{
			map[string]any{"remoteRef": map[string]any{"key": "../../sys/seal"}}, map[string]any{"remoteRef": map[string]any{"key": strings.Repeat("ключ/", 1000)}},
			map[string]any{"remoteRef": map[string]any{"key": "/"}},
		}},
		"odd stores": map[string]any{"secretStoreRef": map[string]any{"name": "odd"}, "data": []any{map[string]any{"remoteRef": map[string]any{"key": "a"}, "sourceRef": "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			golden := analyzertest.Read(t, "testdata/found-path.yaml")
			object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "spec": spec}}
			object.SetNamespace("shop")
			object.SetName("db")
			odd := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "spec": map[string]any{"provider": map[string]any{"vault": map[string]any{"server": int64(1)}}}}}
			odd.SetNamespace("shop")
			odd.SetName("odd")
			if found := analyzertest.Analyze(t, configured(t), golden.Now, time.Hour, []live.Object{golden.Objects[0], odd, object}); len(found) > 0 {
				t.Errorf("found %v", found)
			}
		})
	}
}
