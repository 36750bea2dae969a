// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestRestart(t *testing.T) {
	w := Workload{
		Reference: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: "shop", Name: "db"},
		Meta:      &metav1.ObjectMeta{},
	}
	if have, want := w.Restart(), "kubectl rollout restart statefulset/db -n shop"; have != want {
		t.Errorf("have %q, want %q", have, want)
	}
	w.Meta.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}
	if have, want := w.Restart(), "kubectl rollout restart statefulset/db -n shop --field-manager=flux-client-side-apply"; have != want {
		t.Errorf("of what Flux applies: have %q, want %q", have, want)
	}
}
