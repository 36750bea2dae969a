// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"strings"
	"testing"
)

func TestMaskLeavesWhatThePeopleOfTheClusterMaySee(t *testing.T) {
	for text, want := range map[string]string{
		"password=hunter2 user=app":                                    "password=[secret] user=app",
		`{"dbPassword": "a b", "user": "app"}`:                         `{"dbPassword": [secret], "user": "app"}`,
		"DB_PASSWORD: 'x y' next":                                      "DB_PASSWORD: [secret] next",
		"redis://:p@ss@redis:6379/0":                                   "redis://[secret]@redis:6379/0",
		"Authorization: Basic YXBwOmh1bnRlcjI=":                        "Authorization: [secret]",
		"key AKIAIOSFODNN7EXAMPLE is used":                             "key [key] is used",
		"hvs.CAESIJ1234567890 expired":                                 "[token] expired",
		"commit 0123456789abcdef0123456789abcdef01234567":              "commit [hash]",
		"image web@sha256:" + strings.Repeat("ab", 32):                 "image web@sha256:" + strings.Repeat("ab", 32),
		"open /usr/local/lib/python3.11/site-packages/Django/Core.py":  "open /usr/local/lib/python3.11/site-packages/Django/Core.py",
		"got dGhpcyBpcyBhIHNlY3JldCB0aGF0IGlzIGxvbmcgZW5vdWdoMTIz":     "got [token]",
		"deployment web-7d9c5b8f6d of namespace shop is not available": "deployment web-7d9c5b8f6d of namespace shop is not available",
		"password authentication failed for user app":                  "password authentication failed for user app",
		"-----BEGIN EC PRIVATE KEY-----\nabc":                          "[key]",
		"dial tcp: lookup db on 10.0.0.10:53: no such host":            "dial tcp: lookup db on 10.0.0.10:53: no such host",
		"fe80::1 is the address of kim@example.org":                    "fe80::1 is the address of kim@example.org",
		"volume pvc-0b7c3d1e-8f2a-4c5d-9e6f-1a2b3c4d5e6f":              "volume pvc-0b7c3d1e-8f2a-4c5d-9e6f-1a2b3c4d5e6f",
		"[secret] and [hash] stay":                                     "[secret] and [hash] stay",
		"AKIA\x1b[31mIOSFODNN7EXAMPLE\x1b[0m":                          "[key]",
	} {
		if again := Mask(want); again != want {
			t.Errorf("masked again, %q becomes %q", want, again)
		}
		if have := Mask(text); have != want {
			t.Errorf("%q becomes\n%q, want\n%q", text, have, want)
		}
	}
}

func TestSecretTellsWhatRedactWouldMask(t *testing.T) {
	r, err := New([]byte(strings.Repeat("k", 32)), []Name{{Kind: "Secret", Text: "db-password-4f9a1c"}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"the keys user and password are missing":           false,
		"password=[secret] token=[secret]":                 false,
		"see " + r.Redact("db-password-4f9a1c") + " first": false,
		"password=hunter2":                                 true,
		"pass\u200bword=hunter2":                           true,
		"AKIAIOSFODNN7EXAMPLE":                             true,
		"Vault is at 10.0.0.7":                             true,
		"write to kim@example.org":                         true,
	} {
		if have := r.Secret(text); have != want {
			t.Errorf("%q: %t, want %t", text, have, want)
		}
	}
}

func TestWord(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "I": true, "If": true, "Vault": true, "ExternalSecret": true, "unsealed": true, "CA": true,
		"": false, "hunter2": false, "xKqLmZpWvB": false, "bcdfghjk": false, "pass_word": false, "ab=cd": false, strings.Repeat("ab", 20): false,
	} {
		if have := Word(text); have != want {
			t.Errorf("%q: %t, want %t", text, have, want)
		}
	}
}
