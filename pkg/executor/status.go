// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// statusAttempts bounds how often a status update follows writers of something
// else, such as a label that a GitOps tool sets.
const statusAttempts = 5

// maximumMessage bounds the message of a condition in bytes (k8s.io/apimachinery, meta/v1).
const maximumMessage = 32768

// update changes the status of an approval, by the resourceVersion that is held.
// On a conflict it reads the approval again, and goes on only if still says that
// the change is as right for what is stored now; else it returns errOvertaken.
// On success approval is what is stored.
func (r *reconciler) update(ctx context.Context, approval *opsv1alpha1.Approval, still func(*opsv1alpha1.Approval) bool, change func(*opsv1alpha1.ApprovalStatus)) error {
	for range statusAttempts {
		next := approval.DeepCopy()
		change(&next.Status)
		if equality.Semantic.DeepEqual(next.Status, approval.Status) {
			return nil
		}
		err := r.client.Status().Update(ctx, next)
		if err == nil {
			*approval = *next
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("updating the status of Approval %s/%s: %w", approval.Namespace, approval.Name, err)
		}
		stored := &opsv1alpha1.Approval{}
		if err := r.client.Get(ctx, client.ObjectKeyFromObject(approval), stored); err != nil {
			return fmt.Errorf("reading Approval %s/%s after a conflict: %w", approval.Namespace, approval.Name, err)
		}
		if stored.UID != approval.UID || !still(stored) {
			return errOvertaken
		}
		*approval = *stored
	}
	return fmt.Errorf("updating the status of Approval %s/%s: others were faster %d times", approval.Namespace, approval.Name, statusAttempts)
}

// asHeld tells whether a stored approval is as far as the one that is held:
// same phase, same claim, same intent, and not withdrawn since.
func asHeld(held *opsv1alpha1.Approval) func(*opsv1alpha1.Approval) bool {
	phase, execution, withdrawn := held.Status.Phase, held.Status.Execution.DeepCopy(), held.DeletionTimestamp != nil
	return func(stored *opsv1alpha1.Approval) bool {
		return stored.Status.Phase == phase && (stored.DeletionTimestamp != nil) == withdrawn && equality.Semantic.DeepEqual(stored.Status.Execution, execution)
	}
}

// claim makes the approval this executor's. Here a conflict is always somebody
// else's claim, and never tried again.
func (r *reconciler) claim(ctx context.Context, approval *opsv1alpha1.Approval) error {
	nobodyElse := func(*opsv1alpha1.Approval) bool { return false }
	return r.update(ctx, approval, nobodyElse, func(status *opsv1alpha1.ApprovalStatus) {
		status.Phase = opsv1alpha1.PhaseExecuting
		status.Message = "claimed by " + r.identity
		status.Execution = &opsv1alpha1.ExecutionRecord{Executor: r.identity, ClaimedAt: r.microNow()}
	})
}

// microNow is the time as it will be read back.
func (r *reconciler) microNow() metav1.MicroTime {
	return metav1.NewMicroTime(r.clock.Now().UTC().Truncate(time.Microsecond))
}

// wholeSecond is the first full second not before t: stored times have seconds,
// and a time that is waited from must not move back by being stored.
func wholeSecond(t time.Time) *metav1.Time {
	whole := t.UTC().Truncate(time.Second)
	if whole.Before(t) {
		whole = whole.Add(time.Second)
	}
	return &metav1.Time{Time: whole}
}

func (r *reconciler) setCondition(status *opsv1alpha1.ApprovalStatus, generation int64, kind string, value metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: kind, Status: value, Reason: reason, Message: cut(message, maximumMessage), ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(r.clock.Now().UTC().Truncate(time.Second)),
	})
}

func addAuditEvent(status *opsv1alpha1.ApprovalStatus, name string) {
	if name != "" && !slices.Contains(status.AuditEvents, name) {
		status.AuditEvents = append(status.AuditEvents, name)
	}
}
