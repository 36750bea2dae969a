// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Labels of audit events, derived from their references so that they can be
// listed by them.
const (
	LabelType        = "ops.srenix.io/type"
	LabelJTI         = "ops.srenix.io/jti"
	LabelBudget      = "ops.srenix.io/budget"
	LabelProposalUID = "ops.srenix.io/proposal-uid"
	LabelModelCall   = "ops.srenix.io/model-call"
)

const (
	// maximumText bounds messages in bytes: nine verdicts in a sentence each.
	maximumText = 4096
	// maximumField bounds every other string in bytes. It is not less than the
	// longest user name that a token can have.
	maximumField = 1024
)

// Source is what counts as one person for budgets and limits. The ServiceAccounts of a
// namespace are one: whoever may use the namespace has as many as they like, and may
// impersonate those that do not exist.
func Source(user string) string {
	if namespace, _, err := serviceaccount.SplitUsername(user); err == nil {
		return serviceaccount.MakeNamespaceGroupName(namespace)
	}
	return user
}

// BudgetKey is the label value by which the approvals of one Source for one
// diagnostic class are counted: 32 hex digits.
func BudgetKey(approver, diagnosticClass string) string {
	sum := sha256.Sum256([]byte(Source(approver) + "\x00" + diagnosticClass))
	return hex.EncodeToString(sum[:16])
}

// indexed are the labels by which events are found.
var indexed = []string{LabelType, LabelJTI, LabelBudget, LabelProposalUID, LabelModelCall}

// LabelsOf returns the labels that the event with this spec has to have. No hash
// covers them, and what is not found by them is not seen. The chain outlives a build, so
// what it returns for a spec never changes: a new label is that of a new field or type.
func LabelsOf(spec *opsv1alpha1.AuditEventSpec) map[string]string {
	labels := map[string]string{}
	// A refused approval may name anything; what cannot be a label is not one.
	set := func(key, value string) {
		if value != "" && len(validation.IsValidLabelValue(value)) == 0 {
			labels[key] = value
		}
	}
	references := &spec.References
	set(LabelType, string(spec.Type))
	set(LabelJTI, references.JTI)
	if !refused(spec) {
		set(LabelProposalUID, string(references.ProposalUID))
	}
	if spec.ModelCall != nil {
		set(LabelModelCall, spec.ModelCall.ID)
	}
	if references.Approver != "" && references.DiagnosticClass != "" {
		set(LabelBudget, BudgetKey(references.Approver, references.DiagnosticClass))
	}
	return labels
}

// refused tells whether an event is a layer's refusal of a request. Whoever holds a used
// token can bring about as many as they like, and nobody who decides about the proposal
// shall have to read them; they are found by their token. What an executor refuses is
// the end of an approval.
func refused(spec *opsv1alpha1.AuditEventSpec) bool {
	return spec.Type == opsv1alpha1.AuditApprovalDenied && !ByExecutor(spec)
}

// CheckLabels tells whether an event as it is stored has the labels that follow from
// its spec. The error is a *BadLink for its index. Other labels may be there too.
func CheckLabels(event *opsv1alpha1.AuditEvent) error {
	return checkLabels(event.Labels, &event.Spec)
}

func checkLabels(have map[string]string, spec *opsv1alpha1.AuditEventSpec) error {
	want := LabelsOf(spec)
	for _, label := range indexed {
		if have[label] != want[label] {
			return &BadLink{Index: spec.Index, Problem: fmt.Sprintf(
				"its label %s is %q, and has to be %q by its content: whoever looks for it by this label does not find it", label, have[label], want[label])}
		}
	}
	return nil
}

// bound cuts every string that came from outside, and makes it UTF-8, which
// JSON would otherwise do differently before and after it is stored.
func bound(spec *opsv1alpha1.AuditEventSpec) {
	references := &spec.References
	for _, field := range []*string{
		&spec.Component, &spec.Actor,
		&references.Namespace, &references.Proposal, &references.Digest, &references.Approval,
		&references.Approver, &references.Applier, &references.JTI, &references.DiagnosticClass, &references.Plan,
	} {
		*field = cut(*field, maximumField)
	}
	spec.Message = cut(spec.Message, maximumText)
	references.ProposalUID = types.UID(cut(string(references.ProposalUID), maximumField))
	references.ApprovalUID = types.UID(cut(string(references.ApprovalUID), maximumField))
	references.ActionKind = v1alpha1.ActionKind(cut(string(references.ActionKind), maximumField))
	if target := references.Target; target != nil {
		for _, field := range []*string{&target.APIVersion, &target.Kind, &target.Namespace, &target.Name} {
			*field = cut(*field, maximumField)
		}
		target.UID = types.UID(cut(string(target.UID), maximumField))
	}
	if spec.Intent != nil {
		spec.Intent.Value = cut(spec.Intent.Value, maximumField)
	}
	if call := spec.ModelCall; call != nil {
		for _, field := range []*string{&call.ID, &call.By, &call.Model, &call.Prompt, &call.PromptHash, &call.AnswerHash, &call.Outcome} {
			*field = cut(*field, maximumField)
		}
	}
	for i := range spec.Verdicts {
		spec.Verdicts[i].Message = cut(spec.Verdicts[i].Message, maximumField)
		spec.Verdicts[i].Remedy = cut(spec.Verdicts[i].Remedy, maximumField)
	}
}

func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	// A rune cut in two goes too.
	return strings.ToValidUTF8(text, "")
}
