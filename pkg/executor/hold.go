// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/breaker"
)

// pageSize is how many objects are asked for at a time.
const pageSize = 500

// hindrance is why an approval is not carried out now, though nothing is wrong
// with it. It goes on by itself once that is over.
type hindrance struct {
	reason, message string
	// yields tells that it is another claim that is given back as soon as its owner
	// looks: this one is kept meanwhile.
	yields bool
}

// hindrance returns what keeps an approval from being carried out now, or nil; and
// errOvertaken if its claim is not stored as it is held.
func (r *reconciler) hindrance(ctx context.Context, approval *opsv1alpha1.Approval) (*hindrance, error) {
	snapshot := &approval.Spec.Snapshot
	kind := snapshot.ActionKind
	if r.leash.Err() != nil {
		message := fmt.Sprintf("%s is not carried out while kube-apiserver does not hold the executor to what it may do: apply ValidatingAdmissionPolicy %s and its binding as this version has them, and it goes on by itself", kind, leashName)
		return &hindrance{reason: "SecondLeashMissing", message: message}, nil //nolint:nilerr // It is no failure of this approval.
	}
	stored, err := r.approvals(ctx)
	if err != nil {
		return nil, err
	}
	held := asHeld(approval)
	if approval.Status.Execution != nil && !slices.ContainsFunc(stored, func(own opsv1alpha1.Approval) bool { return own.UID == approval.UID && held(&own) }) {
		return nil, errOvertaken
	}
	if open := r.openBreaker(stored, kind, approval.Namespace); open != nil {
		return &hindrance{reason: "BreakerOpen", message: open.Message(string(kind))}, nil
	}
	beside := atWorkBeside(stored, approval)
	if beside == nil {
		if beside, err = r.intendedBeside(ctx, stored, approval); err != nil {
			return nil, err
		}
	}
	if beside != nil {
		return &hindrance{reason: "TargetBusy", yields: beside.Status.Execution != nil && givesWay(beside, approval), message: fmt.Sprintf(
			"Approval %s is at work on %s %s/%s too: this one goes on by itself once that one is at its end and, if it acts, its verification is over, however it ends",
			beside.Name, snapshot.Target.Kind, snapshot.Target.Namespace, snapshot.Target.Name)}, nil
	}
	return nil, nil
}

// openBreaker returns the breaker that keeps a kind from being carried out in a
// namespace, that of the cluster or the namespace's own, or nil.
func (r *reconciler) openBreaker(stored []opsv1alpha1.Approval, kind srenix.ActionKind, namespace string) *breaker.Open {
	cluster, namespaces := breaker.Of(stored, kind, int(*r.config.BreakerThreshold))
	r.metrics.setBreaker(kind, cluster != nil, len(namespaces) > 0)
	if cluster != nil {
		return cluster
	}
	return namespaces[namespace]
}

// approvals are all that are stored.
func (r *reconciler) approvals(ctx context.Context) ([]opsv1alpha1.Approval, error) {
	var all []opsv1alpha1.Approval
	for next := ""; ; {
		page := &opsv1alpha1.ApprovalList{}
		if err := r.client.List(ctx, page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("reading what became of other approvals: %w", err)
		}
		all = append(all, page.Items...)
		if next = page.Continue; next == "" {
			return all, nil
		}
	}
}

// atWorkBeside returns an approval of another digest that is claimed for the same
// target and has not come to its end, or nil. A claim counts whether or not it has
// an intent: the chain may have that already. Of several it is one that gives way
// only if all do. An approval acts in its own namespace only, and which of several
// of one digest is carried out, the audit chain decides.
func atWorkBeside(stored []opsv1alpha1.Approval, approval *opsv1alpha1.Approval) *opsv1alpha1.Approval {
	var yielding *opsv1alpha1.Approval
	for i := range stored {
		other := &stored[i]
		if other.Status.Execution == nil || !competes(other, approval) {
			continue
		}
		if !givesWay(other, approval) {
			return other
		}
		yielding = other
	}
	return yielding
}

// intendedBeside returns an approval of another digest that nobody has claimed, though
// the chain has an intent of it for the same target, or nil. Its claim was given back
// just before the intent came, and it is about to be settled by looking: what is done
// to the target meanwhile would be taken for its own.
func (r *reconciler) intendedBeside(ctx context.Context, stored []opsv1alpha1.Approval, approval *opsv1alpha1.Approval) (*opsv1alpha1.Approval, error) {
	for i := range stored {
		other := &stored[i]
		if other.Status.Execution != nil || jtiOf(other) == "" || !competes(other, approval) {
			continue
		}
		past, err := r.recall(ctx, other)
		if err != nil {
			return nil, err
		}
		if past.intent != "" {
			return other, nil
		}
	}
	return nil, nil
}

// competes tells whether another approval is of another digest, for the same target,
// and not at its end.
func competes(other, approval *opsv1alpha1.Approval) bool {
	return !completed(other) && other.Namespace == approval.Namespace && other.Spec.Proposal.Digest != approval.Spec.Proposal.Digest &&
		keyOfTarget(other.Spec.Snapshot.Target) == keyOfTarget(approval.Spec.Snapshot.Target)
}

// givesWay tells whether the claim of another approval is given back for this one,
// so that of two claims neither waits for the other without end: that of the
// younger approval, while it has no intent. The older one waits until it is given
// back all the same, because its owner may have looked before there were two.
func givesWay(other, approval *opsv1alpha1.Approval) bool {
	if approval.Status.Execution == nil || other.Status.Execution.Intent != "" {
		return false
	}
	return cmp.Or(approval.CreationTimestamp.Compare(other.CreationTimestamp.Time), cmp.Compare(approval.Name, other.Name)) < 0
}

// hold leaves an approval pending, and gives a claim back under which nothing was
// done. Should its token expire meanwhile, that ends it.
func (r *reconciler) hold(ctx context.Context, approval *opsv1alpha1.Approval, past *history, by *hindrance) (ctrl.Result, error) {
	claims, err := r.verifyToken(approval)
	if err != nil {
		return r.concludeToken(ctx, approval, past, err)
	}
	if by.yields {
		return ctrl.Result{RequeueAfter: busyRetry}, nil
	}
	known := meta.FindStatusCondition(approval.Status.Conditions, opsv1alpha1.ConditionAccepted)
	if known == nil || known.Message != by.message || approval.Status.Phase != opsv1alpha1.PhasePending {
		err := r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
			status.Phase = opsv1alpha1.PhasePending
			status.Approver = claims.Subject
			status.Message = by.message
			status.Execution = nil
			r.setCondition(status, approval.Generation, opsv1alpha1.ConditionAccepted, metav1.ConditionFalse, by.reason, by.message)
		})
		if err != nil {
			return ctrl.Result{}, err
		}
		kind := string(approval.Spec.Snapshot.ActionKind)
		klog.FromContext(ctx).Info("Approval held back", "reason", by.reason, "actionKind", kind, "message", by.message)
		r.announce(approval, false, warning, by.reason, kind, by.message)
	}
	return ctrl.Result{RequeueAfter: waitRetry}, nil
}
