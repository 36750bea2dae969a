// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/silences"
)

var now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// world is a cluster with a StatefulSet whose pod zero has not been Ready for an hour.
type world struct {
	cluster   livetest.Cluster
	namespace *corev1.Namespace
	set       *appsv1.StatefulSet
	zero, one *corev1.Pod
	approvals []*opsv1alpha1.Approval
}

func newWorld() *world {
	controlled := []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "set", Controller: new(bool)}}
	*controlled[0].Controller = true
	pod := func(name string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("pod-" + name), OwnerReferences: controlled},
			Spec:       corev1.PodSpec{NodeName: "node-1"},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
				Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
			}}},
		}
	}
	replicas := int32(2)
	return &world{
		namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns"}},
		set: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "set"},
			Spec:       appsv1.StatefulSetSpec{Replicas: &replicas},
		},
		zero: pod("db-0", corev1.ConditionFalse),
		one:  pod("db-1", corev1.ConditionTrue),
	}
}

// start returns an engine that has computed the view.
func (w *world) start(t *testing.T) *live.Engine {
	t.Helper()
	engine := live.New(live.Options{Clock: testingclock.NewFakeClock(now)})
	configuration := &config.SrenixConfiguration{}
	config.Default(configuration)
	rules, err := catalog.Build(configuration, "srenix-system", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range append(rules, Rules(configuration, "srenix-system")...) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	w.cluster.Set(inputs.Namespaces.Ref().Resource(), w.namespace)
	w.cluster.Set(inputs.StatefulSets.Ref().Resource(), w.set)
	w.cluster.Set(inputs.Pods.Ref().Resource(), w.zero, w.one)
	for _, approval := range w.approvals {
		w.cluster.Set(Approvals.Ref().Resource(), approval)
	}
	livetest.Run(t, engine, &w.cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	return engine
}

// run computes the view and returns its one proposal, or nil.
func (w *world) run(t *testing.T) (*v1alpha1.Proposal, *v1alpha1.Finding) {
	t.Helper()
	engine := w.start(t)
	var proposal *v1alpha1.Proposal
	for _, p := range live.List(engine, Proposals) {
		if proposal != nil {
			t.Fatal("more than one proposal")
		}
		proposal = p
	}
	for _, f := range live.List(engine, Findings) {
		return proposal, f
	}
	t.Fatal("no finding")
	return nil, nil
}

func TestAStuckPodZeroCanBeDeleted(t *testing.T) {
	proposal, finding := newWorld().run(t)
	if proposal == nil {
		t.Fatal("no proposal")
	}
	want := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "db-0", UID: "pod-db-0"}
	if proposal.Spec.ActionKind != v1alpha1.ActionDeletePod || proposal.Spec.Target != want || proposal.Spec.Patch != nil {
		t.Errorf("have %+v", proposal.Spec)
	}
	if diff := cmp.Diff([]string{proposal.Name}, finding.Status.Proposals); diff != "" {
		t.Errorf("the finding's proposals (-want +have):\n%s", diff)
	}
	if proposal.Status.Phase != v1alpha1.ProposalOpen || len(proposal.Status.Verdicts) != 8 {
		t.Errorf("phase %s with %d verdicts", proposal.Status.Phase, len(proposal.Status.Verdicts))
	}
	if computed, err := digest.Proposal(proposal.Namespace, proposal.Name, proposal.UID, &proposal.Spec); err != nil || computed != proposal.Spec.Digest {
		t.Errorf("digest %s, computed %s, %v", proposal.Spec.Digest, computed, err)
	}
}

func TestProposalsAreTheSameAfterARestart(t *testing.T) {
	first, _ := newWorld().run(t)
	second, _ := newWorld().run(t)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the same cluster gives other proposals:\n%s", diff)
	}
}

