// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestActionThatIsNotKnownIsShownAsSuch(t *testing.T) {
	p := &page{}
	change(p, &v1alpha1.ProposalSpec{
		ActionKind: "DeleteNode", Target: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "n1"},
		Patch: &v1alpha1.Patch{JSONPatch: []v1alpha1.JSONPatchOperation{{Op: "remove", Path: "/spec"}}},
	})
	want := "  this plugin does not know what DeleteNode does to node/n1\n  @@ /spec @@\n  ?remove \"\"\n"
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}
