// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
)

// TestAnIntentThatArrivesDuringATakeover has the record of an intent on its way
// for so long that another executor takes the approval over. The approval is not
// refused for its own intent, and the digest stays open for others.
func TestAnIntentThatArrivesDuringATakeover(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	w.heals = false
	jane := w.approve(approver)
	first, second := w.newProcess("executor-0"), w.newProcess("executor-1")
	claimed, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	second.updated = func(client.Object) {
		second.updated = nil
		close(claimed)
		<-goOn
	}
	first.deny = func(verb string, object client.Object, _ bool) error {
		if event, is := object.(*opsv1alpha1.AuditEvent); is && verb == "create" && event.Spec.Type == opsv1alpha1.AuditActionIntended {
			first.deny = nil
			w.pass(TakeoverAfter + time.Second)
			go func() {
				defer close(ended)
				_, _ = second.step(jane)
			}()
			<-claimed
		}
		return nil
	}
	_, _ = first.step(jane) // Whoever of the two loses says so; what counts is how it ends.
	close(goOn)
	<-ended
	second.run(jane)
	if got := w.get(jane).Status; got.Phase != opsv1alpha1.PhaseFailed || w.has(jane, opsv1alpha1.AuditApprovalDenied) {
		t.Errorf("it ended as %s: %s; want Failed, because nothing was done for its intent", got.Phase, got.Message)
	}
	joe := w.approve("joe@example.com")
	second.run(joe)
	if got := w.get(joe).Status; got.Phase != opsv1alpha1.PhaseSucceeded || len(w.acts) != 1 {
		t.Errorf("the next approval is %s (%s), after %v; want Succeeded and one action", got.Phase, got.Message, w.acts)
	}
}

// TestAnIntentThatArrivesAfterTheEnd is one that nobody answers for any more: who
// wrote it is dead, and its approval has come to its end. The next approval of the
// digest settles it.
func TestAnIntentThatArrivesAfterTheEnd(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	w.heals = false
	jane := w.approve(approver)
	w.pass(time.Hour)
	p := w.newProcess("executor-0")
	p.run(jane)
	if got := w.get(jane).Status.Phase; got != opsv1alpha1.PhaseExpired {
		t.Fatalf("it is %s, want Expired", got)
	}
	entry := p.entry(jane, opsv1alpha1.AuditActionIntended, "", nil, approver)
	entry.Intent = &opsv1alpha1.AuditIntent{}
	if _, err := p.chain.Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	joe := w.approve("joe@example.com")
	p.run(joe)
	if got := w.get(joe).Status; got.Phase != opsv1alpha1.PhaseSucceeded || !w.has(jane, opsv1alpha1.AuditActionFailed) {
		t.Errorf("the next approval is %s (%s); want Succeeded, after it was recorded that nothing came of the intent: %v", got.Phase, got.Message, w.audited(jane))
	}
}

// withdraw deletes an approval that a finalizer keeps.
func (w *world) withdraw(approval *opsv1alpha1.Approval) {
	w.t.Helper()
	change(w, w.get(approval), func(a *opsv1alpha1.Approval) { a.Finalizers = []string{"example.com/wait"} })
	if err := w.store.Delete(w.t.Context(), w.get(approval)); err != nil {
		w.t.Fatal(err)
	}
}

func TestAWithdrawnApprovalIsNotCarriedOutByWhoTakesItOver(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval := w.approve(approver)
	first, second := w.newProcess("executor-0"), w.newProcess("executor-1")
	first.updated = func(client.Object) { first.dead = true }
	first.run(approval)
	if got := w.get(approval).Status.Phase; got != opsv1alpha1.PhaseExecuting {
		t.Fatalf("it is %q, want claimed", got)
	}
	w.withdraw(approval)
	second.run(approval)
	if got := w.get(approval).Status; got.Phase != opsv1alpha1.PhaseDenied || len(w.acts) != 0 {
		t.Errorf("it is %s (%s), and these actions were done: %v; want Denied and none", got.Phase, got.Message, w.acts)
	}
}

