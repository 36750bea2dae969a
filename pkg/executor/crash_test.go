// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/policy"
)

// actingKinds are one for each way in which an action is looked for. The other
// deletions differ from that of a Pod in their type alone.
var actingKinds = []srenix.ActionKind{srenix.ActionDeletePod, srenix.ActionPatchDeploymentAnnotation, srenix.ActionPatchIngressTLS}

// checkOnce checks what must hold at the end, wherever anybody crashed: at most
// one action, and an approval that tells the truth about it.
func (w *world) checkOnce(approval *opsv1alpha1.Approval) {
	w.t.Helper()
	status := w.get(approval).Status
	executed := meta.IsStatusConditionTrue(status.Conditions, opsv1alpha1.ConditionExecuted)
	switch len(w.acts) {
	case 0:
		if executed || status.Phase != opsv1alpha1.PhaseFailed || !w.has(approval, opsv1alpha1.AuditActionFailed) || w.has(approval, opsv1alpha1.AuditActionDone) {
			w.t.Errorf("nothing was done, and the approval says %s, Executed=%t, audit %v", status.Phase, executed, w.audited(approval))
		}
	case 1:
		if !executed || status.Phase != opsv1alpha1.PhaseSucceeded || !w.has(approval, opsv1alpha1.AuditActionDone) {
			w.t.Errorf("it was acted on, and the approval says %s, Executed=%t, audit %v", status.Phase, executed, w.audited(approval))
		}
	default:
		w.t.Errorf("acted %d times: %v", len(w.acts), w.acts)
	}
	if len(w.acts) > 0 && !w.has(approval, opsv1alpha1.AuditActionIntended) {
		w.t.Error("acted without an intent")
	}
	if !completed(&opsv1alpha1.Approval{Status: status}) {
		w.t.Errorf("the approval is not at its end: %+v", status)
	}
}

// callsOf counts the calls that an undisturbed execution makes in a new world.
func callsOf(t *testing.T, newWorld func(*testing.T, srenix.ActionKind) *world, kind srenix.ActionKind) int {
	t.Helper()
	w := newWorld(t, kind)
	approval, only := w.approve(approver), w.newProcess("executor-0")
	only.run(approval)
	w.checkOnce(approval)
	if len(w.acts) != 1 {
		t.Fatalf("undisturbed, it acted %d times: %+v", len(w.acts), w.get(approval).Status)
	}
	if !meta.IsStatusConditionTrue(w.get(approval).Status.Conditions, opsv1alpha1.ConditionVerified) {
		t.Fatalf("undisturbed, it was not verified: %+v", w.get(approval).Status)
	}
	return only.calls
}