func TestAnotherPodOfTheSameNameIsAnotherProposal(t *testing.T) {
	first, _ := newWorld().run(t)
	w := newWorld()
	w.zero.UID = "another"
	second, _ := w.run(t)
	if first.Spec.Digest == second.Spec.Digest || first.UID == second.UID {
		t.Error("digest and UID do not depend on the target's UID")
	}
}

func TestNoProposalWhereAFreshPodCannotHelp(t *testing.T) {
	waiting := func(reason string) func(*world) {
		return func(w *world) {
			w.zero.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
		}
	}
	for name, change := range map[string]func(*world){
		"missing key":       waiting("CreateContainerConfigError"),
		"image not found":   waiting("ImagePullBackOff"),
		"crashing":          waiting("CrashLoopBackOff"),
		"not scheduled yet": func(w *world) { w.zero.Spec.NodeName = "" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			change(w)
			if proposal, finding := w.run(t); proposal != nil || len(finding.Status.Proposals) != 0 {
				t.Errorf("proposed %+v", proposal.Spec)
			}
		})
	}
}

func TestLayersShowInTheStanding(t *testing.T) {
	flux := map[string]string{"kustomize.toolkit.fluxcd.io/name": "shop"}
	for name, test := range map[string]struct {
		change func(*world)
		layer  policy.Layer
	}{
		"managed target":      {func(w *world) { w.zero.Labels = flux }, policy.GitOpsManaged},
		"managed controller":  {func(w *world) { w.set.Labels = flux }, policy.GitOpsManaged},
		"protected namespace": {func(w *world) { w.namespace.Labels = map[string]string{"srenix.io/protected": "true"} }, policy.NamespaceProtection},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			test.change(w)
			proposal, _ := w.run(t)
			if proposal.Status.Phase != v1alpha1.ProposalBlocked || proposal.Status.Conditions[0].Status != metav1.ConditionFalse {
				t.Errorf("phase %s, condition %+v", proposal.Status.Phase, proposal.Status.Conditions)
			}
			denied := slices.IndexFunc(proposal.Status.Verdicts, func(v v1alpha1.Verdict) bool { return v.Result == v1alpha1.VerdictDenied })
			if denied < 0 || proposal.Status.Verdicts[denied].Layer != string(test.layer) {
				t.Errorf("verdicts %+v, want %s to deny", proposal.Status.Verdicts, test.layer)
			}
		})
	}
}

func TestStoredApprovalsShowInThePhase(t *testing.T) {
	standing, _ := newWorld().run(t)
	for name, test := range map[string]struct {
		decision v1alpha1.Decision
		phase    opsv1alpha1.ApprovalPhase
		digest   string
		want     v1alpha1.ProposalPhase
	}{
		"just stored":                 {v1alpha1.DecisionApprove, "", standing.Spec.Digest, v1alpha1.ProposalApproved},
		"being executed":              {v1alpha1.DecisionApprove, opsv1alpha1.PhaseExecuting, standing.Spec.Digest, v1alpha1.ProposalApproved},
		"executed":                    {v1alpha1.DecisionApprove, opsv1alpha1.PhaseSucceeded, standing.Spec.Digest, v1alpha1.ProposalExecuted},
		"failed":                      {v1alpha1.DecisionApprove, opsv1alpha1.PhaseFailed, standing.Spec.Digest, v1alpha1.ProposalOpen},
		"refused by policy":           {v1alpha1.DecisionApprove, opsv1alpha1.PhaseDenied, standing.Spec.Digest, v1alpha1.ProposalOpen},
		"a no that the chain has not": {v1alpha1.DecisionDeny, opsv1alpha1.PhaseDenied, standing.Spec.Digest, v1alpha1.ProposalOpen},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.approvals = []*opsv1alpha1.Approval{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "approval-1", CreationTimestamp: metav1.NewTime(now)},
				Spec: opsv1alpha1.ApprovalSpec{
					Decision: test.decision, Token: "secret",
					Proposal: opsv1alpha1.ProposalReference{Name: standing.Name, UID: standing.UID, Digest: test.digest},
				},
				Status: opsv1alpha1.ApprovalStatus{Phase: test.phase, Approver: "alice"},
			}}
			proposal, _ := w.run(t)
			if proposal.Status.Phase != test.want {
				t.Errorf("phase %s, want %s", proposal.Status.Phase, test.want)
			}
		})
	}
}