func TestAWithdrawnApprovalDoesNotCountForAnother(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	w.config.Policy.Approvers = map[srenix.ActionKind]int32{srenix.ActionDeletePod: 2}
	p := w.newProcess("executor-0")
	jane := w.approve(approver)
	p.run(jane)
	w.withdraw(jane)
	w.pass(interval)
	joe := w.approve("joe@example.com")
	p.run(joe)
	if got := w.get(joe).Status; got.Phase != opsv1alpha1.PhaseAwaitingSecondApproval || len(w.acts) != 0 {
		t.Errorf("the other one is %s (%s), and these actions were done: %v; want to await another and none", got.Phase, got.Message, w.acts)
	}
	p.run(jane)
	if got := w.get(jane).Status.Phase; got != opsv1alpha1.PhaseDenied {
		t.Errorf("the one that was withdrawn is %s, want Denied", got)
	}
}

// approveAnother approves what another finding of the same target proposes.
func (w *world) approveAnother(user string) *opsv1alpha1.Approval {
	w.t.Helper()
	w.proposal = w.proposal.DeepCopy()
	w.proposal.Name, w.proposal.UID, w.proposal.ResourceVersion = "another", "another-uid", ""
	var err error
	if w.proposal.Spec.Digest, err = digest.Proposal(w.proposal.Namespace, w.proposal.Name, w.proposal.UID, &w.proposal.Spec); err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Create(w.t.Context(), w.proposal.DeepCopy()); err != nil {
		w.t.Fatal(err)
	}
	w.pass(time.Second)
	return w.approve(user)
}

// TestATargetIsLeftToOneActionUntilItIsVerified has two findings of one Deployment
// propose the same.
func TestATargetIsLeftToOneActionUntilItIsVerified(t *testing.T) {
	w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
	w.heals = false
	p := w.newProcess("executor-0")
	one := w.approve(approver)
	two := w.approveAnother(approver)
	for _, approval := range []*opsv1alpha1.Approval{one, two} {
		if _, err := p.step(approval); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.get(two).Status; len(w.acts) != 1 || got.Phase != opsv1alpha1.PhasePending || got.Approver != approver || !strings.Contains(got.Message, one.Name) {
		t.Errorf("while the first is not verified, the second is %s (%s) of %q, after %v; want Pending, naming the first, of its approver, and one action", got.Phase, got.Message, got.Approver, w.acts)
	}
	p.run(one)
	p.run(two)
	if got := w.get(two).Status; len(w.acts) != 2 || got.Phase != opsv1alpha1.PhaseSucceeded {
		t.Errorf("then the second is %s (%s), after %v; want Succeeded and two actions", got.Phase, got.Message, w.acts)
	}
}

// TestATargetIsLeftToAClaimWhoseIntentItsStatusLacks has the executor die between
// the intent in the chain and its name in the status. The next one begins with
// another approval of the same target.
func TestATargetIsLeftToAClaimWhoseIntentItsStatusLacks(t *testing.T) {
	for _, kind := range []srenix.ActionKind{srenix.ActionDeletePod, srenix.ActionPatchDeploymentAnnotation} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t, kind)
			w.heals = false
			one, first, second := w.approve(approver), w.newProcess("executor-0"), w.newProcess("executor-1")
			first.deny = func(verb string, _ client.Object, _ bool) error {
				if verb == "update" && w.has(one, opsv1alpha1.AuditActionIntended) {
					first.dead = true
					return errCrashed
				}
				return nil
			}
			first.run(one)
			if execution := w.get(one).Status.Execution; !first.dead || execution == nil || execution.Intent != "" {
				t.Fatalf("execution %+v, and the first executor dead: %t; want a claim without an intent", execution, first.dead)
			}
			two := w.approveAnother(approver)
			second.run(two)
			if got := w.get(two).Status; len(w.acts) != 0 || got.Phase != opsv1alpha1.PhasePending || !strings.Contains(got.Message, one.Name) {
				t.Errorf("the second is %s (%s), after %v; want Pending, naming the first, and no action", got.Phase, got.Message, w.acts)
			}
			second.run(one)
			w.checkOnce(one)
			second.run(two)
			if got := w.get(two).Status; len(w.acts) != 1 || got.Phase != opsv1alpha1.PhaseSucceeded {
				t.Errorf("then the second is %s (%s), after %v; want Succeeded and one action", got.Phase, got.Message, w.acts)
			}
		})
	}
}

