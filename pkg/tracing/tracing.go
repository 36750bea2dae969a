// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tracing makes one trace of each Approval, from its admission to its
// verification, whichever processes take part and however often they restart.
//
// Nothing is handed from one process to the next, and nothing can be lost on the way:
// the ID of the trace, and that of its first span, follow from the namespace and the
// name of the Approval, which every process knows. Whether a trace is sampled follows
// from its ID, so that all of it is exported or none.
//
// It is configured by the environment, as the OpenTelemetry specification has it:
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT turns it on, and
// the other variables of the exporter and of the SDK hold.
package tracing

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// Names of attributes of spans.
const (
	Decision   = attribute.Key("srenix.decision")
	ActionKind = attribute.Key("srenix.action_kind")
	Outcome    = attribute.Key("srenix.outcome")
	Reason     = attribute.Key("srenix.reason")
	AuditEvent = attribute.Key("srenix.audit_event")

	namespaceName = attribute.Key("k8s.namespace.name")
	approvalName  = attribute.Key("srenix.approval")
)

// endTimeout bounds how long the last spans may take when a process ends.
const endTimeout = 5 * time.Second

// Tracer traces Approvals; nil traces nothing.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New returns the Tracer of a service that the environment asks for, or nil if it asks
// for none, and with an error: then a program goes on without. An endpoint that does not
// answer is no error, then or later: what cannot be exported is dropped.
func New(ctx context.Context, service string) (*Tracer, error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" ||
		strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil //nolint:nilnil // A nil Tracer is one that traces nothing.
	}
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := os.Getenv(variable); protocol != "" && protocol != "grpc" {
			return nil, fmt.Errorf("%s is %q: traces are exported by grpc only; unset it, and name the collector's gRPC port (4317)", variable, protocol)
		}
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("making the exporter of traces: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version.Get().GitVersion)),
		resource.WithFromEnv(), // has the last word
	)
	if err != nil {
		return nil, fmt.Errorf("describing this process to the collector of traces (look at OTEL_RESOURCE_ATTRIBUTES): %w", err)
	}
	return newTracer(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described)), nil
}

func newTracer(options ...sdktrace.TracerProviderOption) *Tracer {
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithIDGenerator(generator{}))...)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/srenix/srenix")}
}

// Close exports what is left, for a few seconds at most.
func (t *Tracer) Close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		klog.FromContext(ctx).Info("The last traces could not be exported", "err", err)
	}
}

// Approval is the one that a trace is of.
type Approval struct {
	Namespace, Name string
	// Made is when it was made, by the clock of kube-apiserver; zero before it is.
	Made time.Time
}

// Start begins a span of the trace of an Approval, which End ends. Requests that are made
// with the context it returns, by a client with Wrap, are spans within.
func (t *Tracer) Start(ctx context.Context, of Approval, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil {
		return ctx, noop.Span{}
	}
	ctx, _ = t.whole(ctx, of)
	return t.tracer.Start(ctx, name, options...)
}

// Conclude ends the span of all of an Approval, from when it was made until now.
// Exactly one process does, the one that sees the Approval end.
func (t *Tracer) Conclude(ctx context.Context, of Approval, attributes ...attribute.KeyValue) {
	if t == nil {
		return
	}
	_, span := t.whole(ctx, of)
	span.SetAttributes(attributes...)
	span.End()
}

// whole is the first span of the trace, which all others are within. Whoever does not
// end it does not export it.
func (t *Tracer) whole(ctx context.Context, of Approval) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{
		trace.WithNewRoot(),
		trace.WithAttributes(namespaceName.String(of.Namespace), approvalName.String(of.Name)),
	}
	if !of.Made.IsZero() {
		options = append(options, trace.WithTimestamp(of.Made))
	}
	return t.tracer.Start(context.WithValue(ctx, idsKey{}, idsOf(of)), "approval", options...)
}

// End ends a span, with the error that it ended with, if any.
func End(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Wrap has requests that are made within a span be spans too, and tells them to the
// server that is called, which may trace what it does for them. Others stay as they are.
func Wrap(next http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(next,
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithFilter(func(r *http.Request) bool { return trace.SpanContextFromContext(r.Context()).IsValid() }),
	)
}
