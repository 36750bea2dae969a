// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"regexp"
	"slices"
	"strings"
)

// signs are words by which programs and controllers name a cause, the more telling
// first, in lower case, and how a sentence says it of a container.
var signs = []struct {
	cause, says string
	parts       []string
}{
	{"ExecFormatError", "it is built for another architecture", []string{"exec format error"}},
	{"DiskFull", "a disk is full", []string{"no space left on device", "disk quota exceeded", "enospc"}},
	{"AddressInUse", "the address that it listens on is taken", []string{"address already in use", "eaddrinuse"}},
	{"RBACDenied", "RBAC denies it something", []string{"is forbidden: user"}},
	{"QuotaExceeded", "a quota is used up", []string{"exceeded quota"}},
	{"RateLimited", "a limit of requests is used up", []string{"ratelimited", "too many requests", "toomanyrequests", "rate limit exceeded"}},
	{"AuthenticationFailed", "its credentials are refused", []string{
		"authentication failed", "access denied for user", "invalid credentials", "wrongpass", "noauth", "401 unauthorized", "code: 401", "code=unauthenticated",
	}},
	{"CertificateInvalid", "a certificate is not trusted", []string{"x509:", "certificate verify failed", "sslhandshakeexception", "self-signed certificate", "self signed certificate", "certificate has expired"}},
	{"HostNotFound", "a host's name cannot be resolved", []string{
		"no such host", "name or service not known", "temporary failure in name resolution", "could not translate host name", "enotfound", "unknownhostexception",
		"nxdomain", "server misbehaving", "nodename nor servname",
	}},
	{"ConnectionRefused", "what it connects to refuses the connection", []string{"connection refused", "econnrefused"}},
	{"TimedOut", "what it waits for does not answer in time", []string{"i/o timeout", "deadline exceeded", "connection timed out", "etimedout", "sockettimeoutexception", "timed out"}},
	{"ModuleNotFound", "a module is missing from its image", []string{"cannot find module", "modulenotfounderror", "no module named", "noclassdeffounderror", "classnotfoundexception"}},
	{"FileNotFound", "a file is missing", []string{"no such file or directory", "enoent", "filenotfounderror", "filenotfoundexception", "executable file not found"}},
	{"ReadOnlyFileSystem", "it writes to a file system that is read-only", []string{"read-only file system", "erofs"}},
	{"PermissionDenied", "a permission is denied to it", []string{"permission denied", "eacces", "operation not permitted", "accessdenied", "403 forbidden", "code: 403"}},
	{"OutOfMemory", "it ran out of memory", []string{"outofmemoryerror", "heap out of memory", "cannot allocate memory"}},
	{"ConfigurationInvalid", "its configuration is not valid", []string{
		"environment variable", "missing required", "is required", "not set", "invalid configuration", "unknown flag", "flag provided but not defined", "unknown command",
		"failed to parse", "cannot unmarshal", "parse error", "invalid config", "unrecognized arguments",
	}},
}

// signIn returns the cause that a text names, or another.
func signIn(text, otherwise string) string {
	if cause, _ := signOf(text); cause != "" {
		return cause
	}
	return otherwise
}

func signOf(text string) (cause, says string) {
	lower := strings.ToLower(text)
	for _, sign := range signs {
		if slices.ContainsFunc(sign.parts, func(part string) bool { return strings.Contains(lower, part) }) {
			return sign.cause, sign.says
		}
	}
	return "", ""
}

var (
	// fatal are lines with which programs end: panics of Go and Rust, what nobody
	// caught of Java, Python and JavaScript, and the fatal level of loggers.
	fatal  = regexp.MustCompile(`(?i)\bpanic: |\bfatal error: |\bpanicked at |exception in thread|^\s*caused by: |\buncaught |\bunhandled |level"?[=:]\s*"?(?:fatal|panic|critical)|\bFATAL\b|^F\d{4} |^[\w.]*(?:Error|Exception): |segmentation fault`)
	panics = regexp.MustCompile(`(?i)\bpanic: |\bpanicked at |exception in thread|caused by: |\buncaught |\bunhandled |^[\w.]*(?:Error|Exception): `)
	errs   = regexp.MustCompile(`(?i)\berr(or)?\b|^E\d{4} |\bfailed\b|\bcannot\b`)
)

// told is what a log tells about why a program ended.
type told struct{ cause, says, line string }

// tell finds the line of a log that says why its program ended: the last with which
// programs end, else the last with a known sign, else the last error.
func tell(log []string) (told, bool) {
	last := func(is func(string) bool) int {
		for i := len(log) - 1; i >= 0; i-- {
			if is(log[i]) {
				return i
			}
		}
		return -1
	}
	if i := last(fatal.MatchString); i >= 0 {
		text := log[i]
		if strings.HasSuffix(text, ":") && i+1 < len(log) { // as Rust does
			text += " " + strings.TrimSpace(log[i+1])
		}
		if cause, says := signOf(text); cause != "" {
			return told{cause, says, text}, true
		}
		if panics.MatchString(text) {
			return told{"Panicked", "the program gave up over an error that it does not handle", text}, true
		}
		return told{"FatalError", "the program gave up", text}, true
	}
	if i := last(func(text string) bool { cause, _ := signOf(text); return cause != "" }); i >= 0 {
		cause, says := signOf(log[i])
		return told{cause, says, log[i]}, true
	}
	if i := last(errs.MatchString); i >= 0 {
		return told{"LoggedError", "the last error that it logged is the likely cause", log[i]}, true
	}
	return told{}, false
}
