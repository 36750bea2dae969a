// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"strings"
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
// is 20 s after the action, and includes that.
func TestVerification(t *testing.T) {
	for name, test := range map[string]struct {
		// timeline has one letter a second: p present, g gone, u unknown, d gone while
		// its analyzer is degraded, o nobody looks because no executor runs, n that and
		// it is another executor from then on. The last one stays.
		timeline string
		verified bool
		reason   string
		after    time.Duration
	}{
		"cleared at once":                           {timeline: "g", verified: true, reason: "FindingCleared", after: 8 * time.Second},
		"cleared later":                             {timeline: "ppppg", verified: true, reason: "FindingCleared", after: 12 * time.Second},
		"comes back while it settles":               {timeline: "gggpg", verified: true, reason: "FindingCleared", after: 12 * time.Second},
		"unknown is not cleared":                    {timeline: "ggggugggggg", verified: true, reason: "FindingCleared", after: 13 * time.Second},
		"settled at the deadline":                   {timeline: "ppppppppppppg", verified: true, reason: "FindingCleared", after: 20 * time.Second},
		"cleared too late to settle":                {timeline: "pppppppppppppg", reason: "ClearedTooLate", after: 20 * time.Second},
		"comes back, and clears too late to settle": {timeline: "gggggggpppppppg", reason: "ClearedTooLate", after: 20 * time.Second},
		"stays":               {timeline: "p", reason: "FindingPersists", after: 20 * time.Second},
		"comes back too late": {timeline: "ggggppppppppppppppggp", reason: "FindingPersists", after: 20 * time.Second},
		"never known":         {timeline: "u", reason: "FindingUnknown", after: 20 * time.Second},
		"not seen":            {timeline: "d", reason: "FindingUnknown", after: 20 * time.Second},
		"not seen, then gone": {timeline: "ddddg", verified: true, reason: "FindingCleared", after: 12 * time.Second},
		"not seen once":       {timeline: "ggggggdg", verified: true, reason: "FindingCleared", after: 15 * time.Second},
		"nobody looked until it had been mended by hand":     {timeline: strings.Repeat("o", 3*3600) + "g", reason: "NotSeenInTime", after: 3 * time.Hour},
		"nobody looked whether it stayed so":                 {timeline: "pg" + strings.Repeat("o", 3*3600-2) + "g", reason: "NotSeenInTime", after: 3 * time.Hour},
		"cleared too late to settle, and then nobody looked": {timeline: strings.Repeat("p", 14) + "g" + strings.Repeat("o", 3*3600-15) + "g", reason: "ClearedTooLate", after: 3 * time.Hour},
		"nobody looked, and it is still there":               {timeline: strings.Repeat("o", 3*3600) + "p", reason: "FindingPersists", after: 3 * time.Hour},
		"nobody looked for a while whether it stayed so":     {timeline: "pg" + strings.Repeat("o", 9) + "g", verified: true, reason: "FindingCleared", after: 19 * time.Second},
		"another one looks after a moment":                   {timeline: "pgnoog", verified: true, reason: "FindingCleared", after: 13 * time.Second},
		"one look is late":                                   {timeline: "pgooog", verified: true, reason: "FindingCleared", after: 9 * time.Second},
		"nobody looked for a moment":                         {timeline: "ppoooog", verified: true, reason: "FindingCleared", after: 14 * time.Second},
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
				if now == 'o' || now == 'n' {
					if now == 'n' {
						p = w.newProcess("executor-1")
					}
					w.pass(time.Second)
					continue
				}
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
				if second > len(test.timeline)+100 {
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

// TestAVerificationThatTheChainHasHolds: an executor recorded how a verification
// ended and stopped before the status said so, and the next one comes when it
// would end otherwise.
func TestAVerificationThatTheChainHasHolds(t *testing.T) {
	for name, test := range map[string]struct {
		heals bool
		want  opsv1alpha1.AuditType
	}{
		"verified":     {heals: true, want: opsv1alpha1.AuditVerified},
		"not verified": {want: opsv1alpha1.AuditNotVerified},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			w.heals = test.heals
			approval, first := w.approve(approver), w.newProcess("executor-0")
			first.deny = func(verb string, object client.Object, _ bool) error {
				if verb == "update" && w.has(approval, test.want) {
					first.dead = true
					return errCrashed
				}
				return nil
			}
			first.run(approval)
			w.pass(3 * time.Hour)
			if test.heals {
				if err := w.store.Create(t.Context(), w.finding()); err != nil {
					t.Fatal(err)
				}
			} else {
				w.clear()
			}
			w.newProcess("executor-1").run(approval)
			verified := meta.IsStatusConditionTrue(w.get(approval).Status.Conditions, opsv1alpha1.ConditionVerified)
			if events := w.audited(approval); !first.dead || verified != test.heals || len(events) != 4 || events[3] != test.want {
				t.Errorf("Verified=%t, audited %v; want %s alone", verified, events, test.want)
			}
		})
	}
}
