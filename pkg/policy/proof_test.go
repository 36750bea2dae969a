// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// What has no proof is refused by layer 5 too, whatever else is known.
func TestATokenProvesExactlyWhatItsOwnerDecided(t *testing.T) {
	for name, test := range map[string]struct {
		change func(in *Input)
		is     error // nil where only the words tell
		words  string
	}{
		"as it was decided":      {func(*Input) {}, nil, ""},
		"at its very end":        {func(in *Input) { in.Now = start.Add(15*time.Minute + token.Skew - 1) }, nil, ""},
		"whatever the rationale": {func(in *Input) { in.Proposal.Spec.Rationale = "other words" }, nil, ""},
		"no token":               {func(in *Input) { in.Token = "" }, nil, "no token"},
		"no verifier":            {func(in *Input) { in.Verifier = nil }, nil, "nothing to verify"},
		"later":                  {func(in *Input) { in.Now = start.Add(15*time.Minute + token.Skew) }, token.ErrExpired, ""},
		"forged":                 {func(in *Input) { in.Token = in.Token[:len(in.Token)-6] + "AAAAAA" }, token.ErrSignature, ""},
		"the other decision":     {func(in *Input) { in.Decision = v1alpha1.DecisionDeny }, ErrOther, "decision"},
		"another reason":         {func(in *Input) { in.Reason = "it is harmless" }, ErrOther, "reason"},
		"another namespace":      {func(in *Input) { in.Proposal.Namespace = "bank" }, ErrOther, "namespace"},
		"another name":           {func(in *Input) { in.Proposal.Name = "other" }, ErrOther, "proposal"},
		"another UID":            {func(in *Input) { in.Proposal.UID = "other" }, ErrOther, "UID"},
		"another digest":         {func(in *Input) { in.Proposal.Spec.Digest = "sha256:0" }, ErrOther, "digest"},
		"another target's name":  {func(in *Input) { in.Proposal.Spec.Target.Name = "db" }, nil, "does not have the digest"},
		"another target's UID":   {func(in *Input) { in.Proposal.Spec.Target.UID = "other" }, ErrOther, "target"},
	} {
		t.Run(name, func(t *testing.T) {
			in := good(t, StageApproval, v1alpha1.ActionDeletePod)
			test.change(&in)
			claims, err := Proof(in.Verifier, in.Token, in.Now, in.Decision, in.Reason, &in.Proposal)
			proven := test.is == nil && test.words == ""
			if (err == nil) != proven || (claims != nil) != proven {
				t.Fatalf("claims %v, error %v", claims, err)
			}
			if proven {
				return
			}
			if (test.is != nil && !errors.Is(err, test.is)) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("have %v", err)
			}
			// No token helps what was altered after it was signed.
			remedy := mintAnother
			if errors.Is(test.is, ErrOther) || test.words == "does not have the digest" {
				remedy = asSigned
			}
			if told := Unproven(err); !strings.HasPrefix(told, "SignedToken: ") || !strings.Contains(told, remedy) {
				t.Errorf("told is %q, want %q in it", told, remedy)
			}
			if verdict := verdictOf(t, Evaluate(in), SignedToken); verdict.Result != v1alpha1.VerdictDenied || verdict.Remedy != remedy {
				t.Errorf("the layer says %+v", verdict)
			}
		})
	}
}
