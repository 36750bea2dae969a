// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"strings"
	"testing"
)

// BenchmarkRedact redacts 16 KiB of a log.
func BenchmarkRedact(b *testing.B) {
	r := redactor(b, known...)
	line := "2026-11-30T06:21:07Z ERROR checkout: dial tcp 10.0.0.1:5432: password=hunter2 in payments CrashLoopBackOff\n"
	text := strings.Repeat(line, 16<<10/len(line))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Redact(text)
	}
}
