// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rbacdrift

import (
	"strings"
	"testing"
	"unicode/utf8"

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

func TestAMessageIsBoundedHoweverLongNamesAre(t *testing.T) {
	var long []string
	for range 50 {
		long = append(long, strings.Repeat("ä", 100_000))
	}
	if text := shorten(long); len(text) > 1000 || !utf8.ValidString(text) || !strings.HasSuffix(text, "and others") {
		t.Errorf("it has %d bytes, valid %t", len(text), utf8.ValidString(text))
	}
}
