// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedpods

import (
	"strings"
	"testing"

	"k8s.io/client-go/util/jsonpath"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
)

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

// What the command deletes are the pods of that reason, and no others that failed.
func TestOnlyPodsOfTheReasonArePicked(t *testing.T) {
	pod := func(name, reason string) map[string]any {
		status := map[string]any{"phase": "Failed"}
		if reason != "" {
			status["reason"] = reason
		}
		return map[string]any{"metadata": map[string]any{"name": name}, "status": status}
	}
	list := map[string]any{"items": []any{
		pod("a", "Evicted"), pod("b", ""), pod("c", "OutOfnvidia.com/gpu"), pod("d", "Evicted"), pod("e", `"`),
	}}
	for reason, want := range map[string]string{
		"Evicted": "pod/a\npod/d\n", "OutOfnvidia.com/gpu": "pod/c\n", "NodeLost": "",
	} {
		// As kubectl does it.
		template := jsonpath.New("names").AllowMissingKeys(true)
		if err := template.Parse(namesOf(reason)); err != nil {
			t.Fatal(err)
		}
		var have strings.Builder
		if err := template.Execute(&have, list); err != nil {
			t.Fatal(err)
		}
		if have.String() != want {
			t.Errorf("%s: have %q, want %q", reason, have.String(), want)
		}
	}
}
