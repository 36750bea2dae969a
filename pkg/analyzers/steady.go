// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"time"

	"github.com/srenix/srenix/pkg/live"
)

// turned is how long another reason must be told, without a break, before a trouble
// goes by it.
const turned = 10 * time.Minute

// Steady returns the reason by which a trouble goes, so that its finding stays the
// same one while what is said of it comes and goes: the reason that was told first,
// until another is told for ten minutes without a break. told is what is said now; it
// is empty if nothing is, which changes nothing, and the result is empty if nothing was
// said before either. reasons are all that may be told, and trouble tells the troubles
// of one subject apart. What was told is forgotten once an evaluation does not ask.
func Steady(view *live.View, trouble, told string, reasons []string) string {
	is := func(reason string) string { return trouble + " is " + reason }
	kept := told
	if _, holds := view.Observed(is(told)); !holds {
		for _, reason := range reasons {
			if _, holds := view.Observed(is(reason)); holds {
				kept = reason
				break
			}
		}
	}
	if kept == "" {
		return ""
	}
	if told != "" && told != kept {
		if Past(view, view.FirstObserved(trouble+" turns "+told).Add(turned)) {
			kept = told
		}
	}
	view.FirstObserved(is(kept))
	return kept
}
