// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

var (
	// terminal are the control sequences of terminals (ECMA-48, section 5.4).
	terminal = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)`)
	// escapes of single characters in JSON, programming languages and URLs.
	escapes = regexp.MustCompile(`\\+u\{?00([0-9a-fA-F]{2})\}?|\\+x([0-9a-fA-F]{2})|%([0-9a-fA-F]{2})|\\+(/)|&#x0*([0-9a-fA-F]{2});`)
)

// normalize brings a text into one spelling, so that what is looked for has no other.
func normalize(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	for {
		next := terminal.ReplaceAllString(text, "")
		next = strings.Map(visible, next)
		next = norm.NFKC.String(next)
		next = escapes.ReplaceAllStringFunc(next, unescape)
		if next == text {
			return text
		}
		text = next
	}
}

// visible drops what nobody sees: control and format characters, with the tags of
// Unicode, which spell text that only machines read, and variation selectors.
func visible(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return r
	case r == '\u2028' || r == '\u2029': // the separators of lines and paragraphs
		return '\n'
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Variation_Selector):
		return -1
	}
	return r
}

// unescape writes a printable character as itself, and one that could end a string of
// JSON in its shortest escape.
func unescape(escape string) string {
	parts := escapes.FindStringSubmatch(escape)
	if parts[4] != "" {
		return "/"
	}
	code, err := strconv.ParseUint(parts[1]+parts[2]+parts[3]+parts[5], 16, 8)
	switch {
	case err != nil || code < ' ' || code >= unicode.MaxASCII:
		return escape
	case code == '"' || code == '\\':
		return `\` + string(rune(code))
	}
	return string(rune(code))
}
