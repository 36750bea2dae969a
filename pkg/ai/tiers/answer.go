// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"encoding/json"
	"strings"

	kjson "sigs.k8s.io/json"
)

// mostObjects is at how many braces an answer is looked into.
const mostObjects = 64

// objectsIn returns the outermost objects of JSON in an answer, wherever they stand.
// One that gives the same field twice is none.
func objectsIn(answer string) []map[string]any {
	var objects []map[string]any
	for range mostObjects {
		start := strings.IndexByte(answer, '{')
		if start < 0 {
			break
		}
		answer = answer[start:]
		var raw json.RawMessage
		decoder := json.NewDecoder(strings.NewReader(answer))
		if decoder.Decode(&raw) != nil {
			answer = answer[1:]
			continue
		}
		answer = answer[decoder.InputOffset():]
		var object map[string]any
		if twice, err := kjson.UnmarshalStrict(raw, &object); err == nil && len(twice) == 0 {
			objects = append(objects, object)
		}
	}
	return objects
}
