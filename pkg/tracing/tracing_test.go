// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

var made = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// process is one that traces, with what it exports.
func process(options ...sdktrace.TracerProviderOption) (*Tracer, *tracetest.InMemoryExporter) {
	exporter := tracetest.NewInMemoryExporter()
	return newTracer(append(options, sdktrace.WithSyncer(exporter))...), exporter
}

func TestTwoProcessesMakeOneTrace(t *testing.T) {
	server, admitted := process()
	executor, executed := process()
	approval := Approval{Namespace: "ns", Name: "a", Made: made}

	_, span := server.Start(t.Context(), Approval{Namespace: "ns", Name: "a"}, "admit")
	End(span, nil)
	_, span = executor.Start(t.Context(), approval, "act")
	End(span, errors.New("it failed"))
	executor.Conclude(t.Context(), approval, Outcome.String("Failed"))

	if n := len(admitted.GetSpans()); n != 1 {
		t.Fatalf("the server exported %d spans, want its own one", n)
	}
	admit, act, whole := admitted.GetSpans()[0], executed.GetSpans()[0], executed.GetSpans()[1]
	if whole.Name != "approval" || whole.Parent.IsValid() || !whole.StartTime.Equal(made) {
		t.Errorf("the whole is %q since %s within %v", whole.Name, whole.StartTime, whole.Parent)
	}
	for _, part := range []tracetest.SpanStub{admit, act} {
		if part.SpanContext.TraceID() != whole.SpanContext.TraceID() || part.Parent.SpanID() != whole.SpanContext.SpanID() {
			t.Errorf("%s is within %v, want %v", part.Name, part.Parent, whole.SpanContext)
		}
		if part.SpanContext.SpanID() == whole.SpanContext.SpanID() {
			t.Errorf("%s has the ID of the whole", part.Name)
		}
	}
	if act.Status.Code != codes.Error || act.Status.Description != "it failed" {
		t.Errorf("status %v, want the error", act.Status)
	}
	_, span = executor.Start(t.Context(), Approval{Namespace: "ns", Name: "b", Made: made}, "act")
	if span.SpanContext().TraceID() == whole.SpanContext.TraceID() {
		t.Error("another approval is of the same trace")
	}
}

func TestAllOfATraceIsSampledOrNone(t *testing.T) {
	half := sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.5)))
	first, _ := process(half)
	second, exported := process(half)
	var sampled int
	for n := range 200 {
		approval := Approval{Namespace: "ns", Name: fmt.Sprintf("approval-%d", n), Made: made}
		_, one := first.Start(t.Context(), approval, "admit")
		_, other := second.Start(t.Context(), approval, "act")
		if one.SpanContext().IsSampled() != other.SpanContext().IsSampled() {
			t.Errorf("%s is sampled by one process only", approval.Name)
		}
		exported.Reset()
		second.Conclude(t.Context(), approval)
		if whole := len(exported.GetSpans()) == 1; whole != one.SpanContext().IsSampled() {
			t.Errorf("%s: the whole is exported: %v, and its parts: %v", approval.Name, whole, !whole)
		}
		if one.SpanContext().IsSampled() {
			sampled++
		}
	}
	if sampled < 50 || sampled > 150 {
		t.Errorf("%d of 200 are sampled, want about half", sampled)
	}
}

func TestRequestsWithinASpanAreSpansAndTellTheServer(t *testing.T) {
	var told []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told = append(told, r.Header.Get("Traceparent")) }))
	defer server.Close()
	client := &http.Client{Transport: Wrap(server.Client().Transport)}
	tracer, exported := process()
	within, span := tracer.Start(t.Context(), Approval{Namespace: "ns", Name: "a"}, "act")
	for _, ctx := range []context.Context{t.Context(), within} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	spans := exported.GetSpans()
	if len(spans) != 1 || spans[0].Parent.SpanID() != span.SpanContext().SpanID() {
		t.Fatalf("spans %v, want one within the action", spans)
	}
	want := fmt.Sprintf("00-%s-%s-01", span.SpanContext().TraceID(), spans[0].SpanContext.SpanID())
	if len(told) != 2 || told[0] != "" || told[1] != want {
		t.Errorf("the server was told %q, want nothing and then %s", told, want)
	}
}

func TestTheEnvironmentTurnsTracingOn(t *testing.T) {
	for name, test := range map[string]struct {
		environment map[string]string
		on, refused bool
	}{
		"nothing is set":                        {},
		"an endpoint":                           {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, on: true},
		"one of traces":                         {environment: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, on: true},
		"an endpoint, and the SDK disabled":     {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "TRUE"}},
		"an endpoint of another protocol":       {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, refused: true},
		"attributes that are none":              {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES": "a"}, refused: true},
		"an endpoint, and the protocol of gRPC": {environment: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, on: true},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range test.environment {
				t.Setenv(variable, value)
			}
			tracer, err := New(t.Context(), "test")
			if (err != nil) != test.refused || (tracer != nil) != test.on {
				t.Errorf("tracer %v, error %v", tracer != nil, err)
			}
			tracer.Close(t.Context())
		})
	}
}

func TestWithoutATracerThereIsNothing(t *testing.T) {
	var none *Tracer
	ctx, span := none.Start(t.Context(), Approval{Namespace: "ns", Name: "a"}, "act")
	End(span, errors.New("it failed"))
	none.Conclude(ctx, Approval{})
	none.Close(ctx)
	if trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("there is a span")
	}
}
