// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package observations

import "time"

var started = time.Now()

// SinceBoot is Go's monotonic clock since the program started, which may stand still
// while the machine sleeps.
func SinceBoot() time.Duration { return time.Since(started) }
