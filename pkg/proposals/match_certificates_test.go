// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"testing"
	"time"
)

func TestTheNextTryPausesLonger(t *testing.T) {
	for attempts, want := range map[int64]time.Duration{
		-1: time.Hour, 0: time.Hour, 1: time.Hour, 2: 2 * time.Hour, 3: 4 * time.Hour, 6: 32 * time.Hour, 7: 32 * time.Hour, 1 << 62: 32 * time.Hour,
	} {
		if have := pause(attempts); have != want {
			t.Errorf("after %d attempts: %s, want %s", attempts, have, want)
		}
	}
}
