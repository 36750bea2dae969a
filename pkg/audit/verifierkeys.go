// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maximumVerifierKeys bounds how many keys are read: one that changes every
// month lasts five years.
const maximumVerifierKeys = 64

// VerifierKeys are the public keys by which checkpoints are known, the current
// one first. The zero value knows none.
type VerifierKeys struct {
	verifiers []note.Verifier
	lines     []string
}

// ParseVerifierKeys reads keys as the ConfigMap srenix-audit-vkey holds them, one
// a line: NAME+HASH+BASE64, the encoding of golang.org/x/mod/sumdb/note.
func ParseVerifierKeys(text string) (VerifierKeys, error) {
	var keys VerifierKeys
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(keys.lines) == maximumVerifierKeys {
			return VerifierKeys{}, fmt.Errorf("reading the verifier keys: there are more than %d", maximumVerifierKeys)
		}
		verifier, err := note.NewVerifier(line)
		if err == nil && !canonicalKey(line, verifier) {
			err = errors.New("it is not written as it was published")
		}
		if err == nil && slices.Contains(keys.lines, line) {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return VerifierKeys{}, fmt.Errorf("reading verifier key %d: %w", len(keys.lines)+1, err)
		}
		keys.verifiers, keys.lines = append(keys.verifiers, verifier), append(keys.lines, line)
	}
	if len(keys.lines) == 0 {
		return VerifierKeys{}, errors.New("reading the verifier keys: there is none: each is a line like srenix.io/audit/CLUSTER+HASH+KEY")
	}
	return keys, nil
}

// canonicalKey tells whether no other line would be the same key.
func canonicalKey(line string, verifier note.Verifier) bool {
	encoded, begins := strings.CutPrefix(line, fmt.Sprintf("%s+%08x+", verifier.Name(), verifier.KeyHash()))
	return begins && canonicalBase64(encoded)
}

// String returns the keys as ParseVerifierKeys reads them.
func (k VerifierKeys) String() string {
	if len(k.lines) == 0 {
		return ""
	}
	return strings.Join(k.lines, "\n") + "\n"
}

// with returns the keys, current first, and those of more that are not among them.
func (k VerifierKeys) with(more VerifierKeys) VerifierKeys {
	all := VerifierKeys{verifiers: slices.Clone(k.verifiers), lines: slices.Clone(k.lines)}
	for i, line := range more.lines {
		if !slices.Contains(all.lines, line) {
			all.verifiers, all.lines = append(all.verifiers, more.verifiers[i]), append(all.lines, line)
		}
	}
	return all
}

// of returns the keys of one chain.
func (k VerifierKeys) of(origin string) VerifierKeys {
	var own VerifierKeys
	for i, verifier := range k.verifiers {
		if verifier.Name() == origin {
			own.verifiers, own.lines = append(own.verifiers, verifier), append(own.lines, k.lines[i])
		}
	}
	return own
}