// Who approved looks at the proposal for why nothing happens.
func TestAnApprovedProposalSaysWhatItWaitsFor(t *testing.T) {
	standing, _ := newWorld().run(t)
	waits := opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhasePending, Message: "in words", Conditions: []metav1.Condition{
		{Type: opsv1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: "BreakerOpen"},
	}}
	under := func(phase opsv1alpha1.ApprovalPhase) opsv1alpha1.ApprovalStatus {
		return opsv1alpha1.ApprovalStatus{Phase: phase}
	}
	for name, test := range map[string]struct {
		all  []opsv1alpha1.ApprovalStatus
		want string
	}{
		"held back":                 {[]opsv1alpha1.ApprovalStatus{waits}, "it is approved, and waits: BreakerOpen, see approvals.ops.srenix.io approval-0"},
		"held back after a new one": {[]opsv1alpha1.ApprovalStatus{under(opsv1alpha1.PhasePending), waits}, "it is approved, and waits: BreakerOpen, see approvals.ops.srenix.io approval-1"},
		"just stored":               {[]opsv1alpha1.ApprovalStatus{under("")}, "it is approved, and being carried out"},
		"another of it is at work":  {[]opsv1alpha1.ApprovalStatus{waits, under(opsv1alpha1.PhaseExecuting)}, "it is approved, and being carried out"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			for i, status := range test.all {
				w.approvals = append(w.approvals, &opsv1alpha1.Approval{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("approval-", i), CreationTimestamp: metav1.NewTime(now)},
					Spec: opsv1alpha1.ApprovalSpec{
						Decision: v1alpha1.DecisionApprove, Token: "secret",
						Proposal: opsv1alpha1.ProposalReference{Name: standing.Name, UID: standing.UID, Digest: standing.Spec.Digest},
					},
					Status: status,
				})
			}
			proposal, _ := w.run(t)
			if approvable := meta.FindStatusCondition(proposal.Status.Conditions, v1alpha1.ConditionApprovable); approvable == nil || approvable.Message != test.want {
				t.Errorf("condition %v, want %q", approvable, test.want)
			}
		})
	}
}

// Nobody has to look elsewhere for why a yes came to nothing.
func TestAProposalSaysWhyNothingWasDoneForItsLastApproval(t *testing.T) {
	standing, _ := newWorld().run(t)
	for phase, why := range map[opsv1alpha1.ApprovalPhase]string{
		opsv1alpha1.PhaseDenied: "pods are not deleted here", opsv1alpha1.PhaseFailed: "pods are not deleted here",
		opsv1alpha1.PhaseSucceeded: "", opsv1alpha1.PhasePending: "",
	} {
		w := newWorld()
		w.approvals = []*opsv1alpha1.Approval{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "approval-1", CreationTimestamp: metav1.NewTime(now)},
			Spec: opsv1alpha1.ApprovalSpec{
				Decision: v1alpha1.DecisionApprove,
				Proposal: opsv1alpha1.ProposalReference{Name: standing.Name, UID: standing.UID, Digest: standing.Spec.Digest},
			},
			Status: opsv1alpha1.ApprovalStatus{Phase: phase, Approver: "alice", Message: "pods are not deleted here"},
		}}
		proposal, _ := w.run(t)
		if have := proposal.Status.Approvals[0].Message; have != why {
			t.Errorf("%s: the decision says %q, want %q", phase, have, why)
		}
		said := proposal.Status.Conditions[0].Message
		if told := strings.HasSuffix(said, "nothing was done for the last one, approval-1: pods are not deleted here"); told != (why != "") {
			t.Errorf("%s: the condition says %q", phase, said)
		}
	}
}

