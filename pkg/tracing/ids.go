// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// ids are those of a trace and of its first span.
type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

type idsKey struct{}

// idsOf are the IDs of an Approval's trace: the first 24 bytes of the SHA-256 of
// "NAMESPACE/NAME", where no name has a slash. An Approval is named after its token,
// which is used once, so no two Approvals of a cluster ever have the same.
func idsOf(of Approval) (made ids) {
	sum := sha256.Sum256([]byte(of.Namespace + "/" + of.Name))
	copy(made.trace[:], sum[:])
	copy(made.span[:], sum[len(made.trace):])
	return made
}

// generator makes the IDs that the context asks for, where a trace begins, and random
// ones elsewhere. It is safe for concurrent use.
type generator struct{}

var _ sdktrace.IDGenerator = generator{}

// NewIDs implements sdktrace.IDGenerator.
func (g generator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if known, ok := ctx.Value(idsKey{}).(ids); ok {
		return known.trace, known.span
	}
	var id trace.TraceID
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator.
func (generator) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
