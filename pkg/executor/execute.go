// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/pkg/tracing"
)

const (
	// actAttempts bounds how often an action is sent whose precondition failed:
	// each was refused, and the target is judged anew before the next.
	actAttempts = 3
	// finishTimeout bounds what is done between the intent and its result. It is
	// not cut short when the process is asked to stop.
	finishTimeout = 30 * time.Second
)

// execute carries out an approval that this executor has claimed and for which
// nothing was done yet.
func (r *reconciler) execute(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	claims, err := r.verifyToken(approval)
	if err != nil {
		return r.concludeToken(ctx, approval, past, err)
	}
	digest, err := r.currentDigest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if digest != approval.Spec.Proposal.Digest {
		return r.conclude(ctx, approval, past, superseded(supersededBy(digest)))
	}
	contest, err := r.contest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if other := first(contest.rivals(approval, math.MaxInt64)); other != nil {
		if other.outcome == "" {
			return r.waitFor(ctx, approval, other)
		}
		return r.conclude(ctx, approval, past, other.end())
	}
	accepted, err := r.accept(ctx, approval, past, digest)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !accepted.Allowed {
		return r.conclude(ctx, approval, past, deniedByPolicy(accepted.Message(), verdictsOf(*accepted)))
	}
	ruling, err := r.decide(ctx, approval, claims, digest, false)
	if err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case !ruling.allows():
		return r.conclude(ctx, approval, past, deniedByPolicy(ruling.message(), verdictsOf(ruling.Decision)))
	case ruling.Awaiting:
		return r.awaitAnother(ctx, approval, claims)
	}
	return r.act(context.WithoutCancel(ctx), approval, past, ruling)
}

