// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"time"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Times that make a difference: for a claim to be taken over, for an intent to
// be too old to act on, for it to be settled, for a token to expire, and between
// two approvals.
const (
	tookOver = TakeoverAfter + time.Second
	tooOld   = actWithin + time.Second
	settles  = SettleAfter + time.Second
	expires  = 16 * time.Minute
	interval = 31 * time.Minute
)

const (
	jane = approver
	joe  = "joe@example.com"
)

var (
	janeMints, janeApproves = mints("jane mints", replicaA, jane, srenix.DecisionApprove), approves("jane approves", replicaA, jane, "jane mints")
	joeMints, joeApproves   = mints("joe mints", replicaB, joe, srenix.DecisionApprove), approves("joe approves", replicaB, joe, "joe mints")
	janeMintsAgain          = mints("jane mints another", replicaB, jane, srenix.DecisionApprove)
	janeApprovesAgain       = approves("jane approves with another", replicaB, jane, "jane mints another")
	joeMintsNo, joeDenies   = mints("joe mints a no", replicaB, joe, srenix.DecisionDeny), denies("joe denies", replicaB, joe, "joe mints a no")

	janeApproved = []string{"jane mints", "jane approves"}
	bothApproved = []string{"jane mints", "joe mints", "jane approves", "joe approves"}
)

