// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"time"

	"github.com/srenix/srenix/pkg/live"
)

// Past tells whether a time has come, as the end of a grace. If it has not, the subject
// is looked at again when it does.
func Past(view *live.View, end time.Time) bool {
	view.RecheckAt(end)
	return !view.Now().Before(end)
}
