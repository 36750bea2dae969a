// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// content identifies what a store has, whatever the versions: the exclusive or of the
// hashes of all objects. Replicas that have the same objects have the same content.
type content [16]byte

// with is the content with one object more, or without one that is there.
func (c content) with(object content) content {
	for i := range c {
		c[i] ^= object[i]
	}
	return c
}

// contentOf hashes an object that has no version yet.
func contentOf(key string, object runtime.Object) (hash content, err error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return hash, fmt.Errorf("reading the metadata of %q: %w", key, err)
	}
	accessor.SetResourceVersion("")
	text, err := json.Marshal(object)
	if err != nil {
		return hash, fmt.Errorf("hashing %q: %w", key, err)
	}
	sum := sha256.Sum256(append([]byte(key+"\x00"), text...))
	return content(sum[:len(hash)]), nil
}

// remembered is of how many versions the content is kept, 64 KiB in all.
const remembered = 4096

// contents are those of a store at its last versions, which are consecutive.
type contents struct {
	latest uint64 // version
	last   [remembered]content
	count  uint64
}

// add notes the content at the next version, or at the first.
func (c *contents) add(version uint64, now content) {
	c.latest = version
	c.last[version%remembered] = now
	c.count = min(c.count+1, remembered)
}

// at is the content at a version, if that is known.
func (c *contents) at(version uint64) (content, bool) {
	if version > c.latest || c.latest-version >= c.count {
		return content{}, false
	}
	return c.last[version%remembered], true
}

// find is the last version at which the content was so.
func (c *contents) find(wanted content) (version uint64, found bool) {
	for back := range c.count {
		if version := c.latest - back; c.last[version%remembered] == wanted {
			return version, true
		}
	}
	return 0, false
}
