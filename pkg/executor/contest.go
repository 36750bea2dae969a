// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// contest is what the audit chain says about one digest, oldest first: who
// denied it, who intended to carry it out, and what became of that. Its order is
// the same for everybody, so of two approvals of one digest exactly one comes first.
type contest []opsv1alpha1.AuditEvent

func (r *reconciler) contest(ctx context.Context, approval *opsv1alpha1.Approval) (contest, error) {
	return audit.AboutDigest(ctx, r.client, approval.Spec.Proposal.UID, approval.Spec.Proposal.Digest)
}

// denial returns the first denial that is older than the event with an index, or nil.
func (c contest) denial(before int64) *opsv1alpha1.AuditEventSpec {
	for i := range c {
		if spec := &c[i].Spec; spec.Type == opsv1alpha1.AuditDenialRecorded && spec.Index < before {
			return spec
		}
	}
	return nil
}

// released tells whether an executor has released the runbook, and nobody had
// denied it by then.
func (c contest) released() bool {
	for i := range c {
		switch spec := &c[i].Spec; {
		case spec.Type == opsv1alpha1.AuditDenialRecorded:
			return false
		case spec.Type == opsv1alpha1.AuditRunbookReleased && audit.ByExecutor(spec):
			return true
		}
	}
	return false
}

// carriedOut returns the record of the action that an executor has carried out, or nil.
func (c contest) carriedOut() *opsv1alpha1.AuditEventSpec {
	for i := range c {
		if spec := &c[i].Spec; spec.Type == opsv1alpha1.AuditActionDone && audit.ByExecutor(spec) {
			return spec
		}
	}
	return nil
}

// intended tells whether an intent for the approval itself is older than the
// event with an index: that of another executor, which may have come to its end.
func (c contest) intended(approval *opsv1alpha1.Approval, before int64) bool {
	return slices.ContainsFunc(c, func(event opsv1alpha1.AuditEvent) bool {
		spec := &event.Spec
		return spec.Type == opsv1alpha1.AuditActionIntended && spec.Index < before && spec.References.JTI == jtiOf(approval)
	})
}

// rival is the intent of another approval of the same digest, and what became of it.
type rival struct {
	intent *opsv1alpha1.AuditEventSpec
	// outcome is the type of the event that tells it; empty while nothing is known.
	outcome opsv1alpha1.AuditType
	// failed tells that the intent was given up by somebody at some time, also if
	// it turned out later that the action had been carried out.
	failed bool
}

// rivals are the intents of other approvals that are older than the event with an index.
func (c contest) rivals(approval *opsv1alpha1.Approval, before int64) []rival {
	var rivals []rival
	for i := range c {
		intent := &c[i].Spec
		own := intent.References.JTI == jtiOf(approval)
		if intent.Type != opsv1alpha1.AuditActionIntended || intent.Index >= before || own {
			continue
		}
		found := rival{intent: intent}
		for j := range c[i+1:] {
			if spec := &c[i+1+j].Spec; spec.References.JTI == intent.References.JTI {
				found.learn(spec.Type)
			}
		}
		rivals = append(rivals, found)
	}
	return rivals
}

// learn takes a later event into account. An action that was done stays so, even
// if somebody who could not see it yet had recorded that it failed; and what
// nobody could tell is not known to have failed.
func (r *rival) learn(later opsv1alpha1.AuditType) {
	switch later {
	case opsv1alpha1.AuditActionDone:
		r.outcome = later
	case opsv1alpha1.AuditActionUnsettled:
		if r.outcome != opsv1alpha1.AuditActionDone {
			r.outcome = later
		}
	case opsv1alpha1.AuditActionFailed:
		r.failed = true
		if r.outcome == "" {
			r.outcome = later
		}
	}
}

// first returns the rival that an approval has to give way to: one whose action
// was done, else one of which nobody can tell, else one that is under way. An
// intent for which nothing was done stands in nobody's way.
func first(rivals []rival) *rival {
	for _, outcome := range []opsv1alpha1.AuditType{opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionUnsettled, ""} {
		for i := range rivals {
			if rivals[i].outcome == outcome {
				return &rivals[i]
			}
		}
	}
	return nil
}

