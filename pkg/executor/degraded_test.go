// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// reports makes the server report something of an analyzer, or no more.
func (w *world) reports(analyzer, reason string, stands bool) {
	w.t.Helper()
	report := &srenix.ClusterFinding{ObjectMeta: metav1.ObjectMeta{Name: strings.ToLower(analyzer + "-" + reason)}}
	report.Spec.Analyzer, report.Spec.Reason = analyzer, reason
	err := client.IgnoreNotFound(w.store.Delete(w.t.Context(), report))
	if stands && err == nil {
		err = w.store.Create(w.t.Context(), report)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// What a degraded analyzer does not show may be there: an approval does not end
// because its proposal is not served then, a yes as little as a no.
func TestNothingIsSupersededWhileItsAnalyzerIsDegraded(t *testing.T) {
	for name, test := range map[string]struct {
		decision         srenix.Decision
		analyzer, reason string
		waits            bool
		phase            opsv1alpha1.ApprovalPhase
	}{
		"its analyzer":               {srenix.DecisionApprove, "WorkloadStateDrift", srenix.ReasonAnalyzerDegraded, true, opsv1alpha1.PhaseSucceeded},
		"what computes proposals":    {srenix.DecisionApprove, "proposals", srenix.ReasonAnalyzerDegraded, true, opsv1alpha1.PhaseSucceeded},
		"its analyzer, for a no":     {srenix.DecisionDeny, "WorkloadStateDrift", srenix.ReasonAnalyzerDegraded, true, opsv1alpha1.PhaseDenied},
		"another one":                {srenix.DecisionApprove, "TLSSecretMismatch", srenix.ReasonAnalyzerDegraded, false, opsv1alpha1.PhaseSuperseded},
		"something else is reported": {srenix.DecisionApprove, "WorkloadStateDrift", "NodeNotReady", false, opsv1alpha1.PhaseSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			approval := w.decide(approver, test.decision)
			if test.decision == srenix.DecisionApprove {
				w.append(approval, opsv1alpha1.AuditApprovalAccepted, approver)
			}
			if err := w.store.Delete(t.Context(), w.proposal.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			w.reports(test.analyzer, test.reason, true)
			p := w.newProcess("executor-0")
			if _, err := p.step(approval); (err != nil) != test.waits || w.get(approval).Status.Phase.Finished() == test.waits {
				t.Fatalf("error %v, status %+v; want it to wait: %t", err, w.get(approval).Status, test.waits)
			}
			w.reports(test.analyzer, test.reason, false)
			if err := w.store.Create(t.Context(), w.newProposal(srenix.ActionDeletePod)); err != nil {
				t.Fatal(err)
			}
			p.run(approval)
			if phase := w.get(approval).Status.Phase; phase != test.phase {
				t.Errorf("phase %s, want %s", phase, test.phase)
			}
		})
	}
}
