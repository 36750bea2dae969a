// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/silences"
)

// newRunbookWorld is one in which no action helps, and a runbook was drafted.
func newRunbookWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld()
	w.zero.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	_, finding := w.run(t)
	w.cluster.Set(Investigations.Ref().Resource(), &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
		Status:     opsv1alpha1.InvestigationStatus{Runbook: &opsv1alpha1.Runbook{Title: "Unseal", Text: "secret steps"}},
	})
	return w
}

// A runbook is released by what the executor recorded in the audit chain, and by
// no status of an Approval.
func TestARunbookIsReleasedByTheAuditChainAlone(t *testing.T) {
	standing, _ := newRunbookWorld(t).run(t)
	if standing == nil || standing.Spec.ActionKind != v1alpha1.ActionRunbook {
		t.Fatalf("have %+v, want the proposal of a runbook", standing)
	}
	const released, denied, executor = opsv1alpha1.AuditRunbookReleased, opsv1alpha1.AuditDenialRecorded, "executor/a"
	of := func(component string, kind opsv1alpha1.AuditType, digest string, after time.Duration) *opsv1alpha1.AuditEvent {
		return record(component, kind, standing.UID, digest, now.Add(after))
	}
	for name, test := range map[string]struct {
		phase    opsv1alpha1.ApprovalPhase
		recorded []*opsv1alpha1.AuditEvent
		want     bool
	}{
		"nothing":                               {},
		"a status that says Released":           {phase: opsv1alpha1.PhaseReleased},
		"a status that says Succeeded":          {phase: opsv1alpha1.PhaseSucceeded},
		"the executor's release":                {recorded: []*opsv1alpha1.AuditEvent{of(executor, released, standing.Spec.Digest, 0)}, want: true},
		"a release, and another yes is pending": {phase: opsv1alpha1.PhasePending, recorded: []*opsv1alpha1.AuditEvent{of(executor, released, standing.Spec.Digest, 0)}, want: true},
		"a release of another digest":           {recorded: []*opsv1alpha1.AuditEvent{of(executor, released, "sha256:other", 0)}},
		"another component's release":           {recorded: []*opsv1alpha1.AuditEvent{of("apiserver/a", released, standing.Spec.Digest, 0)}},
		"a release after a denial": {recorded: []*opsv1alpha1.AuditEvent{
			of("apiserver/a", denied, standing.Spec.Digest, 0), of(executor, released, standing.Spec.Digest, time.Second),
		}},
		"a denial after the release": {recorded: []*opsv1alpha1.AuditEvent{
			of(executor, released, standing.Spec.Digest, 0), of("apiserver/a", denied, standing.Spec.Digest, time.Second),
		}, want: true},
		"a denial after the release, and the release again": {recorded: []*opsv1alpha1.AuditEvent{
			of(executor, released, standing.Spec.Digest, 0), of("apiserver/a", denied, standing.Spec.Digest, time.Second),
			of(executor, released, standing.Spec.Digest, 2*time.Second),
		}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRunbookWorld(t)
			for _, event := range test.recorded {
				w.cluster.Set(Recorded.Ref().Resource(), event)
			}
			if test.phase != "" {
				w.approvals = append(w.approvals, &opsv1alpha1.Approval{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", CreationTimestamp: metav1.NewTime(now)},
					Spec: opsv1alpha1.ApprovalSpec{Decision: v1alpha1.DecisionApprove, Proposal: opsv1alpha1.ProposalReference{
						Name: standing.Name, UID: standing.UID, Digest: standing.Spec.Digest,
					}},
					Status: opsv1alpha1.ApprovalStatus{Phase: test.phase, Approver: "alice"},
				})
			}
			engine := w.start(t)
			for _, proposal := range live.List(engine, Proposals) {
				runbook, exists := RunbookOf(engine, proposal)
				if !exists || runbook.Spec.Released != test.want {
					t.Errorf("released %t, want %t; the proposal is %s", exists && runbook.Spec.Released, test.want, proposal.Status.Phase)
				}
				said := proposal.Status.Conditions[0].Message
				if is := proposal.Status.Phase == v1alpha1.ProposalReleased && strings.Contains(said, "nothing was executed"); is != test.want {
					t.Errorf("the proposal is %s: %s", proposal.Status.Phase, said)
				}
				if proposal.Spec.Source != v1alpha1.SourceInvestigation {
					t.Errorf("the runbook is from %s", proposal.Spec.Source)
				}
			}
		})
	}
}

