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
	// cutAfter is how many bytes of a name identify it where the rest was cut off.
	// Kubernetes cuts what it derives names from to make room for a suffix
	// (apiserver/pkg/storage/names, maxGeneratedNameLength).
	cutAfter = 40
)

// trie finds names, whatever their case.
type trie struct {
	next map[byte]*trie
	// pseudonym of the name that ends here.
	pseudonym string
	// cut is that of the first name which goes on from here, if this is far enough.
	cut string
}

func (t *trie) add(name, pseudonym string) {
	for i, c := range []byte(lower(name)) {
		if t.next == nil {
			t.next = map[byte]*trie{}
		}
		if t.next[c] == nil {
			t.next[c] = &trie{}
		}
		t = t.next[c]
		if i+1 >= cutAfter && t.cut == "" {
			t.cut = pseudonym
		}
	}
	t.pseudonym = pseudonym
}

func (t *trie) has(name string) bool {
	for _, c := range []byte(lower(name)) {
		if t = t.next[c]; t == nil {
			return false
		}
	}
	return t.pseudonym != ""
}

// find returns where names are, the longest first at each place, without overlaps.
func (t *trie) find(text string) []span {
	var spans []span
	folded := lower(text)
	for i := 0; i < len(text); {
		length, pseudonym := t.longest(text, folded, i)
		if length == 0 {
			i++
			continue
		}
		spans = append(spans, span{start: i, end: i + length, with: pseudonym})
		i += length
	}
	return spans
}

func (t *trie) longest(text, folded string, start int) (length int, pseudonym string) {
	for i := start; i < len(folded); i++ {
		if t = t.next[folded[i]]; t == nil {
			break
		}
		here := t.pseudonym
		if here == "" {
			here = t.cut
		}
		if here != "" && (i+1-start >= inWords || alone(text, start, i+1)) {
			length, pseudonym = i+1-start, here
		}
	}
	return length, pseudonym
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
