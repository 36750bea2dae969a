// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"time"

	"github.com/srenix/srenix/pkg/live"
)

// LookedAt is how long a controller may take for its first look at an object. Those
// that run take seconds, and after an installation or an outage minutes.
const LookedAt = time.Hour

// Neglected tells, of an object on which its controller has written nothing yet, since
// when that was seen, and whether nobody has looked at it for so long that the
// controller does not run, or not for this object. It is no business of the object's age:
// one that was restored has the status of none.
func Neglected(view *live.View, patience time.Duration) (since time.Time, is bool) {
	since = view.FirstObserved("neglected")
	return since, Past(view, since.Add(max(LookedAt, patience)))
}