func TestAProposalThatNeedsAnotherPersonSaysFromWhen(t *testing.T) {
	standing, _ := newRunbookWorld(t).run(t)
	w := newRunbookWorld(t)
	w.approvals = []*opsv1alpha1.Approval{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "approval-1", CreationTimestamp: metav1.NewTime(now)},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: v1alpha1.DecisionApprove,
			Proposal: opsv1alpha1.ProposalReference{Name: standing.Name, UID: standing.UID, Digest: standing.Spec.Digest},
		},
		Status: opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhaseAwaitingSecondApproval, Approver: "alice"},
	}}
	proposal, _ := w.run(t)
	want := "another person can approve from " + now.Add(config.DefaultApprovalInterval).UTC().Format(time.RFC3339) + " on"
	if said := proposal.Status.Conditions[0].Message; proposal.Status.Phase != v1alpha1.ProposalAwaitingApproval || !strings.Contains(said, want) {
		t.Errorf("the proposal is %s: %s", proposal.Status.Phase, said)
	}
}

// A person's no counts by the audit chain alone, whatever becomes of its Approval.
func TestARecordedNoShowsInThePhase(t *testing.T) {
	standing, _ := newWorld().run(t)
	for name, test := range map[string]struct {
		digest string
		kind   opsv1alpha1.AuditType
		want   v1alpha1.ProposalPhase
	}{
		"of this digest":      {standing.Spec.Digest, opsv1alpha1.AuditDenialRecorded, v1alpha1.ProposalDenied},
		"of another digest":   {"sha256:other", opsv1alpha1.AuditDenialRecorded, v1alpha1.ProposalOpen},
		"a refusal by policy": {standing.Spec.Digest, opsv1alpha1.AuditApprovalDenied, v1alpha1.ProposalOpen},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.cluster.Set(Recorded.Ref().Resource(), record("apiserver/a", test.kind, standing.UID, test.digest, now))
			proposal, _ := w.run(t)
			if proposal.Status.Phase != test.want {
				t.Errorf("phase %s, want %s", proposal.Status.Phase, test.want)
			}
			if shown := len(proposal.Status.Approvals); (shown == 1) != (test.want == v1alpha1.ProposalDenied) {
				t.Errorf("%d decisions are shown", shown)
			}
		})
	}
}

// The executor writes down who decided. Until then a no has the name that the chain has,
// and a yes has none: what its token says is not believed unseen.
func TestWhoDecidedIsToldByTheChainUntilTheStatusSaysIt(t *testing.T) {
	standing, _ := newWorld().run(t)
	w := newWorld()
	for name, decision := range map[string]v1alpha1.Decision{"gone": v1alpha1.DecisionDeny, "yes": v1alpha1.DecisionApprove} {
		w.approvals = append(w.approvals, &opsv1alpha1.Approval{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(now)},
			Spec: opsv1alpha1.ApprovalSpec{
				Decision: decision, Proposal: opsv1alpha1.ProposalReference{Name: standing.Name, UID: standing.UID, Digest: standing.Spec.Digest},
			},
		})
	}
	w.cluster.Set(Recorded.Ref().Resource(), record("apiserver/a", opsv1alpha1.AuditDenialRecorded, standing.UID, standing.Spec.Digest, now))
	proposal, _ := w.run(t)
	have := map[string]string{}
	for _, said := range proposal.Status.Approvals {
		have[said.Name] = said.Approver
	}
	if diff := cmp.Diff(map[string]string{"gone": "bob", "yes": ""}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

// However often somebody decides, a proposal stays small enough to be served.
func TestOnlyTheLastDecisionsAreShown(t *testing.T) {
	standing, _ := newWorld().run(t)
	w := newWorld()
	for i := range 3 * maximumSummaries {
		w.approvals = append(w.approvals, &opsv1alpha1.Approval{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("approval-%02d", i), CreationTimestamp: metav1.NewTime(now.Add(time.Duration(i) * time.Second))},
			Spec: opsv1alpha1.ApprovalSpec{
				Decision: v1alpha1.DecisionApprove,
				Proposal: opsv1alpha1.ProposalReference{Name: standing.Name, UID: standing.UID, Digest: standing.Spec.Digest},
			},
			Status: opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhaseFailed, Approver: "alice"},
		})
	}
	proposal, _ := w.run(t)
	shown := proposal.Status.Approvals
	if len(shown) != maximumSummaries || shown[0].Name != "approval-40" || shown[maximumSummaries-1].Name != "approval-59" {
		t.Errorf("shown are %+v", shown)
	}
}

