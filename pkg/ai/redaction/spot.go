// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

var (
	// dotted are words with dots, as the names of hosts.
	dotted = regexp.MustCompile(`(?i)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)+`)
	// users are what programs and API servers call them: in assignments, in quotes, and
	// after a word that says whose a thing is.
	users = regexp.MustCompile(`(?i)\buser(?:name)?(?:["']?\s*[:=]\s*["']?|\s+["'])([a-z0-9_][a-z0-9_.:@-]*[a-z0-9_])|\b(?:for|as|of|by)\s+(?:user|role)\s+([a-z0-9_][a-z0-9_.:@-]*[a-z0-9_])`)
	// serviceAccount is the user name of one (pkg/serviceaccount of k8s.io/apiserver).
	serviceAccount = regexp.MustCompile(`system:serviceaccount:([a-z0-9.-]+):([a-z0-9.-]+)`)
	// private are top-level domains of networks that are nobody else's (RFC 6762,
	// appendix G, and RFC 8375), and the one of clusters.
	private = []string{"arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "private", "svc", "test", "example", "invalid"}
	// published are domains that name kinds and labels of Kubernetes, and no host of anybody.
	published = []string{"k8s.io", "kubernetes.io"}
)

// Spot finds names by their form: hosts, users and service accounts. It finds no more
// than that, and takes some words for hosts that are none, such as main.py.
func Spot(text string) []Name {
	text = normalize(text)
	var names []Name
	for _, host := range dotted.FindAllString(text, -1) {
		if isHost(lower(host)) {
			names = append(names, Name{Kind: "Host", Text: host})
		}
	}
	for _, match := range users.FindAllStringSubmatch(text, -1) {
		names = append(names, Name{Kind: "User", Text: match[1] + match[2]})
	}
	for _, match := range serviceAccount.FindAllStringSubmatch(text, -1) {
		names = append(names, Name{Kind: "Namespace", Text: match[1]}, Name{Kind: "ServiceAccount", Text: match[2]})
	}
	return names
}

// isHost tells whether a word with dots ends as names of hosts do.
func isHost(word string) bool {
	top := word[strings.LastIndexByte(word, '.')+1:]
	if slices.ContainsFunc(published, func(domain string) bool { return word == domain || strings.HasSuffix(word, "."+domain) }) {
		return false
	}
	_, registered := publicsuffix.PublicSuffix(word)
	return registered || slices.Contains(private, top)
}
