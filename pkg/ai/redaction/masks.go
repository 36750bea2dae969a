// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// What stands for things that must not leave and that nobody needs back.
const (
	maskSecret  = "[secret]"
	maskToken   = "[token]"
	maskKey     = "[key]"
	maskHash    = "[hash]"
	maskAddress = "[address]"
	maskEmail   = "[email]"
	// maskInstruction stands for a passage that reads like an instruction.
	maskInstruction = "[instruction]"
)

var masks = []string{maskSecret, maskToken, maskKey, maskHash, maskAddress, maskEmail, maskInstruction}

// rule finds one sort of thing. Only the first group of the pattern goes, if it has one.
type rule struct {
	pattern *regexp.Regexp
	mask    string
	// unless spares what matches and is harmless; nil spares nothing. It is given the
	// whole text and the place of the match.
	unless func(text string, start, end int) bool
	// identifying tells that it says something of the cluster, and nothing that is
	// secret to its people.
	identifying bool
}

const (
	// secretWord is part of the names of things that are secret.
	secretWord = `(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|api[-_.]?key|access[-_.]?key|private[-_.]?key|signing[-_.]?key|encryption[-_.]?key|account[-_.]?key|shared[-_.]?key|credentials?|authorization|bearer|signature|session[-_.]?id|dsn|connection[-_.]?string|conn[-_.]?str|salt)`
	// quotes around a value, as they are and within a string of JSON.
	quotes = `(?:\\*["'` + "`" + `])`
	// value is what an assignment gives: a string, one within a string, or all up to
	// the next space or quote.
	value = `(?:"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|` + "`[^`\n]*`?" + `|\\["'](?:[^"'\\\n]|\\\\\\["']|\\\\|\\[^"'\\\n])*(?:\\["'])?|\\{2,}["'][^"'\n]*["']?|(?:[^\s"'\\` + "`" + `]|\\[^"'nrt\s\\]|\\\\[^"'])+)`
)

// uuids are identifiers by RFC 9562.
var uuids = regexp.MustCompile(`[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}`)

