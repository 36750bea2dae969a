// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs_test

import (
	"testing"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
)

func TestSentenceLeavesOutWhatEachTryHasAnew(t *testing.T) {
	for text, want := range map[string]string{
		"kustomization path not found: stat /tmp/kustomization-3841207/path: no such file or directory": "kustomization path not found: stat /tmp/.../path: no such file or directory",
		"open '/tmp/kustomization-12': denied":                                                          "open '/tmp/...': denied",
		"open /tmp: denied":                                                                             "open /tmp: denied",
		"lookup git.example.com on 10.96.0.10:53: read udp 10.0.0.5:41853->10.96.0.10:53: i/o timeout":  "lookup git.example.com on 10.96.0.10:53: read udp 10.96.0.10:53: i/o timeout",
		"read tcp [fd00::5]:41853->[fd00::10]:443: connection reset":                                    "read tcp [fd00::10]:443: connection reset",
		"a->b: no port": "a->b: no port",
		"StatusCode: 403, RequestID: 7f9b2c1e-aaaa, api error AccessDenied.": "StatusCode: 403, RequestID: ..., api error AccessDenied",
		"denied (request id: GH4S5T6U7V8W)":                                  "denied (request id: ...)",
		"the request identity is missing":                                    "the request identity is missing",
		"  two\n lines. ":                                                    "two lines",
	} {
		if have := inputs.Sentence(text); have != want {
			t.Errorf("%q: have %q, want %q", text, have, want)
		}
	}
}
