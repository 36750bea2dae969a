// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// SrenixConfiguration is the whole file.
// +kubebuilder:object:root=true
type SrenixConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// analyzers by name; an absent one runs with its defaults.
	Analyzers map[string]AnalyzerConfiguration `json:"analyzers,omitempty"`
	// policy narrows the eight layers.
	Policy PolicyConfiguration `json:"policy,omitzero"`
	// executor sets how actions are verified.
	Executor ExecutorConfiguration `json:"executor,omitzero"`
	// audit sets how long the audit chain is kept.
	Audit AuditConfiguration `json:"audit,omitzero"`
}

// AnalyzerConfiguration adjusts one analyzer.
type AnalyzerConfiguration struct {
	// enabled is true by default.
	Enabled *bool `json:"enabled,omitempty"`
	// grace replaces the analyzer's default grace.
	Grace *metav1.Duration `json:"grace,omitempty"`
	// options are the analyzer's own, decoded strictly by it.
	Options *runtime.RawExtension `json:"options,omitempty"`
}

// PolicyConfiguration narrows what is allowed.
type PolicyConfiguration struct {
	// allowedActionKinds restricts layer 1 to these; absent means all that are compiled in, and an empty list is refused.
	AllowedActionKinds []srenix.ActionKind `json:"allowedActionKinds,omitempty"`
	// protectedNamespaces are added to the built-in list of layer 3.
	ProtectedNamespaces []string `json:"protectedNamespaces,omitempty"`
	// gitOpsMarkers are added to the built-in ones of layer 4.
	GitOpsMarkers GitOpsMarkers `json:"gitOpsMarkers,omitzero"`
	// approvers is the number of distinct approvers by action kind; never fewer than built in (1, and 2 for Runbook).
	Approvers map[srenix.ActionKind]int32 `json:"approvers,omitempty"`
	// approvalInterval is the least time between two approvals where two are needed; at least 30m.
	ApprovalInterval *metav1.Duration `json:"approvalInterval,omitempty"`
	// approvalsPerHour is the budget of each pair of approver and diagnostic class; 10 by default, and at most that.
	ApprovalsPerHour *int32 `json:"approvalsPerHour,omitempty"`
	// maxTokenLifetime limits tokens; 24h by default, and at most that.
	MaxTokenLifetime *metav1.Duration `json:"maxTokenLifetime,omitempty"`
}

// GitOpsMarkers are names of annotations and labels whose presence with a value marks an object as managed.
type GitOpsMarkers struct {
	// annotations by key.
	Annotations []string `json:"annotations,omitempty"`
	// labels by key.
	Labels []string `json:"labels,omitempty"`
}

// ExecutorConfiguration sets how actions are verified.
type ExecutorConfiguration struct {
	// settleTime is how long a finding must stay cleared; 30s by default, and at least 1s.
	SettleTime *metav1.Duration `json:"settleTime,omitempty"`
	// verifyDeadline is by when a finding must have cleared and stayed so for settleTime, else Verified is
	// False; 10m by default, and at least settleTime.
	VerifyDeadline *metav1.Duration `json:"verifyDeadline,omitempty"`
	// breakerThreshold is how many failures in a row of one action kind open its breaker; 3 by default, and at most that.
	BreakerThreshold *int32 `json:"breakerThreshold,omitempty"`
}

// AuditConfiguration sets how long the audit chain is kept.
type AuditConfiguration struct {
	// retention is how long audit events are kept in the cluster at least, 2160h
	// (90 days) by default, and at least 168h; 0s keeps them for ever. Older ones are
	// pruned once a signed checkpoint covers them and nothing that stands depends on them.
	Retention *metav1.Duration `json:"retention,omitempty"`
}