// TestMintingCostsAnExecutionNothing has somebody mint tokens for the same proposal, which
// takes no right to do anything with them.
func TestMintingCostsAnExecutionNothing(t *testing.T) {
	const minted = 300
	undisturbed := callsOf(t, newWorld, srenix.ActionDeletePod)
	disturbed := callsOf(t, func(t *testing.T, kind srenix.ActionKind) *world {
		w := newWorld(t, kind)
		chain := audit.NewChain(w.store, "apiserver/a", w.clock, io.Discard)
		for i := range minted {
			_, err := chain.Append(t.Context(), audit.Entry{Actor: "mallory", Type: opsv1alpha1.AuditTokenMinted, Message: "a token", References: opsv1alpha1.AuditReferences{
				Namespace: w.proposal.Namespace, Proposal: w.proposal.Name, ProposalUID: w.proposal.UID, Digest: w.proposal.Spec.Digest,
				Approver: approver, JTI: fmt.Sprintf("%032x", i), DiagnosticClass: w.proposal.Spec.DiagnosticClass,
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		return w
	}, srenix.ActionDeletePod)
	if disturbed > undisturbed+minted/10 { // to find the end of a longer chain
		t.Errorf("%d calls, and %d where %d tokens were minted", undisturbed, disturbed, minted)
	}
}

// newListingWorld has executors list the chain, as they do while it is not indexed. That
// takes fewer calls, so that there are fewer moments for two executors to meet at.
func newListingWorld(t *testing.T, kind srenix.ActionKind) *world {
	t.Helper()
	w := newWorld(t, kind)
	w.lists = true
	return w
}

// TestActsAtMostOnceWhereverItCrashes kills the executor at each of its calls,
// before the call and after it went through, and lets another one go on.
func TestActsAtMostOnceWhereverItCrashes(t *testing.T) {
	for _, kind := range actingKinds {
		calls := callsOf(t, newWorld, kind)
		for call := range calls {
			for _, answered := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/call %d/went through %t", kind, call, answered), func(t *testing.T) {
					w := newWorld(t, kind)
					approval := w.approve(approver)
					first := w.newProcess("executor-0")
					first.dieAt, first.answered = call, answered
					first.run(approval)
					if !first.dead {
						t.Fatalf("call %d was never made", call)
					}
					intended := w.has(approval, opsv1alpha1.AuditActionIntended)
					w.newProcess("executor-1").run(approval)
					w.checkOnce(approval)
					if !intended && len(w.acts) != 1 {
						t.Error("no intent had been recorded, and the approval was not carried out")
					}
				})
			}
		}
	}
}

// TestActsAtMostOnceWithASecondExecutor stops one executor before each of its
// calls, lets another one do all it can meanwhile, for as long as it likes, and
// then lets the first one go on.
func TestActsAtMostOnceWithASecondExecutor(t *testing.T) {
	for _, kind := range actingKinds {
		calls := callsOf(t, newListingWorld, kind)
		for call := range calls {
			for _, meanwhile := range []time.Duration{0, TakeoverAfter + time.Second, SettleAfter + time.Second} {
				t.Run(fmt.Sprintf("%s/call %d/after %s", kind, call, meanwhile), func(t *testing.T) {
					w := newListingWorld(t, kind)
					approval := w.approve(approver)
					first, second := w.newProcess("executor-0"), w.newProcess("executor-1")
					first.pauseAt, first.pause = call, func() {
						w.pass(meanwhile)
						second.run(approval)
					}
					first.run(approval)
					second.run(approval)
					w.checkOnce(approval)
				})
			}
		}
	}
}

// TestActsAtMostOnceForADigest lets two people approve the same proposal, and an
// executor each carry it out, one stopped before each of its calls.
func TestActsAtMostOnceForADigest(t *testing.T) {
	for _, kind := range actingKinds {
		calls := callsOf(t, newListingWorld, kind)
		for call := range calls {
			t.Run(fmt.Sprintf("%s/call %d", kind, call), func(t *testing.T) {
				w := newListingWorld(t, kind)
				w.heals = false
				one, other := w.approve(approver), w.approve("joe@example.com")
				first, second := w.newProcess("executor-0"), w.newProcess("executor-1")
				first.pauseAt, first.pause = call, func() { second.run(other) }
				first.run(one)
				for range 3 {
					w.pass(waitRetry)
					first.run(one)
					second.run(other)
				}
				if len(w.acts) > 1 {
					t.Errorf("acted %d times: %v", len(w.acts), w.acts)
				}
				for _, approval := range []*opsv1alpha1.Approval{one, other} {
					if stored := w.get(approval); !completed(stored) {
						t.Errorf("an approval is not at its end: %+v", stored.Status)
					}
				}
			})
		}
	}
}

func TestARecreatedApprovalDoesNotActAgain(t *testing.T) {
	for name, wipe := range map[string]func(*world, *opsv1alpha1.Approval){
		"deleted and applied again": func(w *world, approval *opsv1alpha1.Approval) {
			if err := w.store.Delete(w.t.Context(), w.get(approval)); err != nil {
				w.t.Fatal(err)
			}
			again := approval.DeepCopy()
			again.ResourceVersion, again.UID = "", "another-uid"
			if err := w.store.Create(w.t.Context(), again); err != nil {
				w.t.Fatal(err)
			}
		},
		"status wiped": func(w *world, approval *opsv1alpha1.Approval) {
			stored := w.get(approval)
			stored.Status = opsv1alpha1.ApprovalStatus{}
			if err := w.store.Status().Update(w.t.Context(), stored); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
			approval := w.approve(approver)
			w.newProcess("executor-0").run(approval)
			wipe(w, approval)
			w.newProcess("executor-1").run(approval)
			w.checkOnce(approval)
		})
	}
}