func scenarios() []scenario {
	const restart, deletePod = srenix.ActionPatchDeploymentAnnotation, srenix.ActionDeletePod
	return []scenario{{
		name: "one executor that crashes", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:  []event{clockMoves(tooOld, 1), clockMoves(settles, 1)},
		crashes: 2, switches: unlimited, short: true, states: 15000,
	}, {
		name: "one executor that crashes, deleting a Pod", kind: deletePod, executors: 1,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:  []event{clockMoves(tooOld, 1), clockMoves(settles, 1)},
		crashes: 2, switches: unlimited, short: true,
	}, {
		name: "requests that fail", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:   []event{clockMoves(settles, 1)},
		failures: 2, switches: unlimited, short: true,
	}, {
		name: "two executors", kind: restart, executors: 2,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:   []event{clockMoves(settles, 1)},
		switches: 2,
	}, {
		name: "two executors, deleting a Pod, crashes", kind: deletePod, executors: 2,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:  []event{clockMoves(tookOver, 1)},
		crashes: 1, switches: 1,
	}, {
		name: "two executors that stall", kind: restart, executors: 2,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:   []event{clockMoves(tookOver, 1), clockMoves(settles, 1)},
		switches: 2, states: 1300000,
	}, {
		name: "two executors that crash", kind: deletePod, executors: 2,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:  []event{clockMoves(tookOver, 1)},
		crashes: 1, switches: 2, states: 500000,
	}, {
		name: "two approvals of one digest", kind: restart, executors: 2,
		script: []personal{janeMints, joeMints, janeApproves, joeApproves}, prologue: bothApproved,
		switches: 2, states: 120000,
	}, {
		name: "two approvals of one digest, deleting a Pod", kind: deletePod, executors: 1,
		script: []personal{janeMints, joeMints, janeApproves, joeApproves}, prologue: bothApproved,
		events:  []event{clockMoves(settles, 1)},
		crashes: 2, switches: unlimited, states: 50000,
	}, {
		name: "an Approval is deleted around its action, and another one", kind: restart, executors: 1,
		script: []personal{janeMints, joeMints, janeApproves, joeApproves}, prologue: bothApproved,
		events:  []event{deletes("jane mints", 1), clockMoves(settles, 1)},
		crashes: 1, switches: unlimited, states: 30000,
	}, {
		name: "an Approval is deleted around its deletion of a Pod, and another one", kind: deletePod, executors: 1,
		script: []personal{janeMints, joeMints, janeApproves, joeApproves}, prologue: bothApproved,
		events:  []event{deletes("jane mints", 1), clockMoves(settles, 1)},
		crashes: 1, switches: unlimited, states: 30000,
	}, {
		name: "two findings of one target", kind: restart, executors: 1,
		script: []personal{janeMints, joeMints.onAnother(), janeApproves, joeApproves.onAnother()}, prologue: bothApproved,
		events:  []event{clockMoves(settles, 1)},
		crashes: 1, switches: unlimited, short: true, states: 9000,
	}, {
		name: "two findings of one Pod", kind: deletePod, executors: 1,
		script: []personal{janeMints, joeMints.onAnother(), janeApproves, joeApproves.onAnother()}, prologue: bothApproved,
		events:  []event{clockMoves(settles, 1)},
		crashes: 1, switches: unlimited, short: true, states: 9000,
	}, {
		name: "two findings of one Pod, two executors that stall", kind: deletePod, executors: 2,
		script: []personal{janeMints, joeMints.onAnother(), janeApproves, joeApproves.onAnother()}, prologue: bothApproved,
		events:   []event{clockMoves(tookOver, 1)},
		switches: 2, states: 700000,
	}, {
		name: "a token used twice", kind: restart, executors: 1,
		script: []personal{
			janeMints, janeApproves,
			approves("jane approves again", replicaB, jane, "jane mints"), applies("argocd applies", replicaB, "jane mints"),
		},
		prologue: []string{"jane mints"},
		events:   []event{deletes("jane mints", 1)},
		switches: 1, states: 100000,
	}, {
		name: "a token used again after its refusal", kind: restart, executors: 1,
		script:   []personal{janeMints, janeApproves, approves("jane approves again", replicaB, jane, "jane mints")},
		prologue: janeApproved,
		events:   []event{rightsGo(), rightsReturn()},
		crashes:  1, switches: 1, short: true,
	}, {
		name: "approving while requests fail", kind: restart, executors: 1,
		script:  []personal{janeMints, janeApproves, approves("jane approves again", replicaB, jane, "jane mints")},
		crashes: 1, failures: 1, switches: 0, states: 60000,
	}, {
		name: "a denial that races", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves, joeMintsNo, joeDenies}, prologue: []string{"jane mints", "joe mints a no"},
		events:   []event{goesAround("joe mints a no", srenix.DecisionDeny, 1)},
		switches: 2, short: true,
	}, {
		name: "a runbook", kind: srenix.ActionRunbook, executors: 1,
		script: []personal{janeMints, janeApproves, joeMints, joeApproves}, prologue: janeApproved,
		events:  []event{clockMoves(interval, 1)},
		crashes: 1, switches: 2, short: true,
	}, {
		name: "a runbook of which one approval is ended", kind: srenix.ActionRunbook, executors: 1,
		script: []personal{janeMints, janeApproves, joeMints, joeApproves}, prologue: janeApproved,
		events:  []event{clockMoves(interval, 1), heals(), comesBackAsItWas()},
		crashes: 1, switches: 0, short: true,
	}, {
		name: "past the webhook", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves}, prologue: []string{"jane mints"},
		events:   []event{goesAround("jane mints", srenix.DecisionApprove, 2), deletes("jane mints", 1)},
		switches: 2, states: 80000,
	}, {
		name: "a target that changes", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:  []event{heals(), comesBack(), replaced(), touched(), clockMoves(settles, 1)},
		crashes: 1, switches: unlimited,
	}, {
		name: "somebody restarts by hand", kind: restart, executors: 1,
		script: []personal{janeMints, joeMints, janeApproves, joeApproves}, prologue: bothApproved,
		events:  []event{restartedByHand(), clockMoves(settles, 1)},
		crashes: 1, switches: unlimited,
	}, {
		name: "a Pod that changes", kind: deletePod, executors: 1,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:  []event{replaced(), vanishes(), touched(), clockMoves(settles, 1)},
		crashes: 1, switches: unlimited,
	}, {
		name: "rights that go, tokens that expire", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves}, prologue: janeApproved,
		events:  []event{rightsGo(), clockMoves(tookOver, 1), clockMoves(expires, 1), deletes("jane mints", 1)},
		revokes: true, crashes: 1, switches: unlimited,
	}, {
		name: "a token that expires, and another one", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves, joeMints, joeApproves}, prologue: janeApproved,
		events:  []event{clockMoves(expires, 1)},
		crashes: 1, switches: 0,
	}, {
		name: "two approvers are needed", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves, joeMints, joeApproves}, prologue: []string{"jane mints"},
		events: []event{clockMoves(interval, 1)},
		two:    true, configure: twoApprovers,
		switches: 1,
	}, {
		name: "one of two is ended, and the proposal comes back", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves, joeMints, joeApproves}, prologue: janeApproved,
		events: []event{clockMoves(interval, 1), heals(), comesBackAsItWas()},
		two:    true, configure: twoApprovers,
		crashes: 1, switches: 0,
	}, {
		name: "one of two approves again", kind: restart, executors: 1,
		script: []personal{janeMints, janeApproves, janeMintsAgain, janeApprovesAgain}, prologue: []string{"jane mints"},
		events: []event{clockMoves(interval, 1)},
		two:    true, idle: true, configure: twoApprovers,
		switches: 1,
	}, {
		name: "the breaker", kind: restart, executors: 1,
		script: []personal{janeMints, joeMints, janeApproves, joeApproves}, prologue: bothApproved,
		events: []event{clockMoves(settles, 1)},
		configure: func(c *config.SrenixConfiguration) {
			c.Executor.BreakerThreshold = new(int32(1))
		},
		crashes: 2, switches: unlimited, states: 50000,
	}}
}

func twoApprovers(c *config.SrenixConfiguration) {
	c.Policy.Approvers = map[srenix.ActionKind]int32{srenix.ActionPatchDeploymentAnnotation: 2}
}
