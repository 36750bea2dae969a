// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// MostEarlier is how many earlier approvals are told of.
const MostEarlier = 3

// SameRepair tells whether an approval is of the same action as a proposal, for the
// same finding or on an object of the same name. Pods come back under new names, and
// findings do not.
func SameRepair(approval *opsv1alpha1.Approval, proposal *v1alpha1.ProposalSpec) bool {
	of := &approval.Spec.Snapshot
	sameTarget := of.Target.Kind == proposal.Target.Kind && of.Target.Namespace == proposal.Target.Namespace && of.Target.Name == proposal.Target.Name
	return of.ActionKind == proposal.ActionKind && (sameTarget || of.Finding.Name == proposal.Finding.Name)
}

// Newest are the newest of some approvals, the newest first, and no more than are told of.
func Newest(approvals []*opsv1alpha1.Approval) []*opsv1alpha1.Approval {
	newest := slices.Clone(approvals)
	slices.SortFunc(newest, func(a, b *opsv1alpha1.Approval) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return newest[:min(len(newest), MostEarlier)]
}

// BecameOf tells in a line when an approval was given, by whom, and what became of it.
func BecameOf(approval *opsv1alpha1.Approval) string {
	status := &approval.Status
	phase, message := cmp.Or(string(status.Phase), "not yet picked up"), status.Message
	if approval.Spec.Decision == v1alpha1.DecisionApprove && status.Phase == opsv1alpha1.PhaseDenied {
		phase = "refused" // The phase is that of a person's no, too.
	}
	if verified := meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionVerified); verified != nil {
		phase += map[metav1.ConditionStatus]string{
			metav1.ConditionTrue: ", verified", metav1.ConditionFalse: ", not verified", metav1.ConditionUnknown: ", being verified",
		}[verified.Status]
		message = verified.Message
	}
	by := ""
	if status.Approver != "" {
		by = " by " + status.Approver
	}
	line := fmt.Sprintf("%s  %s%s: %s", approval.CreationTimestamp.UTC().Format(time.RFC3339), approval.Spec.Snapshot.ActionKind, by, phase)
	if message != "" {
		line += ": " + message
	}
	return fmt.Sprintf("%s (%s)", line, approval.Name)
}
