// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func spec() *v1alpha1.ProposalSpec {
	return &v1alpha1.ProposalSpec{
		Finding: v1alpha1.FindingReference{Name: "f", UID: "fu", Since: metav1.NewTime(time.Unix(1_700_000_000, 0))},
		Tier:    v1alpha1.TierFix, ActionKind: v1alpha1.ActionPatchDeploymentAnnotation,
		Target:    v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "ns", Name: "d", UID: "du"},
		Patch:     &v1alpha1.Patch{SetAnnotation: &v1alpha1.SetAnnotation{Name: "a"}},
		Rationale: "because", Source: v1alpha1.SourceRule, DiagnosticClass: "ConfigDrift",
	}
}

func of(t *testing.T, namespace, name string, s *v1alpha1.ProposalSpec) string {
	t.Helper()
	d, err := Proposal(namespace, name, "uid", s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEverythingThatWouldBeDoneIsBound(t *testing.T) {
	base := of(t, "ns", "p", spec())
	for name, change := range map[string]func(*v1alpha1.ProposalSpec){
		"finding":      func(s *v1alpha1.ProposalSpec) { s.Finding.UID = "other" },
		"since":        func(s *v1alpha1.ProposalSpec) { s.Finding.Since = metav1.NewTime(time.Unix(1_700_000_001, 0)) },
		"tier":         func(s *v1alpha1.ProposalSpec) { s.Tier = v1alpha1.TierPlan },
		"action":       func(s *v1alpha1.ProposalSpec) { s.ActionKind = v1alpha1.ActionDeletePod },
		"target":       func(s *v1alpha1.ProposalSpec) { s.Target.Name = "e" },
		"target's UID": func(s *v1alpha1.ProposalSpec) { s.Target.UID = "eu" },
		"patch":        func(s *v1alpha1.ProposalSpec) { s.Patch.SetAnnotation.Name = "b" },
		"no patch":     func(s *v1alpha1.ProposalSpec) { s.Patch = nil },
		"class":        func(s *v1alpha1.ProposalSpec) { s.DiagnosticClass = "Other" },
		"plan":         func(s *v1alpha1.ProposalSpec) { s.Plan = &v1alpha1.PlanStep{Name: "x"} },
	} {
		changed := spec()
		change(changed)
		if of(t, "ns", "p", changed) == base {
			t.Errorf("%s is not bound by the digest", name)
		}
	}
	if of(t, "other", "p", spec()) == base || of(t, "ns", "q", spec()) == base {
		t.Error("the proposal's own name is not bound by the digest")
	}
}

func TestExplanationsAndTheTimeZoneAreNotBound(t *testing.T) {
	base := of(t, "ns", "p", spec())
	reworded := spec()
	reworded.Rationale, reworded.Source, reworded.Digest = "in other words", v1alpha1.SourceLLM, "sha256:whatever"
	reworded.Finding.Since = metav1.NewTime(reworded.Finding.Since.In(time.FixedZone("elsewhere", 3600)))
	if of(t, "ns", "p", reworded) != base {
		t.Error("other words or another time zone change the digest")
	}
}

// TestTheDigestIsWhatItSays guards the form: a change of it supersedes every
// approval that is on its way.
func TestTheDigestIsWhatItSays(t *testing.T) {
	have, err := Of(map[string]any{"b": 1, "a": "ü"})
	if err != nil {
		t.Fatal(err)
	}
	// printf '{"a":"ü","b":1}' | sha256sum
	if want := "sha256:4e7ff4080b1a00acdaf71eb0cdf2d504aa8068bbb375c002eac2df3f064047a7"; have != want {
		t.Errorf("have %s, want %s", have, want)
	}
}
