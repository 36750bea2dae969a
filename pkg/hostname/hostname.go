// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostname compares the DNS names of certificates with hosts.
package hostname

import (
	"slices"
	"strings"
)

// Covers tells whether one of the DNS names of a certificate is the host, or a
// wildcard for its first label (RFC 6125, section 6.4.3).
func Covers(names []string, host string) bool {
	host = strings.ToLower(host)
	_, parent, _ := strings.Cut(host, ".")
	return slices.ContainsFunc(names, func(name string) bool {
		name = strings.ToLower(name)
		return name == host || (parent != "" && name == "*."+parent)
	})
}

// CoversAll tells whether every host is covered.
func CoversAll(names, hosts []string) bool {
	return !slices.ContainsFunc(hosts, func(host string) bool { return !Covers(names, host) })
}
