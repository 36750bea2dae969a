// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// FuzzPatch gives every kind of action any patch, signed and approved as it is:
// only the one that the grammar knows may pass.
func FuzzPatch(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", `{"setAnnotation":{"name":"kubectl.kubernetes.io/restartedAt"}}`, `{"setAnnotation":{"name":"a/b"}}`, `{"setAnnotation":null,"jsonPatch":[]}`,
		`{"jsonPatch":[{"op":"test","path":"/spec/tls/1/secretName","value":"old-tls"},{"op":"replace","path":"/spec/tls/1/secretName","value":"new-tls"}]}`,
		`{"jsonPatch":[{"op":"replace","path":"/spec/tls/01/secretName","value":"new-tls"},{"op":"test","path":"/spec/tls/-/secretName","value":"old-tls"}]}`,
		`{"jsonPatch":[{"op":"test","path":"/spec/tls/1~1secretName","value":"old-tls"},{"op":"remove","path":"","value":""},{"op":"move","path":"/spec"}]}`,
		`{"setAnnotation":{"name":"kubectl.kubernetes.io/restartedAt"},"jsonPatch":[{"op":"replace","path":"/spec/replicas","value":"0"}]}`,
	} {
		for kind := range uint8(6) {
			f.Add(kind, []byte(seed))
		}
	}
	kinds := []v1alpha1.ActionKind{
		v1alpha1.ActionDeletePod, v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionDeleteJob,
		v1alpha1.ActionDeleteCertificateRequest, v1alpha1.ActionPatchIngressTLS, v1alpha1.ActionRunbook,
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		kind := kinds[int(which)%len(kinds)]
		var patch *v1alpha1.Patch
		if json.Unmarshal(data, &patch) != nil {
			return
		}
		in := good(t, StageApproval, kind)
		if kind == v1alpha1.ActionRunbook {
			in = good(t, StageStanding, kind)
		}
		want := in.Proposal.Spec.Patch
		in.Proposal.Spec.Patch = patch
		seal(t, &in.Proposal)
		in.CurrentDigest = in.Proposal.Spec.Digest
		if in.Stage != StageStanding {
			newCredentials(t).approve(t, &in, "alice", bind(&in.Proposal))
		}
		decision := Evaluate(in)
		if passes := verdictOf(t, decision, TargetScope).Result == v1alpha1.VerdictAllowed; passes != cmp.Equal(want, patch) {
			t.Errorf("%s with the patch %s: TargetScope allows it: %t", kind, data, passes)
		}
		if !cmp.Equal(want, patch) && decision.Allowed {
			t.Errorf("%s with the patch %s is allowed", kind, data)
		}
	})
}
