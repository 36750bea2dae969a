// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

// Try reads what a rule can do without: where something is unknown that read
// reads, the evaluation goes on, and Try tells so. What was read is then to be left
// out of account. The rule is reported as degraded all the same, and the subject is
// evaluated again once it is known. It is for what enriches an answer, never for
// what decides it: nothing may disappear because something cannot be read.
func (v *View) Try(read func()) (known bool) {
	before := v.unknown
	v.unknown = nil
	read()
	known = v.unknown == nil
	v.unknown = before
	return known
}
