// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// TestKubernetesEvents tells which events there are on the Approval and on its
// target: on the target those of what was done to it, or should have been.
func TestKubernetesEvents(t *testing.T) {
	const both = "Approval Pod"
	for name, test := range map[string]struct {
		arrange func(*world, *process) *opsv1alpha1.Approval
		// want is on what, of which severity and for which reason, in order.
		want []string
	}{
		"carried out and verified": {
			arrange: func(w *world, _ *process) *opsv1alpha1.Approval { return w.approve(approver) },
			want:    []string{both + " Normal DeletePod", both + " Normal Verified"},
		},
		"carried out, and did not help": {
			arrange: func(w *world, _ *process) *opsv1alpha1.Approval {
				w.heals = false
				return w.approve(approver)
			},
			want: []string{both + " Normal DeletePod", both + " Warning NotVerified"},
		},
		"refused by the API server": {
			arrange: func(w *world, p *process) *opsv1alpha1.Approval {
				p.deny = func(verb string, _ client.Object, dryRun bool) error {
					if verb == "delete" && !dryRun {
						return apierrors.NewForbidden(opsv1alpha1.SchemeGroupVersion.WithResource("pods").GroupResource(), "web", errors.New("no"))
					}
					return nil
				}
				return w.approve(approver)
			},
			want: []string{both + " Warning Refused"},
		},
		"expired": {
			arrange: func(w *world, _ *process) *opsv1alpha1.Approval {
				approval := w.approve(approver)
				w.pass(time.Hour)
				return approval
			},
			want: []string{"Approval Warning TokenExpired"},
		},
		"denied by a person": {
			arrange: func(w *world, _ *process) *opsv1alpha1.Approval { return w.decide(approver, srenix.DecisionDeny) },
			want:    []string{"Approval Normal DeniedByPerson"},
		},
		"held back": {
			arrange: func(w *world, _ *process) *opsv1alpha1.Approval {
				for index := range 3 {
					w.finished(index, srenix.ActionDeletePod, 'F')
				}
				return w.approve(approver)
			},
			want: []string{"Approval Warning BreakerOpen"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionDeletePod)
			p := w.newProcess("executor-0")
			approval := test.arrange(w, p)
			p.run(approval)
			onApproval, onTarget := "Approval "+string(approval.UID), "Pod "+string(targetUID)
			var have []string
			for i, made := range w.reported {
				switch {
				case made.about == onApproval && made.beside == onTarget:
					have = append(have, "Approval "+made.severity+" "+made.reason)
				case made.about == onTarget && made.beside == onApproval && i > 0 && w.reported[i-1].note == made.note:
					have[len(have)-1] = strings.Replace(have[len(have)-1], "Approval ", both+" ", 1)
				default:
					t.Errorf("an event about %q, and %q beside it", made.about, made.beside)
				}
				if made.action != string(srenix.ActionDeletePod) || made.note == "" {
					t.Errorf("event %+v lacks its action or what it says", made)
				}
			}
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("events (-want +have):\n%s", diff)
			}
		})
	}
}

func TestRetriesAreReported(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval, p := w.approve(approver), w.newProcess("executor-0")
	p.deny = func(verb string, object client.Object, _ bool) error {
		if _, ok := object.(*srenix.Proposal); ok && verb == "get" {
			return apierrors.NewServiceUnavailable("down")
		}
		return nil
	}
	if _, err := p.step(approval); err == nil {
		t.Fatal("it went on without the aggregated API")
	}
	if !slices.ContainsFunc(w.reported, func(made report) bool {
		return made.about == "Approval "+string(approval.UID) && made.severity == warning && made.reason == "Retrying" && strings.Contains(made.note, "down")
	}) {
		t.Errorf("events %+v; want one that says why it is tried again", w.reported)
	}
}
