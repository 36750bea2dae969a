// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/srenix/srenix/pkg/ai/investigator"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func newClusterFinding(name string) *srenix.ClusterFinding {
	return &srenix.ClusterFinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("cluster-" + name)},
		Spec: srenix.FindingSpec{
			Analyzer: "Nodes", Reason: "NodeNotReady", Severity: srenix.SeverityCritical, Message: "Node worker-1 is not Ready.",
			Subject: srenix.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "worker-1"},
		},
	}
}

// as is a clusterfinding as its Investigation is found by it.
func as(of *srenix.ClusterFinding) *srenix.Finding {
	finding := &srenix.Finding{ObjectMeta: *of.ObjectMeta.DeepCopy(), Spec: of.Spec}
	finding.Namespace = own
	return finding
}

func (w *world) reconcileCluster(name string) time.Duration {
	w.Helper()
	result, err := w.r.Reconcile(w.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
	if err != nil {
		w.Fatal(err)
	}
	return result.RequeueAfter
}

func TestAClusterFindingIsLookedIntoWhereSrenixRuns(t *testing.T) {
	of := newClusterFinding("crash")
	// One of the same name is in the same namespace, and is another.
	same := newFinding("crash", srenix.SeverityCritical)
	same.Namespace = own
	w := newWorld(t, of, same)
	w.reconcileCluster("crash")
	have := w.stored(as(of))
	if have == nil || have.Spec.Finding.Kind != opsv1alpha1.KindClusterFinding || have.Status.RootCause != "It is refused." ||
		have.Status.FindingHash != investigator.FindingHash(&srenix.Finding{ObjectMeta: of.ObjectMeta, Spec: of.Spec}) {
		t.Fatalf("have %+v", have)
	}
	if _, err := w.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(same)}); err != nil {
		t.Fatal(err)
	}
	w.wants(2)
	// Neither is gone for the other.
	for range 2 {
		w.restart()
		w.reconcileCluster("crash")
		if _, err := w.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(same)}); err != nil {
			t.Fatal(err)
		}
	}
	w.wants(2)
	for _, finding := range []*srenix.Finding{as(of), same} {
		for _, condition := range w.stored(finding).Status.Conditions {
			if condition.Status != metav1.ConditionTrue {
				t.Errorf("the Investigation of %s says %+v", finding.UID, condition)
			}
		}
	}
	if err := w.client.Delete(t.Context(), of); err != nil {
		t.Fatal(err)
	}
	if wait := w.reconcileCluster("crash"); wait != keep {
		t.Errorf("once it is gone it waits for %s", wait)
	}
	w.clock.SetTime(w.clock.Now().Add(keep))
	w.reconcileCluster("crash")
	if w.stored(as(of)) != nil || w.stored(same) == nil {
		t.Error("the one of the clusterfinding is to go, and the other to stay")
	}
}

func TestAnInvestigationLeadsToItsFinding(t *testing.T) {
	for name, test := range map[string]struct {
		kind, namespace string
		want            []reconcile.Request
	}{
		"of a finding":                  {"", "shop", []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "crash"}}}},
		"of a finding that says so":     {"Finding", "shop", []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "crash"}}}},
		"of a clusterfinding":           {"ClusterFinding", own, []reconcile.Request{{NamespacedName: types.NamespacedName{Name: "crash"}}}},
		"of a clusterfinding elsewhere": {"ClusterFinding", "shop", nil},
	} {
		of := &opsv1alpha1.Investigation{ObjectMeta: metav1.ObjectMeta{Namespace: test.namespace}, Spec: opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Kind: test.kind, Name: "crash"}}}
		have := ofFinding(own)(t.Context(), of)
		if len(have) != len(test.want) || len(have) > 0 && have[0] != test.want[0] {
			t.Errorf("one %s leads to %v", name, have)
		}
	}
}

// A model is told of a clusterfinding as of others, and of no node by its name.
func TestAModelIsAskedAboutClusterFindings(t *testing.T) {
	of := newClusterFinding("crash")
	n := newNarrated(t, nil, of)
	n.result.RootCause = "Node worker-1 is not Ready: the disk of worker-1 is full."
	n.reconcileCluster("crash")
	n.narrate(as(of))
	n.asked(1)
	if have := n.stored(as(of)).Status.Narrative; have != told {
		t.Errorf("it tells %q", have)
	}
	if prompt := n.server.Requests()[0].Chat.Messages[1].Content; strings.Contains(prompt, "worker-1") || !strings.Contains(prompt, "- Node node-") {
		t.Errorf("it is told\n%s", prompt)
	}
	// One that somebody plants elsewhere is about nothing.
	planted := n.stored(as(of)).DeepCopy()
	planted.Namespace, planted.ResourceVersion = "shop", ""
	planted.Status.Narrative, planted.Status.NarratedHash = "", ""
	if err := n.client.Create(t.Context(), planted); err != nil {
		t.Fatal(err)
	}
	elsewhere := as(of)
	elsewhere.Namespace = "shop"
	n.narrate(elsewhere)
	n.asked(1)
}

// Names of nodes that clusterfindings are about are in logs, too.
func TestNodesOfClusterFindingsAreNotTold(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	n := newNarrated(t, nil, finding, newClusterFinding("lost"))
	n.result.RootCause = "It says that worker-1 is away."
	n.reconcile("crash")
	n.narrate(finding)
	n.asked(1)
	if prompt := n.server.Requests()[0].Chat.Messages[1].Content; strings.Contains(prompt, "worker-1") {
		t.Errorf("it is told\n%s", prompt)
	}
}
