// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/srenix/srenix/pkg/live"
)

// entry is a condition as it is stored.
type entry struct {
	since time.Time
	// rule is the mark of the rule that observes it; empty as it was stored before entries
	// had one.
	rule string
}

// Lengths are in hexadecimal digits. A key has 80 bits, so that two conditions never
// share one. Rules that share a mark of 24 bits would only be doubted together.
const (
	keyLength  = 20
	markLength = 6
)

// keyOf identifies a condition.
func keyOf(o live.Observation) string {
	return hash(strings.Join([]string{o.Rule, o.Subject.Namespace, o.Subject.Name, string(o.UID), o.ID}, "\x00"))[:keyLength]
}

// ruleMark identifies a rule.
func ruleMark(name string) string { return hash(name)[:markLength] }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// parse reads the data of the ConfigMap: a time by the mark of a rule, a dot and a key, or
// by the key alone. It leaves out what is no time: nobody but srenix writes here, and what
// somebody else wrote is replaced.
func parse(data map[string]string) map[string]entry {
	stored := make(map[string]entry, len(data))
	for name, text := range data {
		rule, key, marked := strings.Cut(name, ".")
		if !marked {
			rule, key = "", name
		}
		since, err := time.Parse(time.RFC3339, text)
		if err != nil || len(key) != keyLength || marked && len(rule) != markLength {
			continue
		}
		also := stored[key] // of a replica that wrote it in the other way
		stored[key] = entry{since: earliest(since.UTC(), also.since), rule: max(rule, also.rule)}
	}
	return stored
}

// format writes what parse reads.
func format(stored map[string]entry) map[string]string {
	data := make(map[string]string, len(stored))
	for key, entry := range stored {
		name := key
		if entry.rule != "" {
			name = entry.rule + "." + key
		}
		data[name] = entry.since.Format(time.RFC3339)
	}
	return data
}

// doubt holds the marks of the rules of which it is not known what they would observe.
type doubt map[string]struct{}

// doubt is asked for before the lock is held: the engine waits for the store at times.
func (s *Store) doubt() doubt {
	d := doubt{}
	for _, rule := range s.unreliable() {
		d[ruleMark(rule)] = struct{}{}
	}
	return d
}

// covers tells whether a condition may hold that nobody observes. One without a mark may
// be any rule's.
func (d doubt) covers(e entry) bool {
	if e.rule == "" {
		return len(d) > 0
	}
	_, covered := d[e.rule]
	return covered
}