func record(component string, kind opsv1alpha1.AuditType, proposal types.UID, digest string, at time.Time) *opsv1alpha1.AuditEvent {
	return &opsv1alpha1.AuditEvent{
		ObjectMeta: metav1.ObjectMeta{Name: at.Format(time.RFC3339) + "-" + string(proposal), Labels: map[string]string{audit.LabelType: string(kind)}},
		Spec: opsv1alpha1.AuditEventSpec{Component: component, Type: kind, Time: metav1.NewMicroTime(at), References: opsv1alpha1.AuditReferences{
			Approval: "gone", Approver: "bob", ProposalUID: proposal, Digest: digest,
		}},
	}
}

func TestNamesAreSafeAndBounded(t *testing.T) {
	long := analyzers.Name([]string{"reason", string(make([]byte, 400))}, "x")
	if len(long) > 253 {
		t.Errorf("a name of %d bytes", len(long))
	}
	if have := analyzers.Name([]string{"Wildcard", "system:Größe_x"}, "x"); have[:len(have)-11] != "wildcard-system-gr--e-x" {
		t.Errorf("have %s", have)
	}
	if analyzers.Name([]string{"a"}, "x", "y") == analyzers.Name([]string{"a"}, "xy") {
		t.Error("two identities share a name")
	}
}

func TestASilenceTakesBackNothingThatWasApproved(t *testing.T) {
	silence := &opsv1alpha1.Silence{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "known", UID: "known"},
		Spec: opsv1alpha1.SilenceSpec{Owner: "team", Reason: "known", Expires: metav1.NewTime(now.Add(time.Hour)),
			Match: opsv1alpha1.SilenceMatch{Analyzers: []string{workloadstatedrift.Name}}},
	}
	offered, _ := newWorld().run(t)
	for phase, stays := range map[opsv1alpha1.ApprovalPhase]bool{
		"none": false, "": true, opsv1alpha1.PhasePending: true, opsv1alpha1.PhaseExecuting: true, opsv1alpha1.PhaseAwaitingSecondApproval: true,
		opsv1alpha1.PhaseReleased: false, opsv1alpha1.PhaseSucceeded: false, opsv1alpha1.PhaseFailed: false, opsv1alpha1.PhaseDenied: false,
	} {
		t.Run(string(phase), func(t *testing.T) {
			w := newWorld()
			w.cluster.Set(silences.Silences.Ref().Resource(), silence)
			if phase != "none" {
				w.approvals = append(w.approvals, &opsv1alpha1.Approval{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", CreationTimestamp: metav1.NewTime(now)},
					Spec: opsv1alpha1.ApprovalSpec{Decision: v1alpha1.DecisionApprove, Proposal: opsv1alpha1.ProposalReference{
						Name: offered.Name, UID: offered.UID, Digest: offered.Spec.Digest,
					}},
					Status: opsv1alpha1.ApprovalStatus{Phase: phase, Approver: "alice"},
				})
			}
			proposal, finding := w.run(t)
			if (proposal != nil) != stays || finding.Status.SilencedBy != "known" {
				t.Errorf("there is a proposal: %t, want %t; silenced by %q", proposal != nil, stays, finding.Status.SilencedBy)
			}
		})
	}
}
