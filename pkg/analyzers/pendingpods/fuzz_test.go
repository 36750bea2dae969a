// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package pendingpods

import (
	"slices"
	"testing"
	"unicode/utf8"
)

func FuzzObstacle(f *testing.F) {
	for _, message := range []string{
		"", "0/3 nodes are available: 3 Insufficient cpu. preemption: none", "Insufficient ", "taint {", "taint {}", "taint {größe: 节点}",
		"0/1 nodes are available: 1 node(s) had untolerated taint {a: b}, 1 Insufficient example.com/größe.",
	} {
		f.Add(message)
	}
	all := []string{InsufficientResources, UntoleratedTaints, AffinityUnsatisfied, VolumeUnavailable, PortsTaken, Unschedulable}
	f.Fuzz(func(t *testing.T, message string) {
		obstacles := obstaclesOf(message)
		for _, is := range obstacles {
			if !slices.Contains(all, is.reason) {
				t.Errorf("reason %q", is.reason)
			}
		}
		if text := told(obstacles); text == "" || utf8.ValidString(message) && !utf8.ValidString(text) {
			t.Errorf("%q from %q", text, message)
		}
	})
}
