// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// masked stands where something was taken out.
const masked = "[masked]"

var (
	escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]`)
	pem     = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|\z)`)
	jwt     = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*)?`)
	// userinfo is what stands before the host of a URL.
	userinfo = regexp.MustCompile(`(://)[^\s"'<>/]*@`)
	scheme   = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}`)
	pair     = regexp.MustCompile(`(?i)([a-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|authorization|cookie|(?:api|access|private|signing|encryption)[_.-]?key)[a-z0-9_.-]*["']?\s*[:=]\s*)(\\?"[^"]*"|'[^']*'|[^\s,;&]*[^\s,;&:])`)
	// known are forms of keys that their issuers document.
	known  = regexp.MustCompile(`\b(AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[a-z]-[A-Za-z0-9-]{10,}|hv[sb]\.[A-Za-z0-9_-]{10,}|sk-[A-Za-z0-9_-]{16,})`)
	hexes  = regexp.MustCompile(`(sha256:)?\b[0-9a-fA-F]{32,}\b`)
	base64 = regexp.MustCompile(`[A-Za-z0-9+/_-]{40,}={0,2}`)
)

// mask takes out what is obviously secret: values by their names, keys by their
// forms, and long runs of random characters. It rather takes too much. Digests of
// images stay.
type mask struct{}

// Redact implements Redactor.
func (mask) Redact(text string) string {
	text = pem.ReplaceAllString(text, masked)
	text = jwt.ReplaceAllString(text, masked)
	text = userinfo.ReplaceAllString(text, "${1}"+masked+"@")
	text = scheme.ReplaceAllString(text, "${1} "+masked)
	text = pair.ReplaceAllString(text, "${1}"+masked)
	text = known.ReplaceAllString(text, masked)
	text = hexes.ReplaceAllStringFunc(text, func(run string) string {
		if strings.HasPrefix(run, "sha256:") {
			return run
		}
		return masked
	})
	return base64.ReplaceAllStringFunc(text, func(run string) string {
		if slices.ContainsFunc(strings.FieldsFunc(run, func(r rune) bool { return strings.ContainsRune("/_-", r) }), random) {
			return masked
		}
		return run
	})
}

// random tells whether a run is long and mixes digits with both cases, as words and
// the parts of paths do not.
func random(run string) bool {
	const least = 16
	var digit, lower, upper bool
	for _, r := range run {
		digit, lower, upper = digit || unicode.IsDigit(r), lower || unicode.IsLower(r), upper || unicode.IsUpper(r)
	}
	return len(run) >= least && digit && lower && upper
}
