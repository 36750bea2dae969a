// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	configv1alpha1 "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/pkg/silences"
	"github.com/srenix/srenix/pkg/token"
)

// began is when the trouble of a site began, long before the retention.
var began = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// site is a cluster with a StatefulSet whose pod zero is not Ready, the live view
// of it, and an audit chain that is pruned as the server does it.
type site struct {
	cluster  livetest.Cluster
	engine   *live.Engine
	clock    *testingclock.FakeClock
	kube     client.Client
	chain    *audit.Chain
	auditing *auditing
}

func pod(name string, ready corev1.ConditionStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("pod-" + name),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "set", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{NodeName: "node-1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
			Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(began),
		}}},
	}
}

func newView(t *testing.T, clock *testingclock.FakeClock, configuration *configv1alpha1.SrenixConfiguration) *live.Engine {
	t.Helper()
	engine := live.New(live.Options{Clock: clock})
	rules, err := catalog.Build(configuration, namespace, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range append(rules, proposals.Rules(configuration, namespace)...) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	return engine
}

func newSite(t *testing.T) *site {
	t.Helper()
	scheme, err := newClientScheme()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{clock: testingclock.NewFakeClock(began.Add(time.Hour)), kube: fake.NewClientBuilder().WithScheme(scheme).Build()}
	configuration := &configv1alpha1.SrenixConfiguration{}
	configv1alpha1.Default(configuration)
	s.engine = newView(t, s.clock, configuration)
	s.cluster.Set(inputs.Namespaces.Ref().Resource(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns"}})
	s.cluster.Set(inputs.StatefulSets.Ref().Resource(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "set"}, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](2)},
	})
	s.cluster.Set(inputs.Pods.Ref().Resource(), pod("db-0", corev1.ConditionFalse), pod("db-1", corev1.ConditionTrue))
	livetest.Run(t, s.engine, &s.cluster)
	s.chain = audit.NewChain(s.kube, "apiserver", s.clock, nil)
	if s.auditing, err = newAuditing(s.kube, s.chain, s.engine, "cluster", &ExtraConfig{Namespace: namespace, Configuration: configuration, Clock: s.clock}); err != nil {
		t.Fatal(err)
	}
	return s
}

// about is an event about the proposal that is offered now.
func (s *site) append(t *testing.T, kind opsv1alpha1.AuditType, about opsv1alpha1.AuditReferences) *opsv1alpha1.AuditEvent {
	t.Helper()
	event, err := s.chain.Append(t.Context(), audit.Entry{Actor: "bob", Type: kind, References: about})
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func (s *site) offered(t *testing.T) *v1alpha1.Proposal {
	t.Helper()
	livetest.Eventually(t, "everything is evaluated", s.engine.Settled)
	all := live.List(s.engine, proposals.Proposals)
	if len(all) > 1 {
		t.Fatal("more than one proposal")
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// prune runs what the server runs, a year later, until it has pruned something.
func (s *site) prune(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.auditing.run(ctx)
	}()
	defer func() { stop(); <-done }()
	latest := &opsv1alpha1.AuditCheckpoint{}
	livetest.Eventually(t, "the oldest events are pruned", func() bool {
		s.clock.Step(time.Minute)
		err := s.kube.Get(t.Context(), client.ObjectKey{Name: opsv1alpha1.LatestAuditCheckpoint}, latest)
		if err != nil || latest.Spec.Pruned == nil {
			return false
		}
		gone := &opsv1alpha1.AuditEvent{}
		return client.IgnoreNotFound(s.kube.Get(t.Context(), client.ObjectKey{Name: audit.EventName(latest.Spec.Pruned.Before - 1)}, gone)) == nil && gone.Name == ""
	})
}

func (s *site) has(t *testing.T, event *opsv1alpha1.AuditEvent) bool {
	t.Helper()
	err := s.kube.Get(t.Context(), client.ObjectKeyFromObject(event), &opsv1alpha1.AuditEvent{})
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil
}

// What was decided and done for a finding that stands is not forgotten, also where
// nothing is offered for it for longer than the retention: the same digest may be
// offered again.
func TestPruningForgetsNothingOfAFindingThatStands(t *testing.T) {
	silence := &opsv1alpha1.Silence{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "known", UID: "known"},
		Spec: opsv1alpha1.SilenceSpec{Owner: "team", Reason: "known", Expires: metav1.NewTime(began.AddDate(2, 0, 0)),
			Match: opsv1alpha1.SilenceMatch{Analyzers: []string{workloadstatedrift.Name}}},
	}
	crashing := pod("db-0", corev1.ConditionFalse)
	crashing.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	for name, test := range map[string]struct {
		meanwhile func(s *site)
		offered   bool
		kept      bool
	}{
		"while it is offered":               {func(*site) {}, true, true},
		"while a silence lasts":             {func(s *site) { s.cluster.Set(silences.Silences.Ref().Resource(), silence) }, false, true},
		"while nothing fits it":             {func(s *site) { s.cluster.Set(inputs.Pods.Ref().Resource(), crashing) }, false, true},
		"and once it is gone, it is pruned": {func(s *site) { s.cluster.Set(inputs.Pods.Ref().Resource(), pod("db-0", corev1.ConditionTrue)) }, false, false},
	} {
		for _, kind := range []opsv1alpha1.AuditType{
			opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionUnsettled,
		} {
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				s := newSite(t)
				first := s.offered(t)
				if first == nil {
					t.Fatal("nothing is offered at first")
				}
				about := opsv1alpha1.AuditReferences{
					Namespace: first.Namespace, Proposal: first.Name, ProposalUID: first.UID, Digest: first.Spec.Digest, Approver: "bob",
					DiagnosticClass: first.Spec.DiagnosticClass, ActionKind: first.Spec.ActionKind, Target: &first.Spec.Target,
				}
				s.append(t, opsv1alpha1.AuditTokenMinted, opsv1alpha1.AuditReferences{})
				depended := s.append(t, kind, about)
				later := s.append(t, opsv1alpha1.AuditTokenMinted, opsv1alpha1.AuditReferences{})
				test.meanwhile(s)
				livetest.Eventually(t, "the change is seen", func() bool { return (s.offered(t) != nil) == test.offered })
				s.clock.Step(365 * 24 * time.Hour)
				s.append(t, opsv1alpha1.AuditTokenMinted, opsv1alpha1.AuditReferences{})
				s.prune(t)
				if s.has(t, depended) != test.kept || s.has(t, later) != test.kept {
					t.Errorf("the event is there: %t, want %t", !test.kept, test.kept)
				}
			})
		}
	}
}

