// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/vault"
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

// paths are what the lines "# vault: MOUNT PATH STATE [KEYS or NAMESPACE]" of a golden say:
// what a person applies has no part in what a Vault holds.
func paths(t *testing.T, file string) []live.Object {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []live.Object
	for line := range strings.Lines(string(content)) {
		text, is := strings.CutPrefix(strings.TrimSpace(line), "# vault: ")
		if !is {
			continue
		}
		words := append(strings.SplitN(text, " ", 4), "")
		path, seen := vault.Path{Mount: words[0], Path: words[1]}, vault.Seen{State: vault.State(words[2])}
		if strings.HasPrefix(words[3], "{") {
			if err := json.Unmarshal([]byte(words[3]), &seen.Keys); err != nil {
				t.Fatal(err)
			}
		} else {
			path.Namespace = words[3]
		}
		objects = append(objects, vault.Object(path, seen))
	}
	return objects
}

func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding goldens: %v", err)
	}
	var goldens []analyzertest.Golden
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			golden := analyzertest.Read(t, file)
			goldens = append(goldens, golden)
			have, messages := []string{}, ""
			for _, spec := range analyzertest.Analyze(t, configured(t), golden.Now, golden.After, slices.Concat(golden.Objects, paths(t, file))) {
				have = append(have, fmt.Sprintf("%s %s %s/%s since %s", spec.Reason, spec.Severity, spec.Subject.Kind, spec.Subject.Name, spec.Since.UTC().Format(time.RFC3339)))
				messages += spec.Message + "\n"
				if spec.Subject.UID == "" || spec.Remediation.Text == "" || len(spec.Remediation.Commands) == 0 {
					t.Errorf("a finding lacks the UID of its subject, or its remediation: %+v", spec)
				}
			}
			slices.Sort(have)
			if diff := cmp.Diff(golden.Want, have); diff != "" {
				t.Errorf("findings (-want +have):\n%s", diff)
			}
			for _, part := range golden.Says {
				if !strings.Contains(messages, part) {
					t.Errorf("no message says %q:\n%s", part, messages)
				}
			}
		})
	}
	analyzertest.Cover(t, configured(t), goldens)
}

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
