// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

const (
	// loopBytes and loopTimes are how long a repetition is at least, and how often it
	// says the same, to be a loop and no table or list.
	loopBytes = 160
	loopTimes = 5
)

// looping tells whether a text ends in a repetition. It goes through the text backwards
// with the prefix function of Knuth, Morris and Pratt: what is left of a prefix without
// its longest border is its period.
func looping(text string) bool {
	at := func(i int) byte { return text[len(text)-1-i] }
	border := make([]int, len(text))
	for i := 1; i < len(text); i++ {
		k := border[i-1]
		for k > 0 && at(i) != at(k) {
			k = border[k-1]
		}
		if at(i) == at(k) {
			k++
		}
		border[i] = k
		if length := i + 1; length >= loopBytes && length >= loopTimes*(length-k) {
			return true
		}
	}
	return false
}
