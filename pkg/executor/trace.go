// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"

	oteltrace "go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/api/meta"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/tracing"
)

// Names of the spans within the trace of an approval.
const (
	spanJudge  = "judge"
	spanAct    = "act"
	spanVerify = "verify"
)

// span begins a part of an approval's trace; tracing.End ends it.
func (r *reconciler) span(ctx context.Context, approval *opsv1alpha1.Approval, name string, options ...oteltrace.SpanStartOption) (context.Context, oteltrace.Span) {
	return r.tracer.Start(ctx, traceOf(approval), name, options...)
}

func traceOf(approval *opsv1alpha1.Approval) tracing.Approval {
	return tracing.Approval{Namespace: approval.Namespace, Name: approval.Name, Made: approval.CreationTimestamp.Time}
}

// concludeTrace ends the trace of an approval that came to its end.
func (r *reconciler) concludeTrace(ctx context.Context, approval *opsv1alpha1.Approval) {
	outcome := string(approval.Status.Phase)
	if verified := meta.FindStatusCondition(approval.Status.Conditions, opsv1alpha1.ConditionVerified); verified != nil {
		outcome = verified.Reason
	}
	r.tracer.Conclude(ctx, traceOf(approval),
		tracing.Decision.String(string(approval.Spec.Decision)),
		tracing.ActionKind.String(string(approval.Spec.Snapshot.ActionKind)),
		tracing.Outcome.String(outcome))
}

// startedAt is when the action was done.
func startedAt(approval *opsv1alpha1.Approval) []oteltrace.SpanStartOption {
	if record := approval.Status.Execution; record != nil && record.ActedAt != nil {
		return []oteltrace.SpanStartOption{oteltrace.WithTimestamp(record.ActedAt.Time)}
	}
	return nil
}
