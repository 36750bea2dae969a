// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is how long the machine has been up, sleep included: CLOCK_BOOTTIME, where
// Go's own monotonic clock stands still while the machine sleeps.
func SinceBoot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("reading CLOCK_BOOTTIME, which every Linux since 2.6.39 has: " + err.Error())
	}
	return time.Duration(now.Nano())
}
