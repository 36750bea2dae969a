// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// The replicas of the apiserver.
const (
	replicaA = "a"
	replicaB = "b"
)

// unlimited lets runs be interrupted by others as often as they like.
const unlimited = -1

// scenario is what people do, and what may go wrong how often meanwhile.
type scenario struct {
	name      string
	kind      srenix.ActionKind
	executors int
	// script is what people do, each part once and when what it needs is done, or
	// never; prologue are the parts that were done before.
	script   []personal
	prologue []string
	events   []event
	// crashes of any process, and requests that fail.
	crashes, failures int
	// switches away from a process that could go on.
	switches int
	// revokes tells that the approver's rights may go.
	revokes bool
	// two tells that two people have to approve it, because it is configured so, and
	// idle that nothing is ever carried out.
	two, idle bool
	configure func(*config.SrenixConfiguration)
	// short scenarios are walked through with -short, too.
	short bool
	// states are how many come about at least; with -short, leastStates do. Where
	// fewer do, something keeps things from happening, and the rest proves little.
	states int
}

// personal is one request of a person to a replica of the apiserver.
type personal struct {
	name, replica string
	// after must have gone well before; with is the one that minted the token.
	after []string
	with  string
	// another tells that it is about the other proposal for the same target.
	another bool
	ask     func(p *replica, with minted) (*minted, error)
}

func mints(name, at, who string, decision srenix.Decision) personal {
	return personal{name: name, replica: at, ask: func(p *replica, _ minted) (*minted, error) { return p.mint(who, decision) }}
}

func approves(name, at, who, with string) personal {
	return decides(name, at, who, srenix.DecisionApprove, with)
}

func denies(name, at, who, with string) personal {
	return decides(name, at, who, srenix.DecisionDeny, with)
}

func decides(name, at, who string, decision srenix.Decision, with string) personal {
	return personal{name: name, replica: at, after: []string{with}, with: with, ask: func(p *replica, with minted) (*minted, error) {
		return nil, p.decide(who, decision, with)
	}}
}

// onAnother makes it about the other proposal for the same target.
func (p personal) onAnother() personal {
	p.another = true
	return p
}

// applies is somebody who stores the Approval itself, with the webhook in the way.
func applies(name, at, with string) personal {
	return personal{name: name, replica: at, after: []string{with}, with: with, ask: func(p *replica, with minted) (*minted, error) {
		return nil, p.apply("argocd", with)
	}}
}

// event is something that happens at once, at most so many times. It tells
// whether it can.
type event struct {
	name   string
	times  int
	happen func(e *explorer, p *position) bool
}

func clockMoves(by time.Duration, times int) event {
	return event{"the clock moves by " + by.String(), times, func(_ *explorer, p *position) bool {
		p.clock = p.clock.Add(by)
		p.disturbed = true
		p.opposed = p.opposed || by >= expires
		return true
	}}
}

// goesAround stores an Approval with the webhook out of the way: somebody has
// deleted its configuration.
func goesAround(with string, decision srenix.Decision, times int) event {
	return event{"an Approval is written past the webhook: " + with, times, func(e *explorer, p *position) bool {
		minted := p.tokens[e.number(with)]
		if minted == nil || p.approval(token.ApprovalName(minted.jti)) != nil {
			return false
		}
		approval := e.cluster.approval(decision, *minted)
		asked := &request{verb: verbCreate, resource: "approvals", namespace: approval.Namespace, name: approval.Name, object: approval}
		_, change := asked.serve(p.stored, p.clock, p.rights)
		p.stored = p.stored.put(change)
		return true
	}}
}

// deletes removes the Approval that goes with a token.
func deletes(with string, times int) event {
	return event{"the Approval is deleted: " + with, times, func(e *explorer, p *position) bool {
		minted := p.tokens[e.number(with)]
		if minted == nil || p.approval(token.ApprovalName(minted.jti)) == nil {
			return false
		}
		p.stored = p.stored.remove(keyFor("approvals", "shop", token.ApprovalName(minted.jti)))
		return true
	}}
}

func rightsGo() event {
	return event{"the approvers lose their rights", 1, func(_ *explorer, p *position) bool {
		p.rights, p.opposed = false, true
		return true
	}}
}

// rightsReturn happens between runs: one in the middle may see them either way.
func rightsReturn() event {
	return event{"the approvers get their rights back", 1, func(_ *explorer, p *position) bool {
		if p.rights || p.firstBusy() >= 0 {
			return false
		}
		p.rights = true
		return true
	}}
}

// heals makes the finding go away, and the proposal with it.
func heals() event {
	return event{"the finding clears", 1, func(e *explorer, p *position) bool {
		if p.stored.get(keyOf(e.cluster.proposal)) == nil {
			return false
		}
		p.stored = p.stored.remove(keyOf(e.cluster.proposal)).remove(keyOf((&world{}).finding()))
		p.opposed = true
		return true
	}}
}

// comesBack gives the proposal another digest.
func comesBack() event {
	return event{"the finding comes back, and the proposal has another digest", 1, func(e *explorer, p *position) bool {
		p.stored = p.stored.store(e.cluster.later())
		p.opposed = true
		return true
	}}
}

// comesBackAsItWas is the same episode once more: who took the finding away had
// seen too little, and its proposal is what it was before. It happens between
// runs: one in the middle may see it either way.
func comesBackAsItWas() event {
	return event{"the finding comes back, and the proposal as it was", 1, func(e *explorer, p *position) bool {
		if p.stored.get(keyOf(e.cluster.proposal)) != nil || p.firstBusy() >= 0 {
			return false
		}
		p.stored = p.stored.store(e.cluster.proposal.DeepCopy()).store((&world{}).finding())
		return true
	}}
}

// changesTarget lets somebody else change the target.
func changesTarget(name string, change func(target client.Object) client.Object) event {
	return event{name, 1, func(e *explorer, p *position) bool {
		stored := p.stored.get(keyOf(newTarget(e.kind)))
		if stored == nil {
			return false
		}
		p.meddled, p.opposed = true, true
		if changed := change(stored.object.DeepCopyObject().(client.Object)); changed != nil {
			p.stored = p.stored.store(changed)
		} else {
			p.stored = p.stored.remove(stored.key)
		}
		return true
	}}
}

// replaced deletes the target and makes another one of its name.
func replaced() event {
	return changesTarget("the target is replaced", func(target client.Object) client.Object {
		target.SetUID("another-uid")
		target.SetDeletionTimestamp(nil)
		if deployment, is := target.(*appsv1.Deployment); is {
			deployment.Spec.Template.Annotations = nil
		}
		return target
	})
}

func vanishes() event {
	return changesTarget("the target goes", func(client.Object) client.Object { return nil })
}

// touched changes the resourceVersion of the target, and nothing that matters.
func touched() event {
	return changesTarget("the target is touched", func(target client.Object) client.Object {
		target.SetLabels(map[string]string{"touched": "true"})
		return target
	})
}

// restartedByHand overwrites what the executor writes.
func restartedByHand() event {
	return changesTarget("somebody restarts the Deployment by hand", func(target client.Object) client.Object {
		deployment := target.(*appsv1.Deployment)
		metav1.SetMetaDataAnnotation(&deployment.Spec.Template.ObjectMeta, policy.RestartedAtAnnotation, "2026-03-01T13:14:15Z")
		deployment.Generation++
		return deployment
	})
}
