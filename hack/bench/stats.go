// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"time"
)

// percentile returns the nearest-rank percentile of samples, which are not empty.
func percentile(samples []time.Duration, percent float64) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func median(samples []time.Duration) time.Duration { return percentile(samples, 50) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mebibytes(n int64) float64 { return float64(n) / mebibyte }

// medianOf returns the median of numbers that are not empty.
func medianOf(numbers []int64) int64 {
	sorted := slices.Sorted(slices.Values(numbers))
	return sorted[(len(sorted)-1)/2]
}