// act records the intent, unless something stands in the way as the chain is then, and
// acts if by then nobody denied it, its token had not expired and it was recorded for
// nobody else. Whatever goes wrong from here
// on is settled by looking, never by acting again.
func (r *reconciler) act(ctx context.Context, approval *opsv1alpha1.Approval, past *history, ruling *ruling) (_ ctrl.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	ctx, span := r.span(ctx, approval, spanAct)
	defer func() { tracing.End(span, err) }()
	approver, kind := ruling.claims.Subject, approval.Spec.Snapshot.ActionKind
	entry := r.entry(approval, opsv1alpha1.AuditActionIntended, fmt.Sprintf("%s is about to be carried out by %s", kind, r.identity), verdictsOf(ruling.Decision), approver)
	entry.Intent = &opsv1alpha1.AuditIntent{Generation: ruling.order.object.GetGeneration(), Value: ruling.order.value}
	if entry.Hashes, err = hashesOf(r.actions[kind], ruling.order, ruling.order.object); err != nil {
		return ctrl.Result{}, err
	}
	readyBefore, err := r.readyBefore(ctx, kind, ruling.order.object)
	if err != nil {
		return ctrl.Result{}, err
	}
	// Others of its kind may have failed since it was claimed, or its claim may have been
	// given back. Whoever did that appends after this intent, and sees it, or before, and
	// this is asked again.
	var by *hindrance
	var gone error
	intent, err := r.chain.AppendIf(ctx, func(ctx context.Context) (*audit.Entry, error) {
		var err error
		by, err = r.hindrance(ctx, approval)
		if gone = nil; errors.Is(err, errOvertaken) {
			gone, err = err, nil
		}
		if err != nil || gone != nil || by != nil {
			return nil, err
		}
		return &entry, nil
	})
	switch {
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("recording the intent: %w", err)
	case gone != nil:
		return ctrl.Result{}, gone
	case by != nil:
		return r.hold(ctx, approval, past, by)
	}
	span.SetAttributes(tracing.AuditEvent.String(intent.Name))
	past.events = append(past.events, *intent)
	past.intend(intent)
	contest, err := r.contest(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if contest.intended(approval, intent.Spec.Index) {
		return ctrl.Result{}, errOvertaken
	}
	rivals := contest.rivals(approval, intent.Spec.Index)
	if end, stop := r.overtaken(approval, intent, contest, rivals); stop {
		return r.giveUp(ctx, approval, past, end)
	}
	err = r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
		status.Execution.Intent = intent.Name
		status.Execution.Controller, status.Execution.ReadyBefore = controllerOf(ruling.order.object), readyBefore
		status.Approver = approver
		status.Message = fmt.Sprintf("%s is being carried out", kind)
		for _, event := range past.events {
			addAuditEvent(status, event.Name)
		}
		r.setCondition(status, approval.Generation, opsv1alpha1.ConditionAccepted, "True", "PolicyAllows", "all layers of the policy allow it")
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	klog.FromContext(ctx).Info("Intent recorded", "auditEvent", intent.Name, "actionKind", kind, "approver", approver)
	return r.attempt(ctx, approval, past, ruling, rivals)
}

// overtaken tells whether something came between the judgment and the intent,
// by the order of the chain, because of which nothing may be done.
func (r *reconciler) overtaken(approval *opsv1alpha1.Approval, intent *opsv1alpha1.AuditEvent, contest contest, rivals []rival) (ending, bool) {
	if denial := contest.denial(intent.Spec.Index); denial != nil {
		return deniedByPerson(denial.References.Approver, denial.References.Approval), true
	}
	if _, err := r.verifier.VerifyAt(approval.Spec.Token, intent.Spec.Time.Time); err != nil {
		return tokenEnd(approval, err), true
	}
	if record := endedBy(contest, approval); record != nil && record.Index < intent.Spec.Index {
		return r.recorded(approval, record), true
	}
	if other := first(rivals); other != nil {
		return other.end(), true
	}
	return ending{}, false
}

// attempt sends the action, and again if the API server refused it because the
// target had changed and it is still allowed on the target as it is now.
func (r *reconciler) attempt(ctx context.Context, approval *opsv1alpha1.Approval, past *history, ruling *ruling, rivals []rival) (ctrl.Result, error) {
	act := r.actions[approval.Spec.Snapshot.ActionKind]
	var refusal error
	for n := range actAttempts {
		if r.clock.Since(past.intentTime) > actWithin {
			return ctrl.Result{}, fmt.Errorf("the intent %s is older than %s: it is settled by looking", past.intent, actWithin)
		}
		if late := carriedOutLate(act, rivals, ruling.order); late != nil {
			if err := r.recordFor(ctx, late, sight{done: true, text: "shows it after all"}); err != nil {
				return ctrl.Result{}, err
			}
			late.outcome = opsv1alpha1.AuditActionDone
			return r.giveUp(ctx, approval, past, late.end())
		}
		sending, cancel := context.WithTimeout(ctx, actTimeout)
		object, err := act.do(sending, r.client, ruling.order, false)
		cancel()
		if err == nil {
			answered := result{summary: act.summary(ruling.order), reason: "Acted", object: object, hashes: hashesOfDone(ctx, act, ruling.order, object)}
			if problem := strayed(&approval.Spec.Snapshot, act, ruling, object); problem != "" {
				answered.summary, answered.reason = problem, reasonNotAsApproved
				return r.recordNotDone(ctx, approval, past, opsv1alpha1.AuditActionUnsettled, answered)
			}
			return r.recordDone(ctx, approval, past, answered)
		}
		if !refusedOutright(err) {
			return ctrl.Result{}, err
		}
		// The refusal may answer a second try of the client, after a first one that
		// went through and whose answer was lost.
		seen, lookErr := look(ctx, r.client, act, ruling.order, past.intended.Generation)
		if lookErr != nil {
			return ctrl.Result{}, errors.Join(err, lookErr)
		}
		if seen.done {
			return r.recordDone(ctx, approval, past, settled(ruling.order, seen))
		}
		if seen.unclear {
			// That first one may have been overwritten since.
			return r.recordNotDone(ctx, approval, past, seen.outcome(), result{reason: "Unsettled", summary: fmt.Sprintf(
				"the action was refused (%v), and %s %s/%s %s. So it cannot be told whether an earlier try was carried out, and nothing is done for this digest again: look at it, and do by hand what is still needed",
				err, ruling.order.target.Kind, ruling.order.target.Namespace, ruling.order.target.Name, seen.text)})
		}
		refusal = err
		if !targetMoved(err) || n == actAttempts-1 {
			break
		}
		next, stop, err := r.judgeAgain(ctx, approval, ruling)
		if err != nil {
			return ctrl.Result{}, err
		}
		if stop != "" {
			refusal = errors.New(stop)
			break
		}
		ruling = next
	}
	return r.recordNotDone(ctx, approval, past, opsv1alpha1.AuditActionFailed, result{reason: "Refused", summary: "nothing was done, because the action was refused: " + refusal.Error()})
}

// judgeAgain judges the approval on the target as it is now, or tells why it
// does not count any more.
func (r *reconciler) judgeAgain(ctx context.Context, approval *opsv1alpha1.Approval, before *ruling) (next *ruling, stop string, err error) {
	digest, err := r.currentDigest(ctx, approval)
	if err != nil {
		return nil, "", err
	}
	if digest != approval.Spec.Proposal.Digest {
		return nil, supersededBy(digest), nil
	}
	next, err = r.decide(ctx, approval, before.claims, digest, true)
	switch {
	case err != nil:
		return nil, "", err
	case !next.allows():
		return nil, next.message(), nil
	case next.Awaiting:
		return nil, "an approval that it needs beside this one does not count any more", nil
	}
	return next, "", nil
}

// giveUp records that nothing was done for an intent, and nothing will be.
func (r *reconciler) giveUp(ctx context.Context, approval *opsv1alpha1.Approval, past *history, end ending) (ctrl.Result, error) {
	if past.own(opsv1alpha1.AuditActionFailed) == nil {
		event, err := r.chain.Append(ctx, r.entry(approval, opsv1alpha1.AuditActionFailed, "nothing was done: "+end.message, nil, approverOf(approval, past)))
		if err != nil {
			return ctrl.Result{}, err
		}
		past.events = append(past.events, *event)
	}
	return r.conclude(ctx, approval, past, end)
}

// concludeToken ends an approval whose token does not count, or leaves it if
// that cannot be told.
func (r *reconciler) concludeToken(ctx context.Context, approval *opsv1alpha1.Approval, past *history, err error) (ctrl.Result, error) {
	if errors.Is(err, errTokenRefused) {
		return r.conclude(ctx, approval, past, tokenEnd(approval, err))
	}
	return ctrl.Result{}, err
}

// tokenEnd is how an approval ends whose token does not count.
func tokenEnd(approval *opsv1alpha1.Approval, err error) ending {
	if errors.Is(err, token.ErrExpired) {
		return expired(err.Error() + ", before anything was done: approve anew with " + approveCommand(approval))
	}
	return refused("InvalidToken", err.Error())
}

func supersededBy(digest string) string {
	if digest == "" {
		return "the proposal is gone, so that there is nothing left to be done"
	}
	return fmt.Sprintf("the proposal has changed since it was approved: its digest is %s now", digest)
}

// approveCommand is what a person types to approve anew.
func approveCommand(approval *opsv1alpha1.Approval) string {
	return fmt.Sprintf("kubectl create approval --proposal %s -n %s", approval.Spec.Proposal.Name, approval.Namespace)
}
