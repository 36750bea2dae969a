// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// pageSize is how many objects are asked for at a time.
const pageSize = 500

// BreakerAcknowledged is the annotation of a failed Approval by which a person
// says to have looked at it: it, and whatever failed before it in its namespace,
// opens no breaker. Its value is the name of the audit event that records the failure, the last of
// the status, so that nobody acknowledges what has not happened yet.
const BreakerAcknowledged = "ops.srenix.io/breaker-acknowledged"

// breaker is an open one.
type breaker struct {
	// failures in a row, the newest of them, and the namespaces that they lie in.
	failures   int
	newest     *opsv1alpha1.Approval
	namespaces map[string]bool
}

// String tells what opened it.
func (b *breaker) String() string {
	if len(b.namespaces) == 1 {
		return fmt.Sprintf("it failed %d times in a row in namespace %s", b.failures, b.newest.Namespace)
	}
	return fmt.Sprintf("it failed %d times in a row, in %d namespaces", b.failures, len(b.namespaces))
}

// closeCommand is what a person types to close the breaker.
func (b *breaker) closeCommand() string {
	return fmt.Sprintf("kubectl annotate approvals.ops.srenix.io %s -n %s --overwrite %s=%s",
		b.newest.Name, b.newest.Namespace, BreakerAcknowledged, lastRecord(b.newest))
}

// openBreaker returns the breaker that keeps a kind from being carried out in a
// namespace, by the approvals that are stored, or nil. It is the namespace's own,
// or that of the cluster, which no namespace can open by itself.
func (r *reconciler) openBreaker(ctx context.Context, kind srenix.ActionKind, namespace string) (*breaker, error) {
	outcomes, err := r.outcomes(ctx, kind)
	if err != nil {
		return nil, err
	}
	within := map[string][]opsv1alpha1.Approval{}
	for _, approval := range outcomes {
		within[approval.Namespace] = append(within[approval.Namespace], approval)
	}
	threshold := int(*r.config.BreakerThreshold)
	everywhere, here, anywhere := opened(outcomes, threshold, 2), (*breaker)(nil), false
	for name := range within {
		open := opened(within[name], threshold, 1)
		anywhere = anywhere || open != nil
		if name == namespace {
			here = open
		}
	}
	r.metrics.setBreaker(kind, everywhere != nil, anywhere)
	if everywhere != nil {
		return everywhere, nil
	}
	return here, nil
}

// outcomes are the approvals of a kind whose action failed or helped, newest first.
func (r *reconciler) outcomes(ctx context.Context, kind srenix.ActionKind) ([]opsv1alpha1.Approval, error) {
	var outcomes []opsv1alpha1.Approval
	for next := ""; ; {
		page := &opsv1alpha1.ApprovalList{}
		if err := r.client.List(ctx, page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("reading how earlier executions of %s ended: %w", kind, err)
		}
		for _, approval := range page.Items {
			if approval.Spec.Snapshot.ActionKind == kind && (failed(&approval) || helped(&approval)) {
				outcomes = append(outcomes, approval)
			}
		}
		if next = page.Continue; next == "" {
			break
		}
	}
	slices.SortFunc(outcomes, func(a, b opsv1alpha1.Approval) int {
		return cmp.Or(endOf(&b).Compare(endOf(&a)), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	return outcomes, nil
}

// opened looks for as many failures in a row as the threshold, in as many
// namespaces as are needed, in each back to the newest that is acknowledged: who
// looks after one namespace says nothing of what failed in others. A success ends
// a row, and does not close what an earlier one has opened: it may be of an action
// that was under way by then.
func opened(newestFirst []opsv1alpha1.Approval, threshold, namespaces int) *breaker {
	var row *breaker
	behind := map[string]bool{}
	for i := range newestFirst {
		approval := &newestFirst[i]
		switch {
		case helped(approval):
			row = nil
			continue
		case behind[approval.Namespace]:
			continue
		case acknowledged(approval):
			behind[approval.Namespace] = true
			continue
		case row == nil:
			row = &breaker{newest: approval, namespaces: map[string]bool{}}
		}
		row.failures++
		row.namespaces[approval.Namespace] = true
		if row.failures >= threshold && len(row.namespaces) >= namespaces {
			return row
		}
	}
	return nil
}

// holdBack leaves an approval pending while the breaker of its kind is open.
func (r *reconciler) holdBack(ctx context.Context, approval *opsv1alpha1.Approval, past *history, open *breaker) (ctrl.Result, error) {
	return r.hold(ctx, approval, past, "BreakerOpen", fmt.Sprintf("%s is not carried out, because %s; once the cause is understood, close the breaker: %s",
		approval.Spec.Snapshot.ActionKind, open, open.closeCommand()))
}

// hold leaves an approval pending for a reason that has to go away first, and
// gives a claim back under which nothing was done. Should its token expire
// meanwhile, that ends it.
func (r *reconciler) hold(ctx context.Context, approval *opsv1alpha1.Approval, past *history, reason, message string) (ctrl.Result, error) {
	if _, err := r.verifyToken(approval); err != nil {
		return r.concludeToken(ctx, approval, past, err)
	}
	known := meta.FindStatusCondition(approval.Status.Conditions, opsv1alpha1.ConditionAccepted)
	if known == nil || known.Message != message || approval.Status.Phase != opsv1alpha1.PhasePending {
		err := r.update(ctx, approval, asHeld(approval), func(status *opsv1alpha1.ApprovalStatus) {
			status.Phase = opsv1alpha1.PhasePending
			status.Message = message
			status.Execution = nil
			r.setCondition(status, approval.Generation, opsv1alpha1.ConditionAccepted, metav1.ConditionFalse, reason, message)
		})
		if err != nil {
			return ctrl.Result{}, err
		}
		kind := string(approval.Spec.Snapshot.ActionKind)
		klog.FromContext(ctx).Info("Approval held back", "reason", reason, "actionKind", kind, "message", message)
		r.announce(approval, false, warning, reason, kind, message)
	}
	return ctrl.Result{RequeueAfter: waitRetry}, nil
}

// failed is an approval whose action could not be carried out or did not help.
func failed(approval *opsv1alpha1.Approval) bool {
	return approval.Status.Phase == opsv1alpha1.PhaseFailed ||
		meta.IsStatusConditionFalse(approval.Status.Conditions, opsv1alpha1.ConditionVerified)
}

// acknowledged tells whether somebody has looked at this very failure.
func acknowledged(approval *opsv1alpha1.Approval) bool {
	name := approval.Annotations[BreakerAcknowledged]
	return name != "" && name == lastRecord(approval)
}

// lastRecord is the name of the newest audit event that a status names.
func lastRecord(approval *opsv1alpha1.Approval) string {
	if n := len(approval.Status.AuditEvents); n > 0 {
		return approval.Status.AuditEvents[n-1]
	}
	return ""
}

func helped(approval *opsv1alpha1.Approval) bool {
	return meta.IsStatusConditionTrue(approval.Status.Conditions, opsv1alpha1.ConditionVerified)
}

func endOf(approval *opsv1alpha1.Approval) time.Time {
	if completed := approval.Status.CompletedAt; completed != nil {
		return completed.Time
	}
	return approval.CreationTimestamp.Time
}