// Minting a token and having one refused cost nothing, and must not keep the chain
// from being pruned for as long as the proposal stands.
func TestOfAStandingProposalOnlyWhatWasDecidedAndDoneIsKept(t *testing.T) {
	for kind, kept := range map[opsv1alpha1.AuditType]bool{
		opsv1alpha1.AuditTokenMinted: false, opsv1alpha1.AuditApprovalDenied: false, opsv1alpha1.AuditSuperseded: false,
		opsv1alpha1.AuditApprovalAccepted: true, opsv1alpha1.AuditDenialRecorded: true, opsv1alpha1.AuditActionIntended: true,
		opsv1alpha1.AuditActionDone: true, opsv1alpha1.AuditActionFailed: true, opsv1alpha1.AuditActionUnsettled: true, opsv1alpha1.AuditRunbookReleased: true,
		opsv1alpha1.AuditVerified: true, opsv1alpha1.AuditNotVerified: true, // on which the next step of a plan depends
	} {
		t.Run(string(kind), func(t *testing.T) {
			s := newSite(t)
			first := s.offered(t)
			// Of a digest by itself, so that the finding, which stands too, does not count.
			about := opsv1alpha1.AuditReferences{Namespace: first.Namespace, ProposalUID: first.UID, Digest: first.Spec.Digest}
			s.append(t, opsv1alpha1.AuditConfigurationChanged, opsv1alpha1.AuditReferences{})
			event := s.append(t, kind, about)
			in := inEffect{engine: s.engine, reader: s.kube, clock: s.clock}
			expectKept := func(when string, want bool) {
				t.Helper()
				oldest, any, err := in.oldest(t.Context())
				if err != nil || any != want || any && oldest != event.Spec.Index {
					t.Errorf("%s, what is kept begins with %d, %t: %v; want %d, %t", when, oldest, any, err, event.Spec.Index, want)
				}
			}
			expectKept("at once", kept)
			s.clock.Step(365 * 24 * time.Hour)
			s.append(t, opsv1alpha1.AuditTokenMinted, about)
			s.prune(t)
			if s.has(t, event) != kept {
				t.Errorf("a year later the event is there: %t, want %t", !kept, kept)
			}
		})
	}
}

