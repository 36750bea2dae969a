// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package breaker tells by stored Approvals which actions are not carried out, because
// they failed too often in a row. It reads nothing itself, so that whoever has the
// Approvals is told the same as the executor.
package breaker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Acknowledged is the annotation of a failed Approval by which a person
// says to have looked at it: it, and whatever failed before it in its namespace,
// opens no breaker. Its value is the name of the audit event that records the failure, the last of
// the status, so that nobody acknowledges what has not happened yet.
const Acknowledged = "ops.srenix.io/breaker-acknowledged"

// Open is an open breaker of one action kind.
type Open struct {
	// failures in a row, the newest of them, and the namespaces that they lie in.
	failures   int
	newest     *opsv1alpha1.Approval
	namespaces map[string]bool
	// mistaken is the newest failure whose acknowledgment does not name its record, or nil.
	mistaken *opsv1alpha1.Approval
}

// Message tells that something is not carried out, why, and what a person does about it.
func (b *Open) Message(what string) string {
	message := fmt.Sprintf("%s is not carried out, because %s", what, b)
	if of := b.mistaken; of != nil {
		message += fmt.Sprintf("; the annotation %s of Approval %s/%s does not name the record of its failure, %s, and closes nothing", Acknowledged, of.Namespace, of.Name, lastRecord(of))
	}
	return message + fmt.Sprintf("; once the cause is understood, close the breaker, which takes the right to patch approvals.ops.srenix.io in namespace %s: %s", b.newest.Namespace, b.closeCommand())
}

// String tells what opened it.
func (b *Open) String() string {
	if len(b.namespaces) == 1 {
		return fmt.Sprintf("it failed %d times in a row in namespace %s", b.failures, b.newest.Namespace)
	}
	return fmt.Sprintf("it failed %d times in a row, in %d namespaces", b.failures, len(b.namespaces))
}

// closeCommand is what a person types to close the breaker.
func (b *Open) closeCommand() string {
	return fmt.Sprintf("kubectl annotate approvals.ops.srenix.io %s -n %s --overwrite %s=%s",
		b.newest.Name, b.newest.Namespace, Acknowledged, lastRecord(b.newest))
}

// Of returns the open breakers of a kind by the approvals that are stored: that of the
// cluster, which no namespace can open by itself, or nil; and those of namespaces, by
// their names. A breaker opens by as many failures in a row as the threshold.
func Of(stored []opsv1alpha1.Approval, kind srenix.ActionKind, threshold int) (cluster *Open, namespaces map[string]*Open) {
	outcomes := outcomesOf(stored, kind)
	within := map[string][]opsv1alpha1.Approval{}
	for _, approval := range outcomes {
		within[approval.Namespace] = append(within[approval.Namespace], approval)
	}
	namespaces = map[string]*Open{}
	for name := range within {
		if open := opened(within[name], threshold, 1); open != nil {
			namespaces[name] = open
		}
	}
	return opened(outcomes, threshold, 2), namespaces
}

// outcomesOf are the approvals of a kind whose action failed or helped, newest first.
func outcomesOf(stored []opsv1alpha1.Approval, kind srenix.ActionKind) []opsv1alpha1.Approval {
	var outcomes []opsv1alpha1.Approval
	for _, approval := range stored {
		if approval.Spec.Snapshot.ActionKind == kind && (Failed(&approval) || helped(&approval)) {
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
func opened(newestFirst []opsv1alpha1.Approval, threshold, namespaces int) *Open {
	var row *Open
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
			row = &Open{newest: approval, namespaces: map[string]bool{}}
		}
		row.failures++
		row.namespaces[approval.Namespace] = true
		if row.mistaken == nil && approval.Annotations[Acknowledged] != "" {
			row.mistaken = approval
		}
		if row.failures >= threshold && len(row.namespaces) >= namespaces {
			return row
		}
	}
	return nil
}

// Failed tells whether an approval's action could not be carried out or did not help.
func Failed(approval *opsv1alpha1.Approval) bool {
	return approval.Status.Phase == opsv1alpha1.PhaseFailed ||
		meta.IsStatusConditionFalse(approval.Status.Conditions, opsv1alpha1.ConditionVerified)
}

// acknowledged tells whether somebody has looked at this very failure.
func acknowledged(approval *opsv1alpha1.Approval) bool {
	name := approval.Annotations[Acknowledged]
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
