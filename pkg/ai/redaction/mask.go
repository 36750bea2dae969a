// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import "slices"

// secretRules are those for what is secret to the people of the cluster too.
var secretRules = slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.identifying })

var onlyMasks = func() *trie {
	atoms := &trie{}
	addMasks(atoms)
	return atoms
}()

// Mask makes of a text what may be stored in the cluster and shown to its people. It
// masks what Redact masks but for addresses, UUIDs and digests, and leaves names as
// they are. It brings the text into the same spelling. What is to leave the cluster
// goes through a Redactor after that.
func Mask(text string) string {
	return settled(text, onlyMasks, func(text string) string {
		text = normalize(text)
		return replace(text, merge(nil, withoutDigests(text, findSecrets(text, secretRules))))
	})
}
