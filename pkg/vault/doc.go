// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vault tells the live view which paths and keys a Vault has. It asks for
// names only: keys by the subkeys of KV version 2, else what a folder lists. No value
// of a secret reaches this process. It knows nothing of why a path is of interest.
package vault

import (
	"regexp"
	"slices"
	"strings"
)

// Path is where a secret is in a Vault.
type Path struct {
	// Namespace is that of Vault Enterprise, empty for the root.
	Namespace string
	// Mount is where a KV engine is mounted, without slashes at its ends.
	Mount string
	// Path of the secret below the mount, as people write it: without data/.
	Path string
}

// String is how a sentence names it.
func (p Path) String() string {
	text := p.Mount + "/" + p.Path
	if p.Namespace != "" {
		text = p.Namespace + "/" + text
	}
	return text
}

// plain is what parts of paths are made of that need no quoting anywhere.
var plain = regexp.MustCompile(`^[-._a-zA-Z0-9@+=:]+$`)

// Plain tells whether a path can be asked for as it is written. Others are not looked
// at: whoever writes an ExternalSecret must not lead this process to other places
// than that one, as with dots, or into a shell.
func (p Path) Plain() bool {
	parts := slices.Concat(strings.Split(p.Mount, "/"), strings.Split(p.Path, "/"))
	if p.Namespace != "" {
		parts = append(parts, strings.Split(p.Namespace, "/")...)
	}
	return !slices.ContainsFunc(parts, func(part string) bool {
		return part == "." || part == ".." || strings.HasPrefix(part, "-") || !plain.MatchString(part)
	})
}

// State is what is known of a path.
type State string

// What a path can be.
const (
	// Exists means that there is a secret.
	Exists State = "Exists"
	// Missing means that there has never been one, or nothing is left of it.
	Missing State = "Missing"
	// Deleted means that the newest version of a secret is deleted or destroyed.
	Deleted State = "Deleted"
	// Hidden means that Vault does not say.
	Hidden State = "Hidden"
	// failing means that Vault fails when it is asked for just this path. A Poller
	// makes of it what it knew before.
	failing State = "Failing"
)

// Seen is what Vault says of a path.
type Seen struct {
	State State
	// Keys are those of a secret that exists, nested as they are, with nil in place of
	// each value; nil if they are not known.
	Keys map[string]any
	// Stale tells that this was so when Vault answered last, and that it fails at the
	// path since.
	Stale bool
}