var rules = []rule{
	{pattern: regexp.MustCompile(`(?s)-----BEGIN [A-Za-z0-9 ]*-----.*?(?:-----END [A-Za-z0-9 ]*-----|\z)`), mask: maskKey},
	// The end of a key whose beginning was cut off.
	{pattern: regexp.MustCompile(`(?:[A-Za-z0-9+/=]+(?:\s|\\n|\\r)*)*-----END [A-Za-z0-9 ]*-----`), mask: maskKey},
	{pattern: regexp.MustCompile(`AGE-SECRET-KEY-[A-Z0-9]+`), mask: maskKey},
	// JSON Web Tokens (RFC 7519), also where they were cut.
	{pattern: regexp.MustCompile(`eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,4}`), mask: maskToken},
	{pattern: regexp.MustCompile(`(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}`), mask: maskKey},
	{pattern: regexp.MustCompile(`(?:gh[pousr]_|github_pat_|glpat-|gldt-|xox[a-z]-|xapp-|sk-|pk_live_|sk_live_|rk_live_|hv[sbr]\.|AIza|ya29\.|npm_|pypi-|dckr_pat_|dop_v1_|SG\.|shp[a-z]{2}_|whsec_)[A-Za-z0-9_.-]{8,}`), mask: maskToken},
	{pattern: regexp.MustCompile(`(?i)hooks\.slack\.com/[^\s"']+`), mask: maskToken},
	// Credentials of URLs (RFC 3986, section 3.2.1), with the whole of a password that
	// holds characters which it should not, and those of data source names.
	{pattern: regexp.MustCompile(`://([^\s"'<>]*)@`), mask: maskSecret},
	{pattern: regexp.MustCompile(`([^\s:/@"'=,;(\[{<>]+:(?:[^\s@"'<>/]|/[^\s@"'<>/])[^\s@"'<>]*)@`), mask: maskSecret, unless: imageDigest},
	// Headers.
	{pattern: regexp.MustCompile(`(?i)(?:authorization|set-cookie|cookie|x-[a-z-]*(?:key|token|secret)[a-z-]*)` + quotes + `?\s*[:=]\s*` + quotes + `?([^\s"'\\][^\n"'\\]*)`), mask: maskSecret},
	{pattern: regexp.MustCompile(`(?i)bearer\s+` + quotes + `?([^\s"',;\\]+)`), mask: maskToken},
	{pattern: regexp.MustCompile(`(?i)basic\s+([A-Za-z0-9+/_-]{6,}={1,2}|[A-Za-z0-9+/_-]{16,})`), mask: maskToken},
	// Assignments, flags, elements of XML, environment variables as objects, prose and SQL.
	{pattern: regexp.MustCompile(`(?i)` + secretWord + `[A-Za-z0-9_.-]*` + quotes + `?[\s+]*(?::=|=>|[:=])[\s+]*((?:[|>][-+]?\s+)?` + value + `)`), mask: maskSecret},
	{pattern: regexp.MustCompile(`(?i)--?[a-z0-9-]*` + secretWord + `[a-z0-9-]*\s+(` + value + `)`), mask: maskSecret},
	{pattern: regexp.MustCompile(`(?i)<[^<>]*` + secretWord + `[^<>]*>([^<]+)`), mask: maskSecret},
	{pattern: regexp.MustCompile(`(?i)name` + quotes + `?\s*:\s*` + quotes + `?[A-Za-z0-9_.-]*(?:` + secretWord + `|key)[A-Za-z0-9_.-]*` + quotes + `?[\s,]+` + quotes + `?value` + quotes + `?\s*:\s*(` + value + `)`), mask: maskSecret},
	{pattern: regexp.MustCompile(`(?i)(?:password|passphrase|passcode|token)\s+(?:is|was)\s+(` + value + `)`), mask: maskSecret, unless: plainWord},
	{pattern: regexp.MustCompile(`(?i)(?:identified\s+by|pass(?:word|phrase|code))\s+(` + quotes + `[^"'` + "`" + `\n]+` + quotes + `)`), mask: maskSecret},
	{pattern: regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`), mask: maskEmail, identifying: true},
	// Addresses: IPv4 with dots, also defanged or escaped, and as part of the name of a
	// node; IPv6 (RFC 4291, section 2.2); those of hardware; names of reverse look-ups.
	{pattern: regexp.MustCompile(`[0-9]+(?:\\*\[?\.\]?[0-9]+){3,}`), mask: maskAddress, identifying: true},
	{pattern: regexp.MustCompile(`[0-9]{1,3}(?:[-_][0-9]{1,3}){3,}`), mask: maskAddress, identifying: true},
	{pattern: regexp.MustCompile(`[0-9A-Fa-f:]*::[0-9A-Fa-f:]*(?:[0-9]*(?:\.[0-9]+){3})?(?:%[0-9A-Za-z._-]+)?`), mask: maskAddress, unless: noAddress, identifying: true},
	{pattern: regexp.MustCompile(`(?:[0-9A-Fa-f]+:){7,}[0-9A-Fa-f]*(?:%[0-9A-Za-z._-]+)?`), mask: maskAddress, identifying: true},
	{pattern: regexp.MustCompile(`(?:[0-9A-Fa-f]{1,4}:){6}[0-9]+(?:\.[0-9]+){3}`), mask: maskAddress, identifying: true},
	{pattern: regexp.MustCompile(`(?:[0-9A-Fa-f]{2}[:-]){5,}[0-9A-Fa-f]{2}`), mask: maskAddress, identifying: true},
	{pattern: regexp.MustCompile(`(?:[0-9A-Fa-f]\.){8,}[0-9A-Fa-f]?`), mask: maskAddress, identifying: true},
	// Hashes, identifiers and everything that looks random.
	{pattern: uuids, mask: maskHash, identifying: true},
	{pattern: regexp.MustCompile(`[0-9A-Fa-f]{16,}`), mask: maskHash},
	{pattern: regexp.MustCompile(`[A-Za-z0-9+/_-]{12,}=*`), mask: maskToken, unless: words},
}

// findSecrets returns what is to be masked, rule by rule, with overlaps.
func findSecrets(text string, rules []rule) []span {
	var spans []span
	for _, rule := range rules {
		for _, match := range rule.pattern.FindAllStringSubmatchIndex(text, -1) {
			start, end := match[0], match[1]
			if len(match) > 2 {
				start, end = match[2], match[3]
			}
			if start < end && (rule.unless == nil || !rule.unless(text, start, end)) {
				spans = append(spans, span{start: start, end: end, with: rule.mask})
			}
		}
	}
	return spans
}

// digests are hashes that say what of (as in OCI's image-spec, descriptor.md). Images
// are found by them.
var digests = regexp.MustCompile(`sha(?:256|512):[0-9a-f]{32,}`)

// withoutDigests leaves out what lies within a digest, after the name of its hash.
func withoutDigests(text string, spans []span) []span {
	all := digests.FindAllStringIndex(text, -1)
	return slices.DeleteFunc(spans, func(found span) bool {
		return slices.ContainsFunc(all, func(digest []int) bool { return digest[0] < found.start && found.end <= digest[1] })
	})
}

// imageDigest tells whether what looks like a user and a password is an image with a
// tag and a digest.
func imageDigest(text string, _, end int) bool {
	return strings.HasPrefix(text[end:], "@sha256:") || strings.HasPrefix(text[end:], "@sha512:")
}

// plainWord tells whether a value is an ordinary word, as in "the password is wrong".
func plainWord(text string, start, end int) bool {
	return ordinary.MatchString(text[start:end]) && !strings.ContainsAny(text[start:end], "0123456789")
}

// noAddress tells whether two colons are something else than part of an address, as
// in std::vec. What could be hexadecimal by chance has few letters and no digit.
func noAddress(text string, start, end int) bool {
	found := text[start:end]
	if strings.ContainsAny(found, "0123456789") {
		return false
	}
	if len(strings.ReplaceAll(found, ":", "")) >= 5 {
		return false
	}
	_, err := netip.ParseAddr(found)
	return err != nil || found == "::" || !alone(text, start, end)
}

const (
	// shortRandom is how long a part of a longer word may be that looks random and is
	// lower case, as Kubernetes makes it for the names of pods (apimachinery/pkg/util/rand).
	shortRandom = 10
	// longestWord is how long one word can be, as validatingwebhookconfigurations is.
	longestWord = 32
)

var (
	separators = regexp.MustCompile(`[/_-]+`)
	// ordinary is what words look like alone and in compounds such as CrashLoopBackOff,
	// with a number at most at their end.
	ordinary = regexp.MustCompile(`^(?:[A-Z]{1,6}|[A-Z]{0,6}[a-z]{2,}(?:[A-Z]{1,5}[a-z]{2,})*[A-Z]{0,4})[0-9]{0,4}$`)
	number   = regexp.MustCompile(`^[0-9]{1,15}$`)
	// version is that of an API or of a program.
	version = regexp.MustCompile(`^v?[0-9]{1,4}(?:alpha|beta|rc)?[0-9]{0,3}$`)
	shouted = regexp.MustCompile(`^[A-Z]{1,16}[0-9]{0,3}$`)
	random  = regexp.MustCompile(`^[a-z0-9]+$`)
	// unspeakable is what words have none of: this many consonants in a row.
	unspeakable = regexp.MustCompile(`[bcdfghjklmnpqrstvwxz]{5}`)
	capital     = regexp.MustCompile(`[A-Z]`)
	short       = regexp.MustCompile(`^(?:[A-Za-z]?[a-z]|[A-Z]{1,5})$`)
)

// speakable tells whether a part of a longer word is a word or a compound. Of random
// letters half are capitals.
func speakable(part string) bool {
	return ordinary.MatchString(part) && !unspeakable.MatchString(part) && 5*len(capital.FindAllString(part, -1)) <= len(part)+6
}

// Word tells whether a text is made like an English word, an abbreviation or a compound of
// such, so that it is nothing random. It has no digits.
func Word(text string) bool {
	return short.MatchString(text) || len(text) <= longestWord && speakable(text) && !strings.ContainsAny(text, "0123456789")
}

// words tells whether a run of letters and digits is made of words, and so is no key.
// A run that is short may be anything, unless it has upper case, lower case and digits.
// A UUID in it counts for none: a rule of its own is for that.
func words(text string, start, end int) bool {
	run := uuids.ReplaceAllString(strings.TrimSuffix(text[start:end], "="), "")
	mixed := strings.ContainsFunc(run, unicode.IsUpper) && strings.ContainsFunc(run, unicode.IsLower) && strings.ContainsFunc(run, unicode.IsDigit)
	if len(run) < 16 && !mixed {
		return true
	}
	if strings.ContainsAny(run, "+=") {
		return false
	}
	for _, part := range separators.Split(run, -1) {
		switch {
		case part == "", number.MatchString(part), version.MatchString(part), shouted.MatchString(part):
		case len(part) <= shortRandom && random.MatchString(part):
		case len(part) <= longestWord && speakable(part):
		default:
			return false
		}
	}
	return true
}
