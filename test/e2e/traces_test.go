// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// traces is what the collector of this package's programs received.
var traces = &receiver{}

// receiver is a collector of OpenTelemetry that keeps all spans.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []receivedSpan
}

type receivedSpan struct {
	service string
	*otlp.Span
}

// Export implements collector.TraceServiceServer.
func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		service := attributeOf(resource.Resource.Attributes, "service.name")
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				r.spans = append(r.spans, receivedSpan{service, span})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// start serves, and has the programs that are started from here on export to it.
func (r *receiver) start() (stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for traces: %w", err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // which ends with Stop
	for variable, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + listener.Addr().String(),
		"OTEL_BSP_SCHEDULE_DELAY":     "200", // ms
	} {
		if err := os.Setenv(variable, value); err != nil {
			return nil, fmt.Errorf("configuring the export of traces: %w", err)
		}
	}
	return func() {
		server.Stop()
		serving.Wait()
	}, nil
}

// of returns the trace of an Approval, by the name of its first span's attribute.
func (r *receiver) of(namespace, approval string) (whole *otlp.Span, trace []receivedSpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, span := range r.spans {
		if span.Name == "approval" && attributeOf(span.Attributes, "k8s.namespace.name") == namespace && attributeOf(span.Attributes, "srenix.approval") == approval {
			whole = span.Span
		}
	}
	for _, span := range r.spans {
		if whole != nil && slices.Equal(span.TraceId, whole.TraceId) {
			trace = append(trace, span)
		}
	}
	return whole, trace
}

func attributeOf(attributes []*common.KeyValue, key string) string {
	for _, attribute := range attributes {
		if attribute.Key == key {
			return attribute.Value.GetStringValue()
		}
	}
	return ""
}

func TestAnApprovalIsOneTrace(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	proposal := stuckStatefulSet(t, ns, "db")
	minted := mint(t, alice, proposal)
	if _, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, minted.Token)); err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(strings.TrimSpace(kubectl(t, "get", "approvals", "-n", ns, "-o", "name")), "approval.ops.srenix.io/")
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+name, "-n", ns, "--timeout=90s")

	want := []string{"srenix-apiserver admit Accepted", "srenix-executor act ", "srenix-executor approval FindingCleared", "srenix-executor judge ", "srenix-executor verify FindingCleared"}
	var whole *otlp.Span
	var trace []receivedSpan
	eventually(t, "the trace of the approval", func(context.Context) (bool, string) {
		var have []string
		whole, trace = traces.of(ns, name)
		for _, span := range trace {
			if whole != nil && (slices.Equal(span.ParentSpanId, whole.SpanId) || slices.Equal(span.SpanId, whole.SpanId)) {
				have = append(have, fmt.Sprintf("%s %s %s", span.service, span.Name, attributeOf(span.Attributes, "srenix.outcome")))
			}
		}
		slices.Sort(have)
		have = slices.Compact(have) // it may be judged again
		return slices.Equal(have, want), fmt.Sprintf("have %q, want %q", have, want)
	})
	if len(whole.ParentSpanId) != 0 {
		t.Errorf("the whole has a parent: %x", whole.ParentSpanId)
	}
	intent := getApproval(t, ns, name).Status.Execution.Intent
	var deletions int
	for _, span := range trace {
		switch span.Name {
		case "act":
			if event := attributeOf(span.Attributes, "srenix.audit_event"); event != intent {
				t.Errorf("the action names audit event %q, want %s", event, intent)
			}
		case "HTTP DELETE":
			if strings.HasSuffix(attributeOf(span.Attributes, "url.full"), "/pods/db-0") {
				deletions++
			}
		}
		if said := span.String(); strings.Contains(said, minted.Token) {
			t.Errorf("the token is in span %s of %s", span.Name, hex.EncodeToString(span.TraceId))
		}
	}
	// Each time that it is judged is a dry run, and one is the action.
	if deletions < 2 {
		t.Errorf("%d requests delete the pod within the trace, want 2: %v", deletions, trace)
	}
}
