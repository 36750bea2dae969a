// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// inWords is how many bytes a name has at least to be looked for within longer
	// words too. Shorter ones would tear ordinary words apart.
	inWords = 5
	// cutAfter is how many bytes of a name give it away where the rest was cut off, and
	// longestCut how many such a rest follows at most: names of pods are labels of DNS.
	cutAfter   = 40
	longestCut = 63
)

// trie finds words, whatever their case.
type trie struct {
	next map[byte]*trie
	// with is what stands in place of the word that ends here; empty if none does.
	with string
}

func (t *trie) add(word, with string) {
	for _, c := range []byte(lower(word)) {
		if t.next == nil {
			t.next = map[byte]*trie{}
		}
		if t.next[c] == nil {
			t.next[c] = &trie{}
		}
		t = t.next[c]
	}
	t.with = with
}

func (t *trie) has(word string) bool {
	for _, c := range []byte(lower(word)) {
		if t = t.next[c]; t == nil {
			return false
		}
	}
	return t.with != ""
}

// find returns where words are, the longest first at each place, without overlaps.
func (t *trie) find(text string) []span {
	var spans []span
	folded := lower(text)
	for i := 0; i < len(text); {
		length, with := t.longest(text, folded, i)
		if length == 0 {
			i++
			continue
		}
		spans = append(spans, span{start: i, end: i + length, with: with})
		i += length
	}
	return spans
}

func (t *trie) longest(text, folded string, start int) (length int, with string) {
	for i := start; i < len(folded); i++ {
		if t = t.next[folded[i]]; t == nil {
			break
		}
		if t.with != "" && (i+1-start >= inWords || alone(text, start, i+1)) {
			length, with = i+1-start, t.with
		}
	}
	return length, with
}

// alone tells whether no letter or digit is next to a part of a text. The letter of an
// escape such as \n is none.
func alone(text string, start, end int) bool {
	before, size := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[end:])
	word := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	escape := strings.ContainsRune("nrtbfv0", before) && strings.HasSuffix(text[:start-size], `\`)
	return (start == 0 || escape || !word(before)) && (end == len(text) || !word(after))
}

// lower folds the case of ASCII letters and keeps every byte at its place.
func lower(text string) string {
	folded := []byte(text)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}
