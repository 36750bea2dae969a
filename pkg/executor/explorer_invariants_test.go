// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"fmt"
	"iter"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/token"
)

// invariant is something that must hold in every world.
type invariant string

const (
	actsOnce       invariant = "1: at most one execution for each digest"
	approvedFirst  invariant = "2: no execution without a valid approval"
	nothingIsLost  invariant = "3: every approval comes to its end, and tells the truth"
	runbooksAreTxt invariant = "4: a runbook is never executed"
	chainVerifies  invariant = "5: the audit chain always verifies"
	tokensWorkOnce invariant = "6: a used token is never accepted again"
	takesTwoPeople invariant = "7: what two people have to approve is neither done nor released by one"
	oneAtATime     invariant = "8: nothing is done to a target while the outcome of another approval's intent is open"
)

// violation is an invariant that does not hold, how, and where.
type violation struct {
	invariant
	text string
	at   *position
}

func broken(of invariant, at *position, format string, arguments ...any) *violation {
	return &violation{invariant: of, text: fmt.Sprintf(format, arguments...), at: at}
}

// String tells what is broken and how that came about.
func (v *violation) String() string {
	return fmt.Sprintf("%s: %s%s", v.invariant, v.text, trace(v.at))
}

// observe checks what a request has done: q is p after it.
func (e *explorer) observe(p, q *position, i int, asked *request, given answer, change *item) *violation {
	actor := &q.actors[i]
	if asked.admits {
		actor.since = len(p.stored.events())
	}
	if given.err != nil {
		return nil
	}
	if asked.acts() {
		return e.acted(p, q, i, asked)
	}
	if change == nil {
		return nil
	}
	switch object := change.object.(type) {
	case *opsv1alpha1.AuditEvent:
		return e.appended(p, q, i, object)
	case *opsv1alpha1.Approval:
		if asked.verb == verbStatus {
			return moved(p, q, object)
		}
	}
	return nil
}

// acted checks an action that went through. It counts also where it changed
// nothing, as a second deletion of a Pod that is ending does.
func (e *explorer) acted(p, q *position, i int, asked *request) *violation {
	actor := &q.actors[i]
	approval := actor.approval
	if approval == nil {
		return broken(approvedFirst, q, "%s acted, and reconciled nothing", actor.name)
	}
	named, snapshot := &approval.Spec.Proposal, &approval.Spec.Snapshot
	q.acts = append(q.acts, act{approval: approval.Name, digest: named.Digest, at: q.clock})
	e.executions++
	if snapshot.ActionKind == srenix.ActionRunbook {
		return broken(runbooksAreTxt, q, "%s: %s", actor.name, asked)
	}
	done := 0
	for _, act := range q.acts {
		if act.digest == named.Digest {
			done++
		}
	}
	if done > 1 {
		return broken(actsOnce, q, "acted %d times on the digest %s", done, named.Digest)
	}
	if problem := e.unapproved(p, approval, asked, actor.began); problem != "" {
		return broken(approvedFirst, q, "%s was carried out: %s", shortName(approval.Name), problem)
	}
	if problem := e.lacksASecond(p, named.Digest, intentOf(p, approval.Name)); problem != "" {
		return broken(takesTwoPeople, q, "%s was carried out: %s", shortName(approval.Name), problem)
	}
	if other := undecided(p, approval); other != "" {
		return broken(oneAtATime, q, "%s was carried out before it was said what came of the intent of %s", shortName(approval.Name), shortName(other))
	}
	return nil
}

// undecided is another digest's approval of the same target that has an intent in the
// chain, and nothing that says what came of it; or empty.
func undecided(p *position, approval *opsv1alpha1.Approval) string {
	open := map[string]bool{}
	for _, event := range p.stored.events() {
		references := &event.Spec.References
		switch event.Spec.Type {
		case opsv1alpha1.AuditActionIntended:
			open[references.Approval] = references.Digest != approval.Spec.Proposal.Digest
		case opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled:
			open[references.Approval] = false
		}
	}
	for name, is := range open {
		if is {
			return name // All that a scenario has are of one target.
		}
	}
	return ""
}

// firstDecision is the UID of the Approval for which a token was used first.
func firstDecision(p *position, approval string) types.UID {
	for _, event := range p.stored.events() {
		if references := &event.Spec.References; audit.IsDecision(event.Spec.Type) && references.Approval == approval {
			return references.ApprovalUID
		}
	}
	return ""
}