// stoppedAfterIntent is a world in which the executor stopped between its intent
// and the result, right before its action or right after it.
func stoppedAfterIntent(t *testing.T, kind srenix.ActionKind, acted bool) (*world, *opsv1alpha1.Approval) {
	t.Helper()
	for call := range callsOf(t, newWorld, kind) {
		w := newWorld(t, kind)
		approval, first := w.approve(approver), w.newProcess("executor-0")
		first.dieAt, first.answered = call, true
		first.run(approval)
		if w.has(approval, opsv1alpha1.AuditActionIntended) && (len(w.acts) == 1) == acted {
			return w, approval
		}
	}
	t.Fatal("the executor cannot be stopped there")
	return nil, nil
}

func TestAnIntentWhoseApprovalWasDeletedIsSettledByTheNext(t *testing.T) {
	for _, kind := range actingKinds {
		for _, acted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/acted %t", kind, acted), func(t *testing.T) {
				w, deleted := stoppedAfterIntent(t, kind, acted)
				next := w.approve("joe@example.com")
				if err := w.store.Delete(t.Context(), w.get(deleted)); err != nil {
					t.Fatal(err)
				}
				w.newProcess("executor-1").run(next)
				want := opsv1alpha1.PhaseSucceeded
				if acted {
					want = opsv1alpha1.PhaseSuperseded
				}
				if have := w.get(next).Status; have.Phase != want {
					t.Errorf("the next approval is %s: %s; want %s", have.Phase, have.Message, want)
				}
				if len(w.acts) != 1 {
					t.Errorf("acted %d times: %v", len(w.acts), w.acts)
				}
				if w.has(deleted, opsv1alpha1.AuditActionDone) != acted || w.has(deleted, opsv1alpha1.AuditActionFailed) == acted {
					t.Errorf("the audit chain says of the deleted approval: %v", w.audited(deleted))
				}
			})
		}
	}
}

// Somebody else writes what the action does while the executor is away: whether it
// had done so before cannot be seen any more.
func TestWhatNobodyCanTellIsNotDoneAgain(t *testing.T) {
	for kind, overwrite := range map[srenix.ActionKind]func(*world){
		srenix.ActionPatchDeploymentAnnotation: func(w *world) {
			change(w, newTarget(srenix.ActionPatchDeploymentAnnotation).(*appsv1.Deployment), func(deployment *appsv1.Deployment) {
				metav1.SetMetaDataAnnotation(&deployment.Spec.Template.ObjectMeta, policy.RestartedAtAnnotation, "2026-03-01T13:14:15Z")
				deployment.Generation++
			})
		},
		srenix.ActionPatchIngressTLS: func(w *world) {
			change(w, newTarget(srenix.ActionPatchIngressTLS).(*networkingv1.Ingress), func(ingress *networkingv1.Ingress) {
				ingress.Spec.TLS[0].SecretName = "third-tls"
				ingress.Generation++
			})
		},
	} {
		for _, acted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/acted %t", kind, acted), func(t *testing.T) {
				w, approval := stoppedAfterIntent(t, kind, acted)
				overwrite(w)
				second := w.newProcess("executor-1")
				second.run(approval)
				have := w.get(approval).Status
				if have.Phase != opsv1alpha1.PhaseFailed || !w.has(approval, opsv1alpha1.AuditActionUnsettled) || !strings.Contains(have.Message, "changed by somebody meanwhile") {
					t.Errorf("the approval is %s: %s", have.Phase, have.Message)
				}
				next := w.approve("joe@example.com")
				second.run(next)
				if have := w.get(next).Status; have.Phase != opsv1alpha1.PhaseDenied || !strings.Contains(have.Message, "by hand") {
					t.Errorf("the next approval is %s: %s", have.Phase, have.Message)
				}
				if acted != (len(w.acts) == 1) {
					t.Errorf("acted %d times: %v", len(w.acts), w.acts)
				}
			})
		}
	}
}
