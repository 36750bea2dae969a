// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// shortestKey is how many bytes a key has at least (RFC 2104, section 3, advises
	// the length of the hash).
	shortestKey = sha256.Size
	// digits of a pseudonym after its prefix: 48 bits, fewer than what is masked as a hash.
	digits = 12
)

// Name is something that must not leave the cluster under its own name.
type Name struct {
	// Kind is what is named, as "Pod", "Namespace", "Host" or "User". Its letters
	// begin the pseudonym.
	Kind string
	// Text is the name. An empty one is passed over.
	Text string
}

// Redactor redacts texts that have a set of names in common, such as the parts of one
// prompt, and restores the answer. It can be used by several goroutines.
type Redactor struct {
	key []byte
	// names leads to pseudonyms.
	names *trie
	// atoms are what redaction makes, which stays as it is: pseudonyms, which lead to
	// names, and masks, which lead to themselves.
	atoms *trie
}

// New makes a Redactor with the key of the cluster, of 32 bytes or more, and the names
// that the caller knows. Of names that are equal but for their case, the first counts.
func New(key []byte, names []Name) (*Redactor, error) {
	if len(key) < shortestKey {
		return nil, fmt.Errorf("the key for pseudonyms has %d bytes: give it %d random ones or more", len(key), shortestKey)
	}
	r := &Redactor{key: slices.Clone(key), names: &trie{}, atoms: &trie{}}
	addMasks(r.atoms)
	for _, name := range withCut(names) {
		text := normalize(name.Text)
		if text == "" || r.names.has(text) {
			continue
		}
		pseudonym := r.pseudonym(name.Kind, text)
		if r.atoms.has(pseudonym) {
			return nil, errors.New("two names have the same pseudonym: use another key")
		}
		r.names.add(text, pseudonym)
		r.atoms.add(pseudonym, name.Text)
	}
	return r, nil
}

func addMasks(atoms *trie) {
	for _, mask := range masks {
		atoms.add(mask, mask)
	}
}

// withCut adds the beginnings of long names. Kubernetes cuts what it derives names from
// to make room for a suffix (apiserver/pkg/storage/names, maxGeneratedNameLength).
func withCut(names []Name) []Name {
	all := slices.Clone(names)
	for _, name := range names {
		for length := cutAfter; length < min(len(name.Text), longestCut); length++ {
			if utf8.RuneStart(name.Text[length]) {
				all = append(all, Name{Kind: name.Kind, Text: name.Text[:length]})
			}
		}
	}
	return all
}

// pseudonym of a name. Case does not count: DNS does not tell it apart either.
func (r *Redactor) pseudonym(kind, text string) string {
	prefix := strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			return c
		}
		return -1
	}, strings.ToLower(kind))
	if prefix == "" {
		prefix = "name"
	}
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%s\x00%s", prefix, lower(text))
	return prefix + "-" + hex.EncodeToString(mac.Sum(nil))[:digits]
}

// Redact masks and replaces all that must not leave, and brings the text into one
// spelling: valid UTF-8 in compatibility composition (NFKC), without control
// characters but tabs and newlines, and without escapes of plain characters.
func (r *Redactor) Redact(text string) string { return settled(text, r.atoms, r.pass) }

// settled applies a function between atoms until it changes nothing any more.
func settled(text string, atoms *trie, pass func(string) string) string {
	for {
		next := between(text, atoms, pass)
		if next == text {
			return text
		}
		text = next
	}
}

// between applies a function to what lies between words that redaction has made.
func between(text string, atoms *trie, apply func(string) string) string {
	var out strings.Builder
	at := 0
	for _, span := range atoms.find(text) {
		out.WriteString(apply(text[at:span.start]))
		out.WriteString(text[span.start:span.end])
		at = span.end
	}
	out.WriteString(apply(text[at:]))
	return out.String()
}

// replace puts what spans say in their places.
func replace(text string, spans []span) string {
	var out strings.Builder
	at := 0
	for _, span := range spans {
		out.WriteString(text[at:span.start])
		out.WriteString(span.with)
		at = span.end
	}
	out.WriteString(text[at:])
	return out.String()
}

// Secret tells whether a text holds anything that Redact would mask, beside the masks
// and pseudonyms that stand in it.
func (r *Redactor) Secret(text string) bool {
	found := false
	between(normalize(text), r.atoms, func(text string) string {
		found = found || len(findSecrets(text, rules)) > 0
		return text
	})
	return found
}

// pass redacts what it can see at once. Where a name goes, another pass may see more.
func (r *Redactor) pass(text string) string {
	text = normalize(text)
	return replace(text, merge(r.names.find(text), findSecrets(text, rules)))
}

// Restore puts names back where their pseudonyms stand, whatever the case that a model
// wrote them in. Masks stay.
func (r *Redactor) Restore(text string) string { return replace(text, r.atoms.find(text)) }

// Foreign tells whether a text has a word that is spelled like a pseudonym and is none
// of this Redactor, as when a model makes one up.
func (r *Redactor) Foreign(text string) bool {
	foreign := false
	between(text, r.atoms, func(text string) string {
		foreign = foreign || pseudonyms.MatchString(text)
		return text
	})
	return foreign
}

// pseudonyms matches everything that is spelled like one.
var pseudonyms = regexp.MustCompile(`[A-Za-z]+-[0-9a-fA-F]{12}`)

// span is a part of a text and what stands there instead.
type span struct {
	start, end int
	with       string
}

// merge puts names and secrets in one order, without overlaps. A secret that lies
// within a name is that name. Otherwise a secret takes along every name that it
// touches, so that no piece of either is left.
func merge(names, secrets []span) []span {
	var all []span
	for _, secret := range secrets {
		if !slices.ContainsFunc(names, func(name span) bool { return name.start <= secret.start && secret.end <= name.end }) {
			all = append(all, secret)
		}
	}
	marked := len(all)
	all = append(all, names...)
	secret := make(map[span]bool, marked)
	for _, s := range all[:marked] {
		secret[s] = true
	}
	slices.SortStableFunc(all, func(a, b span) int { return a.start - b.start })
	var merged []span
	for _, next := range all {
		if len(merged) == 0 || merged[len(merged)-1].end <= next.start {
			merged = append(merged, next)
			continue
		}
		last := &merged[len(merged)-1]
		joined := span{start: last.start, end: max(last.end, next.end), with: last.with}
		if secret[next] && !secret[*last] {
			joined.with = next.with
		}
		secret[joined] = secret[next] || secret[*last]
		*last = joined
	}
	return merged
}
