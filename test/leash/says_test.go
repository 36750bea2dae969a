// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// sayEvent is an audit event that says something else than the usual one.
func sayEvent(change func(*opsv1alpha1.AuditEventSpec)) *opsv1alpha1.AuditEvent {
	event := newAuditEvent(fmt.Sprintf("%020d", 8), 8)
	change(&event.Spec)
	return event
}

// decided makes an audit event an acceptance as the executor records it, of an
// Approval that had not passed the webhook.
func decided(spec *opsv1alpha1.AuditEventSpec) {
	jti := strings.Repeat("0a", 16)
	spec.Type, spec.Actor = opsv1alpha1.AuditApprovalAccepted, "alice"
	spec.References = opsv1alpha1.AuditReferences{
		Namespace: open, Approval: token.ApprovalName(jti), ApprovalUID: "approval-uid", Approver: "alice", JTI: jti,
	}
}

// sayRows are what audit events say, of which the executor says its own part.
func sayRows() []row {
	var rows []row
	types := map[bool][]opsv1alpha1.AuditType{
		true: {
			opsv1alpha1.AuditChainStarted, opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditDenialRecorded,
			opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled,
			opsv1alpha1.AuditRunbookReleased, opsv1alpha1.AuditVerified, opsv1alpha1.AuditNotVerified, opsv1alpha1.AuditSuperseded,
			opsv1alpha1.AuditConfigurationChanged,
		},
		false: {
			opsv1alpha1.AuditTokenMinted, opsv1alpha1.AuditModelCalled, opsv1alpha1.AuditCheckpointSigned,
		},
	}
	for own, of := range types {
		for _, kind := range of {
			said := row{name: "an audit event that says " + string(kind), send: create(sayEvent(func(spec *opsv1alpha1.AuditEventSpec) {
				decided(spec)
				spec.Type = kind
				if kind == opsv1alpha1.AuditModelCalled { // or its schema refuses it first
					spec.ModelCall = &opsv1alpha1.ModelCall{ID: "5f0c6f3e-8a43-4b7e-9d55-0c0c6a1f2b3d", By: "alice", At: metav1.NewTime(spec.Time.Time), Model: "m", Prompt: "narrate/1", Outcome: "OK"}
				}
			}))}
			if !own {
				said.want = policy.ActionKindAllowlist
			}
			rows = append(rows, said)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.name, b.name) })
	refused := func(name string, change func(*opsv1alpha1.AuditEventSpec)) {
		rows = append(rows, other(name, nil, create(sayEvent(change))))
	}
	for _, component := range []string{"apiserver", "apiserver/srenix-apiserver-0", "advisor", "executors", "executor-0", "", "not/executor/x"} {
		refused(fmt.Sprintf("append an audit event as %q", component), func(spec *opsv1alpha1.AuditEventSpec) { spec.Component = component })
	}
	for _, kind := range []opsv1alpha1.AuditType{opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditDenialRecorded} {
		for name, change := range map[string]func(*opsv1alpha1.AuditEventSpec){
			"for nobody":            func(spec *opsv1alpha1.AuditEventSpec) { spec.References.Approver, spec.Actor = "", "" },
			"by itself":             func(spec *opsv1alpha1.AuditEventSpec) { spec.Actor = "executor" },
			"of no stored Approval": func(spec *opsv1alpha1.AuditEventSpec) { spec.References.ApprovalUID = "" },
			"of another token":      func(spec *opsv1alpha1.AuditEventSpec) { spec.References.JTI = strings.Repeat("0b", 16) },
			"of nothing at all":     func(spec *opsv1alpha1.AuditEventSpec) { spec.References = opsv1alpha1.AuditReferences{} },
		} {
			refused("append a decision "+name+": "+string(kind), func(spec *opsv1alpha1.AuditEventSpec) {
				decided(spec)
				spec.Type = kind
				change(spec)
			})
		}
	}
	return rows
}