// TestOfTwoClaimsTheYoungerApprovalsGivesWay has two executors claim approvals of
// one target in the same moment, and lets them look in either order, or another
// one find both dead.
func TestOfTwoClaimsTheYoungerApprovalsGivesWay(t *testing.T) {
	for name, identities := range map[string][2]string{"alive": {"executor-0", "executor-1"}, "dead": {"executor-8", "executor-9"}} {
		for _, youngerFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/younger first %t", name, youngerFirst), func(t *testing.T) {
				w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
				w.heals = false
				older, younger := w.approve(approver), w.approveAnother(approver)
				for i, approval := range []*opsv1alpha1.Approval{older, younger} {
					claimed := w.get(approval)
					claimed.Status.Phase = opsv1alpha1.PhaseExecuting
					// By its claim the younger one would come first, with a clock that is behind.
					claimed.Status.Execution = &opsv1alpha1.ExecutionRecord{Executor: identities[i], ClaimedAt: metav1.NewMicroTime(w.clock.Now().Add(time.Duration(-i) * time.Second))}
					if err := w.store.Status().Update(t.Context(), claimed); err != nil {
						t.Fatal(err)
					}
				}
				w.pass(TakeoverAfter)
				processes := map[*opsv1alpha1.Approval]*process{older: w.newProcess("executor-0"), younger: w.newProcess("executor-1")}
				order := []*opsv1alpha1.Approval{older, younger}
				if youngerFirst {
					order = []*opsv1alpha1.Approval{younger, older}
				}
				for _, approval := range order {
					if _, err := processes[approval].step(approval); err != nil {
						t.Fatal(err)
					}
				}
				if got := w.get(younger).Status; got.Phase != opsv1alpha1.PhasePending || got.Execution != nil || !strings.Contains(got.Message, older.Name) {
					t.Errorf("the younger is %s (%s) with %+v; want Pending, naming the older, and nobody's claim", got.Phase, got.Message, got.Execution)
				}
				if acted := len(w.acts); acted == 1 != youngerFirst {
					t.Errorf("acted %d times: the older one has to wait until the claim is given back, and no longer", acted)
				}
				processes[older].run(older)
				processes[younger].run(younger)
				for _, approval := range order {
					if got := w.get(approval).Status; got.Phase != opsv1alpha1.PhaseSucceeded || len(w.acts) != 2 {
						t.Errorf("in the end one is %s (%s), after %v; want Succeeded and two actions", got.Phase, got.Message, w.acts)
					}
				}
			})
		}
	}
}

func TestAClockThatIsAheadHoldsUpNobody(t *testing.T) {
	w := newWorld(t, srenix.ActionDeletePod)
	approval := w.approve(approver)
	claimed := w.get(approval)
	claimed.Status.Phase = opsv1alpha1.PhaseExecuting
	claimed.Status.Execution = &opsv1alpha1.ExecutionRecord{Executor: "executor-9", ClaimedAt: metav1.NewMicroTime(w.clock.Now().Add(20 * time.Minute))}
	if err := w.store.Status().Update(t.Context(), claimed); err != nil {
		t.Fatal(err)
	}
	began := w.clock.Now()
	w.newProcess("executor-0").run(approval)
	if got := w.get(approval).Status; got.Phase != opsv1alpha1.PhaseSucceeded {
		t.Errorf("it is %s (%s) after %s, want Succeeded", got.Phase, got.Message, w.clock.Now().Sub(began))
	}
}