// unapproved tells what an action lacks. It does not ask the policy, but looks
// for itself at what is stored.
func (e *explorer) unapproved(p *position, approval *opsv1alpha1.Approval, asked *request, began circumstances) string {
	named, snapshot := &approval.Spec.Proposal, &approval.Spec.Snapshot
	accepted, intended, failed, ended := int64(-1), int64(-1), int64(-1), int64(-1)
	var intent *opsv1alpha1.AuditEventSpec
	for _, event := range p.stored.events() {
		if event.Spec.References.Approval != approval.Name {
			continue
		}
		switch event.Spec.Type {
		case opsv1alpha1.AuditApprovalAccepted:
			if accepted < 0 {
				accepted = event.Spec.Index
			}
		case opsv1alpha1.AuditActionIntended:
			intent, intended = &event.Spec, event.Spec.Index
		case opsv1alpha1.AuditActionFailed:
			failed = event.Spec.Index
		case opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditSuperseded:
			// Refusals by the webhook are those of its token, tried again; and those after
			// the intent are of an executor that has lost its claim.
			if intent == nil && audit.ByExecutor(&event.Spec) && event.Spec.References.ApprovalUID == approval.UID {
				ended = event.Spec.Index
			}
		}
	}
	switch {
	case intent == nil:
		return "no intent is in the audit chain"
	case accepted < 0 || accepted > intended:
		return "it was not accepted before its intent"
	case firstDecision(p, approval.Name) != intent.References.ApprovalUID:
		return "its token was accepted for another Approval, with UID " + string(firstDecision(p, approval.Name))
	case approval.Spec.Decision != srenix.DecisionApprove:
		return "it is a denial"
	case p.clock.Sub(intent.Time.Time) >= SettleAfter:
		return fmt.Sprintf("its intent is %s old, when others may settle it", p.clock.Sub(intent.Time.Time))
	case failed >= 0:
		return fmt.Sprintf("audit event %d says that nothing was done for it, and that nothing is tried again", failed)
	case ended >= 0:
		return fmt.Sprintf("audit event %d says that it was ended", ended)
	case began.open:
		return "its kind had failed too often already when the execution began"
	case !began.rights:
		return "the approver had no right to it any more"
	case began.digest != named.Digest:
		return fmt.Sprintf("the proposal's digest was %q already when the execution began", began.digest)
	}
	for _, event := range p.stored.events() {
		if event.Spec.Type == opsv1alpha1.AuditDenialRecorded && event.Spec.References.Digest == named.Digest && event.Spec.Index < intended {
			return fmt.Sprintf("%s had denied it (audit event %d) before the intent (audit event %d)", event.Spec.References.Approver, event.Spec.Index, intended)
		}
	}
	claims, err := token.NewVerifier(e.cluster.keys, clusterUID, clocktesting.NewFakePassiveClock(p.clock)).VerifyAt(approval.Spec.Token, intent.Time.Time)
	if err != nil {
		return err.Error()
	}
	content, err := digest.Proposal(approval.Namespace, named.Name, named.UID, snapshot)
	target := p.stored.get(asked.key())
	switch {
	case err != nil || content != named.Digest || claims.Binding.Digest != named.Digest:
		return fmt.Sprintf("approved is %s, the token is for %s, and the content has %s", named.Digest, claims.Binding.Digest, content)
	case token.ApprovalName(claims.ID) != approval.Name:
		return "it has the name of another token"
	case target.object.GetUID() != snapshot.Target.UID || claims.Binding.TargetUID != snapshot.Target.UID:
		return fmt.Sprintf("approved was the target %s, and acted on was %s", snapshot.Target.UID, target.object.GetUID())
	case claims.Subject != intent.References.Approver:
		return "the intent names another approver than the token"
	}
	return ""
}

// appended checks an audit event: that it continues the chain, accepts no token
// that was used before the judgment began, and releases nothing too soon.
func (e *explorer) appended(p, q *position, i int, event *opsv1alpha1.AuditEvent) *violation {
	before := p.stored.events()
	if err := e.links(before, event); err != nil {
		return broken(chainVerifies, q, "%v", err)
	}
	spec := &event.Spec
	if spec.Type == opsv1alpha1.AuditRunbookReleased {
		if problem := e.lacksASecond(p, spec.References.Digest, spec.Index); problem != "" {
			return broken(takesTwoPeople, q, "%s released a runbook: %s", shortName(spec.References.Approval), problem)
		}
	}
	if !audit.IsDecision(spec.Type) {
		return nil
	}
	for _, earlier := range before[:q.actors[i].since] {
		if audit.IsDecision(earlier.Spec.Type) && earlier.Spec.References.JTI == spec.References.JTI {
			return broken(tokensWorkOnce, q, "audit event %d accepts the token of event %d", spec.Index, earlier.Spec.Index)
		}
	}
	return nil
}

