// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// TestVerification tells by what the finding does after the action, second by
// second, when and how verification ends. Settling takes 8 s, and the deadline
// is 20 s after the action.
func TestVerification(t *testing.T) {
	for name, test := range map[string]struct {
		// timeline has one letter a second: p present, g gone, u unknown, d gone while
		// its analyzer is degraded. The last one stays.
		timeline string
		verified bool
		reason   string
		after    time.Duration
	}{
		"cleared at once":                           {timeline: "g", verified: true, reason: "FindingCleared", after: 8 * time.Second},
		"cleared later":                             {timeline: "ppppg", verified: true, reason: "FindingCleared", after: 12 * time.Second},
		"comes back while it settles":               {timeline: "gggpg", verified: true, reason: "FindingCleared", after: 12 * time.Second},
		"unknown is not cleared":                    {timeline: "ggggugggggg", verified: true, reason: "FindingCleared", after: 13 * time.Second},
		"cleared before the deadline settles after": {timeline: "ppppppppppppppppppg", verified: true, reason: "FindingCleared", after: 26 * time.Second},
		"stays":               {timeline: "p", reason: "FindingPersists", after: 20 * time.Second},
		"comes back too late": {timeline: "ppppppppppppppppppggggp", reason: "FindingPersists", after: 22 * time.Second},
		"never known":         {timeline: "u", reason: "FindingUnknown", after: 20 * time.Second},
		"not seen":            {timeline: "d", reason: "FindingUnknown", after: 20 * time.Second},
		"not seen, then gone": {timeline: "ddddg", verified: true, reason: "FindingCleared", after: 12 * time.Second},
		"not seen once":       {timeline: "ggggggdg", verified: true, reason: "FindingCleared", after: 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			w.clock.SetTime(start.Truncate(time.Second))
			w.heals = false
			approval, p := w.approve(approver), w.newProcess("executor-0")
			if _, err := p.step(approval); err != nil || len(w.acts) != 1 {
				t.Fatalf("acted %v: %v", w.acts, err)
			}
			acted := w.clock.Now()
			w.reports("TLSSecretMismatch", srenix.ReasonAnalyzerDegraded, true)
			for second := 0; ; second++ {
				now := test.timeline[min(second, len(test.timeline)-1)]
				w.reports("WorkloadStateDrift", srenix.ReasonAnalyzerDegraded, now == 'd')
				p.deny = func(verb string, object client.Object, _ bool) error {
					if _, ok := object.(*srenix.Finding); !ok || verb != "get" {
						return nil
					}
					switch now {
					case 'g', 'd':
						return apierrors.NewNotFound(srenix.SchemeGroupVersion.WithResource("findings").GroupResource(), "finding")
					case 'u':
						return apierrors.NewServiceUnavailable("down")
					}
					return nil
				}
				if _, err := p.step(approval); err != nil {
					t.Fatal(err)
				}
				if completed(w.get(approval)) {
					break
				}
				if second > 100 {
					t.Fatal("verification does not end")
				}
				w.pass(time.Second)
			}
			status := w.get(approval).Status
			condition := meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionVerified)
			if took := w.clock.Since(acted); (condition.Status == "True") != test.verified || condition.Reason != test.reason || took != test.after {
				t.Errorf("Verified=%s %s after %s; want %t %s after %s", condition.Status, condition.Reason, took, test.verified, test.reason, test.after)
			}
			if status.Phase != opsv1alpha1.PhaseSucceeded {
				t.Errorf("phase %s, want Succeeded: the action was carried out", status.Phase)
			}
			if want := map[bool]opsv1alpha1.AuditType{true: opsv1alpha1.AuditVerified, false: opsv1alpha1.AuditNotVerified}[test.verified]; !w.has(approval, want) {
				t.Errorf("audit events %v lack %s", w.audited(approval), want)
			}
		})
	}
}
