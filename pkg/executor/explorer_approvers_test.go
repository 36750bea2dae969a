// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"fmt"
	"strings"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// betweenTwo is the least time between the approvals of two people (the leash,
// layer 6), written again here so that another one in the code is noticed.
const betweenTwo = 30 * time.Minute

// yes is an approval that counts: whose, and since when.
type yes struct {
	who string
	at  time.Time
}

// needsTwo tells whether two people have to approve what the scenario is about.
func (e *explorer) needsTwo() bool { return e.two || e.kind == srenix.ActionRunbook }

// intentOf is the index of the intent that an approval is carried out under.
func intentOf(p *position, approval string) int64 {
	index := int64(-1)
	for _, event := range p.stored.events() {
		if event.Spec.Type == opsv1alpha1.AuditActionIntended && event.Spec.References.Approval == approval {
			index = event.Spec.Index
		}
	}
	return index
}

// lacksASecond tells what was missing, when the event with an index was appended,
// for something that takes two people, where it does. It does not ask the policy,
// but looks for itself at who said yes.
func (e *explorer) lacksASecond(p *position, digest string, before int64) string {
	if !e.needsTwo() {
		return ""
	}
	counting := e.counting(p, digest, before)
	for _, first := range counting {
		for _, second := range counting {
			if first.who != second.who && second.at.Sub(first.at) >= betweenTwo {
				return ""
			}
		}
	}
	return fmt.Sprintf("no two people approved it %s apart; there are %v", betweenTwo, counting)
}

// counting are the acceptances of a digest before an event whose Approvals are
// stored, were not ended by then, and carry the token of whom they name.
func (e *explorer) counting(p *position, digest string, before int64) []yes {
	var counting []yes
	for _, event := range p.stored.events() {
		spec := &event.Spec
		if spec.Type != opsv1alpha1.AuditApprovalAccepted || spec.References.Digest != digest || spec.Index >= before || hasEnded(p, spec, before) {
			continue
		}
		stored := p.approval(spec.References.Approval)
		if stored == nil || stored.UID != spec.References.ApprovalUID || stored.Spec.Decision != srenix.DecisionApprove {
			continue
		}
		claims, err := token.NewVerifier(e.cluster.keys, clusterUID, clocktesting.NewFakePassiveClock(p.clock)).VerifyAt(stored.Spec.Token, spec.Time.Time)
		if err == nil && claims.ID == spec.References.JTI && claims.Binding.Digest == digest {
			counting = append(counting, yes{claims.Subject, spec.Time.Time})
		}
	}
	return counting
}

// hasEnded tells whether an executor had said of an accepted approval, before an
// event, that nothing comes of it, or that nobody knows.
func hasEnded(p *position, accepted *opsv1alpha1.AuditEventSpec, before int64) bool {
	for _, event := range p.stored.events() {
		spec := &event.Spec
		if spec.Index < accepted.Index || spec.Index >= before || spec.References.ApprovalUID != accepted.References.ApprovalUID || !strings.HasPrefix(spec.Component, "executor") {
			continue
		}
		switch spec.Type {
		case opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditSuperseded, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled:
			return true
		}
	}
	return false
}
