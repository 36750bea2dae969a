// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain makes text from a server one line that does to a terminal nothing but
// show it: line breaks and tabs become spaces, and control characters, bidi
// marks and whatever else does not print are escaped. Parts of a proposal may
// have been written by a model or copied from an object that anybody made.
func Plain(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r == '\t':
			out.WriteByte(' ')
		case r == utf8.RuneError || !unicode.IsPrint(r):
			fmt.Fprintf(&out, "\\u%04x", r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// PlainLines makes every line of a text plain, and leaves out space around the text.
func PlainLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = Plain(lines[i])
	}
	return strings.Join(lines, "\n")
}
