// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// A silence that a replica sees before the approval withholds the proposal for a
// moment. That must not end the approval.
func TestAProposalThatIsWithheldForAMomentIsWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(w *world)
		phase     opsv1alpha1.ApprovalPhase
	}{
		"it is served again": {func(w *world) {
			w.proposal.ResourceVersion = ""
			if err := w.store.Create(w.t.Context(), w.proposal.DeepCopy()); err != nil {
				w.t.Fatal(err)
			}
		}, opsv1alpha1.PhaseSucceeded},
		"it stays away": {func(w *world) { w.pass(seenWithin) }, opsv1alpha1.PhaseSuperseded},
		"its finding goes": {func(w *world) {
			if err := w.store.Delete(w.t.Context(), w.finding()); err != nil {
				w.t.Fatal(err)
			}
		}, opsv1alpha1.PhaseSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			change(w, w.finding(), func(f *srenix.Finding) { f.Spec.Since = w.proposal.Spec.Finding.Since })
			approval := w.approve(approver)
			if err := w.store.Delete(t.Context(), w.proposal.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			r := w.newProcess("executor-0")
			for range 3 {
				if _, err := r.step(approval); err == nil {
					t.Error("it is not tried again")
				}
				if phase := w.get(approval).Status.Phase; phase.Finished() {
					t.Fatalf("it ended as %s", phase)
				}
			}
			test.meanwhile(w)
			if _, err := r.step(approval); err != nil {
				t.Fatal(err)
			}
			if phase := w.get(approval).Status.Phase; phase != test.phase {
				t.Errorf("it is %s, want %s", phase, test.phase)
			}
		})
	}
}
