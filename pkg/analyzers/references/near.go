// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package references

import "strings"

// furthest is how many letters a key may differ by to be taken for another.
const furthest = 2

// NearMiss returns the key that was probably meant: one that differs in case or
// separators only, else the one that is fewest letters away, up to two and less than
// a third of the key. Of several as near, the first. It is empty if none is near.
func NearMiss(keys []string, want string) string {
	nearest, least := "", furthest+1
	for _, key := range keys {
		if key == want {
			continue
		}
		distance := 0
		if plain(key) != plain(want) {
			distance = edits([]rune(plain(key)), []rune(plain(want)))
			if 3*distance >= len([]rune(want)) {
				continue
			}
		}
		if distance < least {
			nearest, least = key, distance
		}
	}
	return nearest
}

// plain is a key without case and separators.
func plain(key string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(key))
}

// edits is how many letters have to be put in, left out, replaced or swapped with
// the next to make one text of the other: the optimal string alignment distance. It
// need not be right beyond furthest.
func edits(a, b []rune) int {
	if diff := len(a) - len(b); diff > furthest || -diff > furthest {
		return furthest + 1
	}
	var before, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
