// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestAFindingShowsWhatItsInvestigationFound(t *testing.T) {
	_, finding := newWorld().run(t)
	name := opsv1alpha1.InvestigationName(finding.Name, finding.UID)
	found := func() *opsv1alpha1.Investigation {
		return &opsv1alpha1.Investigation{
			ObjectMeta: metav1.ObjectMeta{Namespace: finding.Namespace, Name: name},
			Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
			Status: opsv1alpha1.InvestigationStatus{
				RootCause: "It is refused.",
				Evidence: []opsv1alpha1.Evidence{
					{Tool: opsv1alpha1.ToolObject, Source: "Pod/db-0", Said: "phase Running"},
					{Tool: opsv1alpha1.ToolLog, Source: "Pod/db-0 container app", Said: "a line of the log"},
				},
			},
		}
	}
	for test, change := range map[string]func(*opsv1alpha1.Investigation){
		"its own":                func(*opsv1alpha1.Investigation) {},
		"one of another name":    func(i *opsv1alpha1.Investigation) { i.Name = "planted" },
		"one of another finding": func(i *opsv1alpha1.Investigation) { i.Spec.Finding.UID = "other" },
		"one elsewhere":          func(i *opsv1alpha1.Investigation) { i.Namespace = "elsewhere" },
	} {
		t.Run(test, func(t *testing.T) {
			w, stored := newWorld(), found()
			change(stored)
			w.cluster.Set(Investigations.Ref().Resource(), stored)
			_, have := w.run(t)
			have.Status.Proposals = nil
			want := v1alpha1.FindingStatus{}
			if test == "its own" {
				want = v1alpha1.FindingStatus{
					Investigation: name, RootCause: "It is refused.",
					Evidence: []string{"Pod/db-0: phase Running", "Pod/db-0 container app: its log was read"},
				}
			}
			if diff := cmp.Diff(want, have.Status); diff != "" {
				t.Errorf("status (-want +have):\n%s", diff)
			}
		})
	}
}

func TestTrimmingAnInvestigationAgainChangesNothing(t *testing.T) {
	now := metav1.Now()
	in := &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", UID: "a", ResourceVersion: "7", Labels: map[string]string{"a": "b"}},
		Spec:       opsv1alpha1.InvestigationSpec{Requests: []opsv1alpha1.InvestigationRequest{{By: "anna"}}},
		Status: opsv1alpha1.InvestigationStatus{
			CompletedAt: &now, RootCause: "x", Runbook: &opsv1alpha1.Runbook{Title: "t"},
			Evidence: []opsv1alpha1.Evidence{{Tool: opsv1alpha1.ToolObject, Source: "Pod/a", Said: "b", At: now}},
		},
	}
	once := trimInvestigation(in.DeepCopy())
	if diff := cmp.Diff(once, trimInvestigation(once.DeepCopy())); diff != "" {
		t.Errorf("trimming again (-once +twice):\n%s", diff)
	}
	if once.Status.Runbook == nil || len(once.Spec.Requests) > 0 || once.Status.CompletedAt != nil || !slices.Equal([]string{once.Status.RootCause, once.Labels["a"]}, []string{"x", "b"}) {
		t.Errorf("have %+v", once)
	}
}