// links verifies the last link of a chain. What comes before it was verified
// when it was the last, and is never changed.
func (e *explorer) links(before []*opsv1alpha1.AuditEvent, event *opsv1alpha1.AuditEvent) error {
	if e.linked[event] {
		return nil
	}
	var chain []*opsv1alpha1.AuditEvent
	if n := len(before); n > 0 {
		chain = append(chain, before[n-1])
	}
	_, err := audit.Verify(inOrder(append(chain, event)))
	e.linked[event] = err == nil
	return err
}

func inOrder(events []*opsv1alpha1.AuditEvent) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		for _, event := range events {
			if !yield(event.Spec, nil) {
				return
			}
		}
	}
}

// moved checks a new status: what is at its end stays there, unless it turns out
// later that something was done.
func moved(p, q *position, after *opsv1alpha1.Approval) *violation {
	before := p.approval(after.Name)
	from, to := before.Status.Phase, after.Status.Phase
	if !from.Finished() || from == to || (from == opsv1alpha1.PhaseFailed && to == opsv1alpha1.PhaseSucceeded) {
		return nil
	}
	return broken(nothingIsLost, q, "%s was %s, and is %s now", shortName(after.Name), from, to)
}

// inspect checks what must hold in every world, however it came about.
func inspect(p *position) *violation {
	for _, act := range p.acts {
		approval := p.approval(act.approval)
		if approval == nil || p.stored.last(keyOf(approval)).births > 1 {
			continue
		}
		status := &approval.Status
		untouched := status.Phase == "" || status.Phase == opsv1alpha1.PhasePending || status.Phase == opsv1alpha1.PhaseAwaitingSecondApproval
		if untouched || status.Execution == nil || status.Execution.Intent == "" {
			return broken(nothingIsLost, p, "%s was acted on and looks untouched: phase %q", shortName(act.approval), status.Phase)
		}
	}
	return nil
}

// ended checks the end that everything came to.
func (e *explorer) ended(p *position) *violation {
	if _, err := audit.Verify(inOrder(p.stored.events())); err != nil {
		return broken(chainVerifies, p, "%v", err)
	}
	for _, approval := range p.stored.approvals() {
		status, name := &approval.Status, shortName(approval.Name)
		done := 0
		for _, act := range p.acts {
			if act.approval == approval.Name {
				done++
			}
		}
		executed := meta.IsStatusConditionTrue(status.Conditions, opsv1alpha1.ConditionExecuted)
		switch {
		case !completed(approval):
			return broken(nothingIsLost, p, "%s stays %q: %s", name, status.Phase, status.Message)
		case done > 0 && status.Phase == opsv1alpha1.PhaseFailed && p.meddled:
			// Nobody can tell any more, and Failed says so, too.
		case done > 0 && (status.Phase != opsv1alpha1.PhaseSucceeded || !executed):
			return broken(nothingIsLost, p, "%s was carried out, and says %q: %s", name, status.Phase, status.Message)
		case done == 0 && (status.Phase == opsv1alpha1.PhaseSucceeded || executed) && !p.meddled:
			return broken(nothingIsLost, p, "%s was not carried out, and says %q: %s", name, status.Phase, status.Message)
		case done == 0 && e.lacksAReason(p, approval):
			return broken(nothingIsLost, p, "%s had nothing against it, was not carried out, and says %q: %s", name, status.Phase, status.Message)
		}
	}
	return nil
}

// lacksAReason tells whether nothing stood against an approval that was accepted:
// not what happened, nobody's denial, no other approval of the digest, no breaker,
// and for one that failed no process or request that was hindered.
func (e *explorer) lacksAReason(p *position, approval *opsv1alpha1.Approval) bool {
	if p.opposed || e.two || e.kind == srenix.ActionRunbook || approval.Spec.Decision != srenix.DecisionApprove || e.open(p) {
		return false
	}
	if approval.Status.Phase == opsv1alpha1.PhaseFailed && p.disturbed {
		return false
	}
	accepted := false
	for _, event := range p.stored.events() {
		spec := &event.Spec
		switch {
		case spec.Type == opsv1alpha1.AuditDenialRecorded,
			spec.Type == opsv1alpha1.AuditActionIntended && spec.References.Approval != approval.Name:
			return false
		case spec.Type == opsv1alpha1.AuditApprovalAccepted && spec.References.ApprovalUID == approval.UID:
			accepted = true
		}
	}
	return accepted && firstDecision(p, approval.Name) == approval.UID
}
