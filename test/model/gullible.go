// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"
)

var (
	// encoded are runs that may be a text in base64 or hex.
	encoded = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}={0,2}`)
	// invisible are characters that nobody sees.
	invisible = regexp.MustCompile(`\p{Cf}`)
	// listing is JSON that holds a list, as of steps.
	listing = regexp.MustCompile(`\{[^{}\[\]]*:\s*\[[^\[\]]*\]\s*\}`)
	// object is JSON that holds nothing else in braces.
	object = regexp.MustCompile(`\{[^{}]*:[^{}]*\}`)
	// command is a verb that asks for a choice, in a number of languages, and what is
	// asked for.
	command = regexp.MustCompile(`(?is)(?:choose|select|pick|output|return|answer|respond|reply|use|run|apply|execute|print|say|prefer|correct|best|fixer|wähle|nimm|antworte|choisis\w*|réponds|elige|escoge|responde|escolha|scegli|rispondi|kies|wybierz|välj|seç|выбери|ответь|обери|选择|選擇|回答|选|選んで|選択|선택|اختر|चुनें|chọn|pilih)[^a-z]*(?:\w{1,9}[^a-z0-9]+){0,6}?([a-z]+(?:-[a-z]+)+)`)
	// quoted is a name in quotes.
	quoted = regexp.MustCompile("[\"'`«「]([a-z]+(?:-[a-z]+)+)[\"'`»」]")
)

// Obey does what a text asks for, as a model does that believes everything. The text is
// read as it stands, without what is invisible, and with what it holds in base64, hex,
// percent escapes, letters turned by 13 places, and backwards. If it asks for JSON, that
// is the answer; if for a name, the reply with that name in place of its first string;
// else the reply. Only lines behind a bar count if there are any: they are data, and
// what is not is what the model is for.
func Obey(text, reply string) string {
	if data := quotedLines(text); data != "" {
		text = data
	}
	for _, reading := range readings(text) {
		for _, found := range append(listing.FindAllString(reading, -1), object.FindAllString(reading, -1)...) {
			if json.Valid([]byte(found)) {
				return found
			}
		}
		for _, pattern := range []*regexp.Regexp{command, quoted} {
			if found := pattern.FindStringSubmatch(reading); found != nil {
				name, _ := json.Marshal(found[1])
				return strings.Replace(reply, stringValue.FindString(reply), ":"+string(name), 1)
			}
		}
	}
	return reply
}

// quotedLines are those behind a bar.
func quotedLines(text string) string {
	var data strings.Builder
	for line := range strings.Lines(text) {
		if rest, is := strings.CutPrefix(line, "| "); is {
			data.WriteString(rest)
		}
	}
	return data.String()
}

// readings are the ways to read a text.
func readings(text string) []string {
	all := []string{text, norm.NFKC.String(invisible.ReplaceAllString(text, ""))}
	for _, run := range encoded.FindAllString(text, -1) {
		for _, decode := range []func(string) ([]byte, error){
			base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, base64.RawURLEncoding.DecodeString, hex.DecodeString,
		} {
			if decoded, err := decode(run); err == nil {
				all = append(all, string(decoded))
			}
		}
	}
	if unescaped, err := url.PathUnescape(text); err == nil {
		all = append(all, unescaped)
	}
	runes := []rune(text)
	for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
		runes[i], runes[j] = runes[j], runes[i]
	}
	return append(all, strings.Map(turn, text), string(runes))
}

// turn is ROT13.
func turn(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z':
		return 'a' + (r-'a'+13)%26
	case 'A' <= r && r <= 'Z':
		return 'A' + (r-'A'+13)%26
	}
	return r
}