func TestASilenceTakesNoReleasedRunbookBack(t *testing.T) {
	standing, _ := newRunbookWorld(t).run(t)
	for _, released := range []bool{false, true} {
		w := newRunbookWorld(t)
		w.cluster.Set(silences.Silences.Ref().Resource(), &opsv1alpha1.Silence{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "known", UID: "known"},
			Spec:       opsv1alpha1.SilenceSpec{Owner: "team", Reason: "known", Expires: metav1.NewTime(now.Add(time.Hour)), Match: opsv1alpha1.SilenceMatch{}},
		})
		if released {
			w.cluster.Set(Recorded.Ref().Resource(), record("executor/a", opsv1alpha1.AuditRunbookReleased, standing.UID, standing.Spec.Digest, now))
		}
		if proposal, _ := w.run(t); (proposal != nil) != released {
			t.Errorf("released %t, and there is a proposal: %t", released, proposal != nil)
		}
	}
}

// Some findings are about the namespace that they are in, as a pile of evicted pods.
func TestARunbookAboutANamespaceCanBeApproved(t *testing.T) {
	w := newWorld()
	w.zero.Status.Conditions[0].Status = corev1.ConditionTrue
	for i := range 20 {
		pod := w.one.DeepCopy()
		pod.Name, pod.UID = fmt.Sprint("evicted-", i), types.UID(fmt.Sprint("evicted-", i))
		pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}
		w.cluster.Set(inputs.Pods.Ref().Resource(), pod)
	}
	_, finding := w.run(t)
	if finding.Spec.Subject.Kind != "Namespace" {
		t.Fatalf("the finding is about %+v", finding.Spec.Subject)
	}
	w.cluster.Set(Investigations.Ref().Resource(), &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pile"},
		Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
		Status:     opsv1alpha1.InvestigationStatus{Runbook: &opsv1alpha1.Runbook{Title: "Make room", Text: "secret steps"}},
	})
	if proposal, _ := w.run(t); proposal == nil || proposal.Status.Phase != v1alpha1.ProposalOpen {
		t.Errorf("the proposal is %+v", proposal)
	}
}

func TestOfARunbookIsToldWhoWroteIt(t *testing.T) {
	for by, want := range map[string]v1alpha1.Source{"": v1alpha1.SourceInvestigation, "gpt": v1alpha1.SourceLLM} {
		w := newRunbookWorld(t)
		_, finding := w.run(t)
		w.cluster.Set(Investigations.Ref().Resource(), &opsv1alpha1.Investigation{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
			Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
			Status:     opsv1alpha1.InvestigationStatus{Runbook: &opsv1alpha1.Runbook{Title: "Unseal", Text: "secret steps", DraftedBy: by}},
		})
		proposal, _ := w.run(t)
		if proposal == nil || proposal.Spec.Source != want || strings.Contains(proposal.Spec.Rationale, "A model drafted") != (by != "") {
			t.Errorf("drafted by %q: %+v", by, proposal)
		}
	}
}

// What a rule has to say takes nobody to draft it, and is the same on every replica.
func TestARuleHasARunbookOfItsOwn(t *testing.T) {
	golden := analyzertest.Read(t, "../analyzers/vaultpathmissing/testdata/found-property.yaml")
	configuration := &config.SrenixConfiguration{Analyzers: map[string]config.AnalyzerConfiguration{
		vaultpathmissing.Name: {Options: &runtime.RawExtension{Raw: []byte(`{"address": "https://vault.example.com:8200", "tokenFile": "/token", "alsoKnownAs": ["http://vault.vault.svc:8200"]}`)}},
	}}
	config.Default(configuration)
	rules, err := catalog.Build(configuration, "srenix-system", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	clock := testingclock.NewFakeClock(golden.Now)
	engine := live.New(live.Options{Clock: clock})
	for _, rule := range slices.Concat(rules, Rules(configuration, "srenix-system")) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, analyzertest.Cluster(t, slices.Concat(golden.Objects, golden.Vault)))
	clock.Step(golden.After)
	livetest.Eventually(t, "a proposal", func() bool { return engine.Settled() && len(live.List(engine, Proposals)) == 1 })
	proposal := live.List(engine, Proposals)[0]
	if proposal.Spec.Source != v1alpha1.SourceRule || proposal.Spec.Tier != v1alpha1.TierRunbook || proposal.Spec.ActionKind != v1alpha1.ActionRunbook || proposal.Spec.Runbook.Investigation != "" {
		t.Errorf("it is %+v", proposal.Spec)
	}
	runbook, exists := RunbookOf(engine, proposal)
	if !exists || runbook.Spec.Released || !strings.Contains(runbook.Spec.Text, "vault kv patch") || runbook.Spec.Digest != proposal.Spec.Runbook.Digest {
		t.Errorf("its text is %+v", runbook)
	}
	changed := proposal.DeepCopy()
	changed.Spec.Runbook.Digest = "sha256:another"
	if _, exists := RunbookOf(engine, changed); exists {
		t.Error("a text has another digest than was approved")
	}
}
