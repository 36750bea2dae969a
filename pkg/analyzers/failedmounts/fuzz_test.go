// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedmounts

import (
	"slices"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

func FuzzCause(f *testing.F) {
	for _, message := range []string{
		"", `MountVolume.SetUp failed for volume "tls" : secret "web-tls" not found`, `for volume ""`, `for volume "größe" : 节点`,
		"unmounted volumes=[]", "unmounted volumes=[b a], unattached volumes=[]", "unmounted volumes=[ ",
	} {
		f.Add("FailedMount", message)
		f.Add("FailedAttachVolume", message)
		f.Add(noSandbox, message)
	}
	f.Fuzz(func(t *testing.T, reason, message string) {
		is := causeOf(&corev1.Event{Reason: reason, Message: message})
		if is.reason != "" && !slices.Contains(reasons, is.reason) {
			t.Errorf("reason %q", is.reason)
		}
		if runes := len([]rune(is.text)); runes > 210 || utf8.ValidString(message) && !utf8.ValidString(is.text+is.volume) {
			t.Errorf("%q from %q", is.text, message)
		}
	})
}