// end is how an approval ends that gives way to this rival.
func (r *rival) end() ending {
	other := r.intent.References.Approval
	switch r.outcome {
	case opsv1alpha1.AuditActionDone:
		return superseded("the same was carried out already, by Approval " + other)
	case opsv1alpha1.AuditActionUnsettled:
		target := r.intent.References.Target
		return refused("EarlierActionUnsettled", fmt.Sprintf(
			"nobody can tell that Approval %s of the same digest was carried out as it was approved, and nothing is done twice: look at %s %s/%s, and do by hand what is still needed",
			other, target.Kind, target.Namespace, target.Name))
	}
	return superseded(fmt.Sprintf("Approval %s of the same digest was faster, so that nothing was done for this one", other))
}

// waitFor waits for a rival that is under way, or settles it where nobody else
// will: its Approval is gone, is another one by now, or has come to its end, as
// when its intent arrived after an executor had given it up.
func (r *reconciler) waitFor(ctx context.Context, approval *opsv1alpha1.Approval, other *rival) (ctrl.Result, error) {
	references := &other.intent.References
	stored := &opsv1alpha1.Approval{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: approval.Namespace, Name: references.Approval}, stored)
	switch {
	case err == nil && stored.UID == references.ApprovalUID && !completed(stored):
		return ctrl.Result{RequeueAfter: waitRetry}, nil
	case err != nil && !apierrors.IsNotFound(err):
		return ctrl.Result{}, fmt.Errorf("reading Approval %s/%s: %w", approval.Namespace, references.Approval, err)
	}
	seen, err := r.lookFor(ctx, approval, other)
	if err != nil {
		return ctrl.Result{}, err
	}
	if wait := r.untilSettled(audit.EventName(other.intent.Index), other.intent.Time.Time); !seen.done && wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return ctrl.Result{RequeueAfter: busyRetry}, r.recordFor(ctx, other, seen)
}

// lookFor looks whether a rival's action was carried out. It has the same target
// and patch as the approval, because they are part of the digest.
func (r *reconciler) lookFor(ctx context.Context, approval *opsv1alpha1.Approval, other *rival) (sight, error) {
	snapshot := &approval.Spec.Snapshot
	if other.intent.Intent == nil {
		return sight{unclear: true, text: "was judged, and what for is not known any more"}, nil
	}
	order := order{target: snapshot.Target, patch: snapshot.Patch, value: other.intent.Intent.Value}
	return look(ctx, r.client, r.actions[snapshot.ActionKind], order, other.intent.Intent.Generation)
}

// recordFor writes down what became of a rival whose Approval is gone, or of
// whom it was said too early that nothing was done.
func (r *reconciler) recordFor(ctx context.Context, other *rival, seen sight) error {
	kind, target := seen.outcome(), other.intent.References.Target
	event, err := r.chain.Append(ctx, audit.Entry{
		Actor: other.intent.Actor, Type: kind, References: other.intent.References,
		Message: fmt.Sprintf("Settled by looking, for Approval %s: %s %s/%s %s", other.intent.References.Approval, target.Kind, target.Namespace, target.Name, seen.text),
	})
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Settled another approval's intent by looking", "auditEvent", event.Name, "approval", other.intent.References.Approval, "outcome", kind)
	return nil
}

// carriedOutLate returns the first rival whose action shows in the target as it
// was judged, though it was recorded that nothing was done: its request arrived
// late. The target's resourceVersion is a precondition of what follows, so what
// does not show in it cannot come to pass before.
func carriedOutLate(act action, rivals []rival, order order) *rival {
	for i := range rivals {
		if rivals[i].intent.Intent == nil || rivals[i].outcome != opsv1alpha1.AuditActionFailed {
			continue
		}
		order.value = rivals[i].intent.Intent.Value
		if done, _ := act.done(order.object, order); done {
			return &rivals[i]
		}
	}
	return nil
}