func TestWhatIsInEffectIsKeptForItsEpisodeAlone(t *testing.T) {
	s := newSite(t)
	first := s.offered(t)
	finding := live.List(s.engine, proposals.Findings)[0]
	about := &opsv1alpha1.AuditReferences{
		Namespace: "shop", ProposalUID: first.UID, Digest: first.Spec.Digest, DiagnosticClass: first.Spec.DiagnosticClass,
		ActionKind: first.Spec.ActionKind, Target: &first.Spec.Target,
	}
	runbook := about.DeepCopy()
	runbook.ActionKind, runbook.ProposalUID, runbook.Target = v1alpha1.ActionRunbook, "of any investigation", &finding.Spec.Subject
	all := inEffect{engine: s.engine, reader: s.kube, clock: s.clock}.findings()
	for name, test := range map[string]struct {
		change func(event *opsv1alpha1.AuditEventSpec)
		want   bool
	}{
		"as it is":               {func(*opsv1alpha1.AuditEventSpec) {}, true},
		"a runbook for it":       {func(e *opsv1alpha1.AuditEventSpec) { e.References = *runbook }, true},
		"of an earlier episode":  {func(e *opsv1alpha1.AuditEventSpec) { e.Time = metav1.NewMicroTime(began.Add(-2 * datingSlack)) }, false},
		"by a clock that lags":   {func(e *opsv1alpha1.AuditEventSpec) { e.Time = metav1.NewMicroTime(began.Add(-datingSlack / 2)) }, true},
		"of another action":      {func(e *opsv1alpha1.AuditEventSpec) { e.References.ActionKind = v1alpha1.ActionDeleteJob }, false},
		"of another proposal":    {func(e *opsv1alpha1.AuditEventSpec) { e.References.ProposalUID = "other" }, false},
		"of another namespace":   {func(e *opsv1alpha1.AuditEventSpec) { e.References.Namespace = "bank" }, false},
		"of nothing":             {func(e *opsv1alpha1.AuditEventSpec) { e.References = opsv1alpha1.AuditReferences{} }, false},
		"of another class there": {func(e *opsv1alpha1.AuditEventSpec) { e.References.DiagnosticClass = "Other" }, true},
	} {
		event := &opsv1alpha1.AuditEventSpec{Time: metav1.NewMicroTime(s.clock.Now()), References: *about.DeepCopy()}
		test.change(event)
		if have := all.depend(event); have != test.want {
			t.Errorf("%s: in effect is %t, want %t", name, have, test.want)
		}
	}
}

// A replica that cannot read what an analyzer needs does not know of its findings.
func TestWhatNobodyCanTellIsInEffect(t *testing.T) {
	s := newSite(t)
	class := s.offered(t).Spec.DiagnosticClass
	s.cluster.Forbid(inputs.StatefulSets.Ref().Resource())
	in := inEffect{engine: s.engine, reader: s.kube, clock: s.clock}
	livetest.Eventually(t, "the analyzer is degraded", func() bool { return in.findings().degraded[class] })
	for about, want := range map[string]bool{class: true, "TLSSecretMismatch": false} {
		event := &opsv1alpha1.AuditEventSpec{References: opsv1alpha1.AuditReferences{Namespace: "bank", DiagnosticClass: about}}
		if have := in.findings().depend(event); have != want {
			t.Errorf("an event of %s is in effect: %t, want %t", about, have, want)
		}
	}
}

// A replica that starts while it may not read approvals, or what an analyzer needs, never
// saw the proposals that others have.
func TestAReplicaThatNeverSawWhatStandsForgetsNothing(t *testing.T) {
	for _, kind := range []opsv1alpha1.AuditType{opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditRunbookReleased, opsv1alpha1.AuditDenialRecorded} {
		for _, forbidden := range []live.KindRef{proposals.Approvals.Ref(), inputs.StatefulSets.Ref()} {
			t.Run(fmt.Sprint(kind, " without ", forbidden), func(t *testing.T) {
				s := newSite(t)
				offered := s.offered(t)
				s.append(t, opsv1alpha1.AuditTokenMinted, opsv1alpha1.AuditReferences{})
				event := s.append(t, kind, opsv1alpha1.AuditReferences{
					Namespace: offered.Namespace, ProposalUID: offered.UID, Digest: offered.Spec.Digest, DiagnosticClass: offered.Spec.DiagnosticClass,
				})
				configuration := &configv1alpha1.SrenixConfiguration{}
				configv1alpha1.Default(configuration)
				blind := newView(t, s.clock, configuration)
				s.cluster.Forbid(forbidden.Resource())
				livetest.Run(t, blind, &s.cluster)
				oldest, any, err := inEffect{engine: blind, reader: s.kube, clock: s.clock}.oldest(t.Context())
				if err == nil && (!any || oldest > event.Spec.Index) {
					t.Errorf("event %d may be pruned: %d is the oldest in effect, %t", event.Spec.Index, oldest, any)
				}
			})
		}
	}
}

// An Approval that never ends is in effect for as long as a token of its age may be
// valid, and holds up no pruning after that.
func TestAnUnfinishedApprovalIsInEffectWhileATokenCounts(t *testing.T) {
	s := newSite(t)
	one := decidable{"of another proposal", "sha256:other"}
	approval := &opsv1alpha1.Approval{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "kept", UID: "kept", CreationTimestamp: metav1.NewTime(s.clock.Now()),
		DeletionTimestamp: ptr.To(metav1.NewTime(s.clock.Now())), Finalizers: []string{"example.com/keep"},
	}}
	approval.Spec.Proposal = opsv1alpha1.ProposalReference{Name: "other", UID: one.proposal, Digest: one.digest}
	s.cluster.Set(proposals.Approvals.Ref().Resource(), approval)
	in := inEffect{engine: s.engine, reader: s.kube, clock: s.clock}
	livetest.Eventually(t, "the approval is seen", func() bool { return in.decidable()[one] })
	s.clock.Step(token.MaximumLifetime)
	if !in.decidable()[one] {
		t.Error("it is not in effect while a token may be valid")
	}
	s.clock.Step(token.Skew + time.Second)
	if in.decidable()[one] {
		t.Error("it is in effect when no token can be valid any more")
	}
}
