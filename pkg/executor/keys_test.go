// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// laggingKeys are published keys that lack the one in use until they are read
// after arrive.
type laggingKeys struct {
	*world
	arrive time.Time
	readAt time.Time
}

func (k *laggingKeys) Key(kid string) (ed25519.PublicKey, bool) {
	k.readAt = k.clock.Now()
	if k.readAt.Before(k.arrive) {
		return nil, false
	}
	return k.keys.Key(kid)
}

func (k *laggingKeys) Err() error        { return nil }
func (k *laggingKeys) ReadAt() time.Time { return k.readAt }

// A key that is not published yet is not one that is not published any more.
func TestATokenOfAKeyThatIsBeingPublishedIsWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		decision srenix.Decision
		after    time.Duration
		phase    opsv1alpha1.ApprovalPhase
		acts     int
	}{
		"the key comes":              {srenix.DecisionApprove, keysArrive - time.Second, opsv1alpha1.PhaseSucceeded, 1},
		"the key comes, for a no":    {srenix.DecisionDeny, keysArrive - time.Second, opsv1alpha1.PhaseDenied, 0},
		"the key does not":           {srenix.DecisionApprove, time.Hour, opsv1alpha1.PhaseDenied, 0},
		"the key comes far too late": {srenix.DecisionApprove, keysArrive + 2*time.Second, opsv1alpha1.PhaseDenied, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
			approval := w.decide(approver, test.decision)
			if test.decision == srenix.DecisionApprove {
				w.append(approval, opsv1alpha1.AuditApprovalAccepted, approver)
			}
			lagging := &laggingKeys{world: w, arrive: start.Add(test.after), readAt: start.Add(-time.Minute)}
			p := w.newProcess("executor-0")
			p.keys, p.verifier = lagging, token.NewVerifier(lagging, clusterUID, w.clock)
			if _, err := p.step(approval); err == nil || !strings.Contains(err.Error(), "may be newer than the published keys") {
				t.Errorf("at first the error is %v", err)
			}
			if phase := w.get(approval).Status.Phase; phase.Finished() {
				t.Fatalf("at first it is %s", phase)
			}
			p.run(approval)
			status := w.get(approval).Status
			if status.Phase != test.phase || len(w.acts) != test.acts {
				t.Errorf("acted %d times, and the approval is %s: %s", len(w.acts), status.Phase, status.Message)
			}
			if unknown := strings.Contains(status.Message, token.ErrUnknownKey.Error()); unknown == (test.after < keysArrive) {
				t.Errorf("it says %q", status.Message)
			}
		})
	}
}

// rotatedKeys lack a key from when it is retired on, and then have another one.
type rotatedKeys struct {
	*world
	retired bool
}

func (k *rotatedKeys) Key(kid string) (ed25519.PublicKey, bool) {
	if k.retired {
		return nil, false
	}
	return k.keys.Key(kid)
}

func (k *rotatedKeys) Err() error        { return nil }
func (k *rotatedKeys) ReadAt() time.Time { return k.clock.Now() }

// What waits for another person for longer than its key is published must not go on
// saying that it counts: nobody could tell why the other one's approval does nothing.
func TestAnApprovalWhoseKeyIsGoneDoesNotWaitForAnother(t *testing.T) {
	w := newWorld(t, srenix.ActionRunbook)
	keys := &rotatedKeys{world: w}
	p := w.newProcess("executor-0")
	p.keys, p.verifier = keys, token.NewVerifier(keys, clusterUID, w.clock)
	jane := w.approve(approver)
	p.run(jane)
	w.pass(48 * time.Hour)
	p.run(jane)
	if phase := w.get(jane).Status.Phase; phase != opsv1alpha1.PhaseAwaitingSecondApproval {
		t.Fatalf("with its key it is %s", phase)
	}
	keys.retired = true
	p.run(jane)
	if got := w.get(jane).Status; got.Phase != opsv1alpha1.PhaseDenied || !strings.Contains(got.Message, approver+" can approve anew") {
		t.Errorf("without its key it is %s: %s", got.Phase, got.Message)
	}
	keys.retired = false
	again := w.approve(approver)
	p.run(again)
	w.pass(interval)
	joe := w.approve("joe@example.com")
	p.run(joe)
	p.run(again)
	for _, approval := range []*opsv1alpha1.Approval{again, joe} {
		if got := w.get(approval).Status; got.Phase != opsv1alpha1.PhaseReleased {
			t.Errorf("approved anew, %s is %s: %s", approval.Name, got.Phase, got.Message)
		}
	}
}
