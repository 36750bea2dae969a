// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/nodes"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
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
				ModelInvestigation: &opsv1alpha1.ModelInvestigation{
					RootCause: "It waits for another.", Evidence: []opsv1alpha1.Evidence{{Tool: opsv1alpha1.ToolLog, Source: "Pod/db-1 container app", Said: "another line"}},
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
					ModelRootCause: "It waits for another.",
					Evidence:       []string{"Pod/db-0: phase Running", "Pod/db-0 container app: its log was read", "Pod/db-1 container app: its log was read"},
				}
			}
			if diff := cmp.Diff(want, have.Status); diff != "" {
				t.Errorf("status (-want +have):\n%s", diff)
			}
		})
	}
}

// That of a clusterfinding is where srenix runs, and nowhere else.
func TestAClusterFindingShowsWhatItsInvestigationFound(t *testing.T) {
	broken := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker-1", UID: "n1", CreationTimestamp: metav1.NewTime(now.Add(-24 * time.Hour))},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}},
	}
	of := func(t *testing.T, w *world) *v1alpha1.ClusterFinding {
		t.Helper()
		w.cluster.Set(inputs.Nodes.Ref().Resource(), broken)
		for _, finding := range live.List(w.start(t), ClusterFindings) {
			if finding.Spec.Analyzer == nodes.Name {
				return finding
			}
		}
		t.Fatal("there is no clusterfinding")
		return nil
	}
	before := of(t, newWorld())
	name := opsv1alpha1.InvestigationName(before.Name, before.UID)
	for namespace, want := range map[string]v1alpha1.FindingStatus{
		"srenix-system": {Investigation: name, RootCause: "Its disk is full.", ModelRootCause: "It logs too much.", Evidence: []string{"Node/worker-1: DiskPressure=True"}},
		"shop":          {},
	} {
		w := newWorld()
		w.cluster.Set(Investigations.Ref().Resource(), &opsv1alpha1.Investigation{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Kind: opsv1alpha1.KindClusterFinding, Name: before.Name, UID: before.UID}},
			Status: opsv1alpha1.InvestigationStatus{
				RootCause: "Its disk is full.", ModelInvestigation: &opsv1alpha1.ModelInvestigation{RootCause: "It logs too much."},
				Evidence: []opsv1alpha1.Evidence{{Tool: opsv1alpha1.ToolObject, Source: "Node/worker-1", Said: "DiskPressure=True"}},
			},
		})
		have := of(t, w)
		if diff := cmp.Diff(want, have.Status); diff != "" {
			t.Errorf("of one in %s (-want +have):\n%s", namespace, diff)
		}
		if diff := cmp.Diff(before.Spec, have.Spec); diff != "" {
			t.Errorf("it is another (-before +after):\n%s", diff)
		}
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
