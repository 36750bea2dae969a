// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

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
	// mistaken is the newest failure whose acknowledgment does not name its record, or nil.
	mistaken *opsv1alpha1.Approval
}

// message tells what is not carried out, why, and what a person does about it.
func (b *breaker) message(kind srenix.ActionKind) string {
	message := fmt.Sprintf("%s is not carried out, because %s", kind, b)
	if of := b.mistaken; of != nil {
		message += fmt.Sprintf("; the annotation %s of Approval %s/%s does not name the record of its failure, %s, and closes nothing", BreakerAcknowledged, of.Namespace, of.Name, lastRecord(of))
	}
	return message + fmt.Sprintf("; once the cause is understood, close the breaker, which takes the right to patch approvals.ops.srenix.io in namespace %s: %s", b.newest.Namespace, b.closeCommand())
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
func (r *reconciler) openBreaker(stored []opsv1alpha1.Approval, kind srenix.ActionKind, namespace string) *breaker {
	outcomes := outcomesOf(stored, kind)
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
		return everywhere
	}
	return here
}

// outcomesOf are the approvals of a kind whose action failed or helped, newest first.
func outcomesOf(stored []opsv1alpha1.Approval, kind srenix.ActionKind) []opsv1alpha1.Approval {
	var outcomes []opsv1alpha1.Approval
	for _, approval := range stored {
		if approval.Spec.Snapshot.ActionKind == kind && (failed(&approval) || helped(&approval)) {
			outcomes = append(outcomes, approval)
		}
	}
	slices.SortFunc(outcomes, func(a, b opsv1alpha1.Approval) int {
		return cmp.Or(endOf(&b).Compare(endOf(&a)), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	return outcomes
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
		if row.mistaken == nil && approval.Annotations[BreakerAcknowledged] != "" {
			row.mistaken = approval
		}
		if row.failures >= threshold && len(row.namespaces) >= namespaces {
			return row
		}
	}
	return nil
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
