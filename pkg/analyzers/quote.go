// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import "strings"

// Quote quotes a word of a command for a shell where it has to be: the API server
// lets some names hold what a shell would run.
func Quote(word string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._:/=", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
