// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package redactiontest draws what must not leave a cluster, and the texts that it
// stands in, for property tests.
package redactiontest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"pgregory.net/rapid"
)

// Secret draws something of which no piece may leave.
func Secret(t *rapid.T) string {
	// What rapid draws itself is mostly small and repeats, and so is no secret.
	seed := rapid.Uint64().Draw(t, "seed")
	source := rand.New(rand.NewPCG(seed, seed))
	random := func(from, to int) []byte {
		bytes := make([]byte, from+source.IntN(to-from+1))
		for i := range bytes {
			bytes[i] = byte(source.Uint32())
		}
		return bytes
	}
	noise := func(alphabet string, from, to int) string {
		text := random(from, to)
		for i := range text {
			text[i] = alphabet[source.IntN(len(alphabet))]
		}
		return string(text)
	}
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch rapid.SampledFrom([]string{"base64", "base64url", "hex", "jwt", "pem", "cut pem", "aws", "github", "url", "dsn", "assignment", "json", "flag", "header", "uuid", "noise"}).Draw(t, "sort") {
	case "base64":
		return base64.StdEncoding.EncodeToString(random(18, 80))
	case "base64url":
		return base64.RawURLEncoding.EncodeToString(random(18, 80))
	case "hex":
		return hex.EncodeToString(random(8, 64))
	case "jwt":
		part := func() string { return base64.RawURLEncoding.EncodeToString(random(12, 60)) }
		return "eyJhbGciOiJFZERTQSJ9." + part() + "." + part()
	case "pem":
		return "-----BEGIN PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString(random(48, 90)) + "\n-----END PRIVATE KEY-----"
	case "cut pem":
		return base64.StdEncoding.EncodeToString(random(12, 48)) + "\n-----END EC PRIVATE KEY-----"
	case "aws":
		return "AKIA" + noise("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16, 16)
	case "github":
		return "ghp_" + noise(alphanumeric, 36, 36)
	case "url":
		return "amqps://" + noise(alphanumeric, 8, 12) + ":" + noise(alphanumeric+"!$&*/:@", 8, 20) + "@"
	case "dsn":
		return noise(alphanumeric, 8, 12) + ":" + noise(alphanumeric+"!$&*", 8, 20) + "@tcp"
	case "assignment":
		return rapid.SampledFrom([]string{"PASSWORD=", "db_password: ", "apiKey := ", "client-secret=", "myToken => "}).Draw(t, "to") + noise(alphanumeric+"!$%*.-_", 8, 11)
	case "json":
		value, err := json.Marshal(noise(alphanumeric+"!$%*. -_", 8, 30))
		if err != nil {
			t.Fatal(err)
		}
		return `"password": ` + string(value)
	case "flag":
		return "--db-password " + noise(alphanumeric, 8, 11)
	case "header":
		return "authorization: Basic " + noise(alphanumeric, 8, 20)
	case "uuid":
		id := hex.EncodeToString(random(16, 16))
		return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	}
	// Less than 16 letters are only known for a secret with a digit among them.
	for {
		if text := noise(alphanumeric, 12, 40); len(text) >= 16 || mixed(text) {
			return text
		}
	}
}

// mixed tells whether a text has upper case, lower case and digits.
func mixed(text string) bool {
	return strings.ContainsFunc(text, unicode.IsUpper) && strings.ContainsFunc(text, unicode.IsLower) && strings.ContainsFunc(text, unicode.IsDigit)
}

// Address draws an address of IPv4 or IPv6 in one of its spellings.
func Address(t *rapid.T) string {
	if rapid.Bool().Draw(t, "four") {
		four := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")
		address := netip.AddrFrom4([4]byte(four)).String()
		return rapid.SampledFrom([]string{address, strings.ReplaceAll(address, ".", "-"), strings.ReplaceAll(address, ".", "[.]"), strings.ReplaceAll(address, ".", `\.`)}).Draw(t, "spelling")
	}
	six := rapid.SliceOfN(rapid.ByteRange(1, 255), 16, 16).Draw(t, "address")
	for i := range rapid.IntRange(0, 12).Draw(t, "zeros") {
		six[i+2] = 0
	}
	address := netip.AddrFrom16([16]byte(six))
	return rapid.SampledFrom([]string{address.String(), strings.ToUpper(address.String()), address.StringExpanded(), address.WithZone("eth0").String()}).Draw(t, "spelling")
}

// Name draws a name as Kubernetes has it.
func Name(t *rapid.T) (kind, text string) {
	return rapid.SampledFrom([]string{"Pod", "Namespace", "Deployment", "Host", "User", "Node"}).Draw(t, "kind"),
		rapid.StringMatching(`[b-z][a-z0-9]{2,8}(-[a-z0-9]{2,8}){0,3}(\.[a-z][a-z0-9]{2,8}){0,2}`).Draw(t, "name")
}

// Around draws a place for a text: alone, in a longer word, a log, an URL, and JSON
// within JSON. What needs a border, such as a short name, is not put in a longer word.
func Around(t *rapid.T, text string, word bool) string {
	quoted := func(text string) string {
		line, err := json.Marshal(map[string]string{"msg": text})
		if err != nil {
			t.Fatal(err)
		}
		return string(line)
	}
	escaped := func(text string) string {
		var out strings.Builder
		for _, r := range text {
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		return out.String()
	}
	places := map[string]func(string) string{
		"alone":        func(s string) string { return s },
		"log":          func(s string) string { return "E1130 06:21:07 server.go:12] failed: " + s + ": not found" },
		"lines":        func(s string) string { return "one\n" + s + "\ntwo" },
		"brackets":     func(s string) string { return "dial tcp [" + s + "]:8443: i/o timeout" },
		"json":         quoted,
		"json in json": func(s string) string { return quoted(quoted("a " + s + " b")) },
		"after escape": func(s string) string { return quoted("a\n" + s + "\tb") },
		"escaped":      escaped,
		"percent":      func(s string) string { return "GET /x?q=" + url.QueryEscape(s) + "&y=1" },
		"terminal":     func(s string) string { return "\x1b[31m" + s + "\x1b[0m" },
		"zero width":   func(s string) string { return s[:1] + "\u200b" + s[1:] },
		"dotted":       func(s string) string { return s + ".svc.cluster.local" },
		"word":         func(s string) string { return "zz" + s + "zz" },
	}
	var possible []string
	for _, place := range []string{"alone", "log", "lines", "brackets", "json", "json in json", "after escape", "escaped", "percent", "terminal", "zero width", "dotted", "word"} {
		if word || place != "word" {
			possible = append(possible, place)
		}
	}
	return places[rapid.SampledFrom(possible).Draw(t, "place")](text)
}

// Pieces are parts of a text of a length.
func Pieces(text string, length int) []string {
	var all []string
	for i := 0; i+length <= len(text); i++ {
		all = append(all, text[i:i+length])
	}
	return all
}

// Harmless tells whether a piece is of what stands around secrets and may be left.
func Harmless(piece string) bool { return strings.Contains(aroundSecrets, piece) }

const aroundSecrets = `PASSWORD= db_password: apiKey := client-secret= myToken => "password":  --db-password authorization: Basic amqps:// @tcp -----BEGIN PRIVATE KEY----- -----END EC PRIVATE KEY----- -----END PRIVATE KEY-----`
