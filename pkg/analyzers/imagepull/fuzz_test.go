// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package imagepull

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func FuzzCause(f *testing.F) {
	for _, text := range []string{"", "401 Unauthorized", "not found", "größe 节点", `Failed to pull image "a/b:1": manifest unknown`, "x509:"} {
		f.Add("ErrImagePull", text, "a/b:1")
		f.Add("InvalidImageName", text, "")
		f.Add("größe", text, ":")
	}
	f.Fuzz(func(t *testing.T, wait, text, image string) {
		events := []*corev1.Event{{Reason: "Failed", Message: text}}
		for _, message := range []string{text, ""} {
			is := causeOf(&corev1.ContainerStateWaiting{Reason: wait, Message: message}, image, events)
			if !slices.Contains(order, is.reason) || is.String() == "" {
				t.Errorf("%+v from %q of %q", is, text, image)
			}
		}
	})
}
