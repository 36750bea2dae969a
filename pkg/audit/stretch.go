// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
	"iter"

	"github.com/transparency-dev/merkle/compact"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// stretch is the beginning of a chain in a few hashes, to which events are added
// one after another.
type stretch struct {
	covered *compact.Range
	// last is the hash of the last event; empty where there is none.
	last string
}

// newStretch goes on from a known beginning; none is size 0.
func newStretch(size int64, last string, frontier []string) (*stretch, error) {
	covered, err := rangeOf(size, frontier)
	if err != nil {
		return nil, err
	}
	return &stretch{covered: covered, last: last}, nil
}

func (s *stretch) size() int64 { return int64(s.covered.End()) }

// add verifies that an event is the next one, and adds it. The error is a *BadLink
// if it is not.
func (s *stretch) add(event *opsv1alpha1.AuditEventSpec) error {
	next := s.size()
	if event.Index != next {
		return &BadLink{Index: next, Problem: fmt.Sprintf("event %d stands in its place: it was dropped or moved", event.Index)}
	}
	if err := checkHash(event); err != nil {
		return err
	}
	if next == 0 {
		if err := checkStart(event); err != nil {
			return err
		}
	} else if event.PrevHash != s.last {
		return &BadLink{Index: next, Problem: fmt.Sprintf("its prevHash is not the hash that event %d had: one of the two was replaced", next-1)}
	}
	leaf, err := leafOf(event.Hash)
	if err != nil {
		return err
	}
	if err := s.covered.Append(leaf, nil); err != nil {
		return fmt.Errorf("adding audit event %d to the tree: %w", next, err)
	}
	s.last = event.Hash
	return nil
}

// frontier are the hashes of the compact range.
func (s *stretch) frontier() []string { return encodeHashes(s.covered.Hashes()) }

// extend adds the events with an index from size to below end, as they are in the
// cluster. Each is handed to see, before it is added, unless that is nil.
func (s *stretch) extend(ctx context.Context, reader client.Reader, end int64, see func(*opsv1alpha1.AuditEventSpec)) error {
	for event, err := range section(ctx, reader, s.size(), end) {
		if err != nil {
			return err
		}
		if see != nil {
			see(&event.Spec)
		}
		if err := s.add(&event.Spec); err != nil {
			return err
		}
	}
	if s.size() < end {
		return &BadLink{Index: s.size(), Problem: "it is missing"}
	}
	return nil
}

// section reads the events with an index from begin to below end, in order. A few
// are read by name, which costs no more than they are. For many, the chain is
// listed from its beginning, because the API server lists from nowhere else.
func section(ctx context.Context, reader client.Reader, begin, end int64) iter.Seq2[*opsv1alpha1.AuditEvent, error] {
	if end-begin <= pageSize {
		return byName(ctx, reader, begin, end)
	}
	return func(yield func(*opsv1alpha1.AuditEvent, error) bool) {
		for event, err := range oldestFirst(ctx, reader) {
			if err == nil && event.Spec.Index < begin {
				continue
			}
			if err == nil && event.Spec.Index >= end || !yield(event, err) {
				return
			}
		}
	}
}

func byName(ctx context.Context, reader client.Reader, begin, end int64) iter.Seq2[*opsv1alpha1.AuditEvent, error] {
	return func(yield func(*opsv1alpha1.AuditEvent, error) bool) {
		for index := begin; index < end; index++ {
			event := &opsv1alpha1.AuditEvent{}
			err := reader.Get(ctx, client.ObjectKey{Name: EventName(index)}, event)
			if client.IgnoreNotFound(err) != nil {
				yield(nil, fmt.Errorf("reading audit event %d: %w", index, err))
				return
			}
			if err != nil {
				yield(nil, &BadLink{Index: index, Problem: "it is missing"})
				return
			}
			if !yield(event, nil) {
				return
			}
		}
	}
}

// oldestFirst lists the chain a page at a time, in the order of names, which is
// that of indices.
func oldestFirst(ctx context.Context, reader client.Reader) iter.Seq2[*opsv1alpha1.AuditEvent, error] {
	return func(yield func(*opsv1alpha1.AuditEvent, error) bool) {
		for next := ""; ; {
			page := &opsv1alpha1.AuditEventList{}
			if err := reader.List(ctx, page, client.Limit(pageSize), client.Continue(next)); err != nil {
				yield(nil, fmt.Errorf("listing the audit events: %w", err))
				return
			}
			for i := range page.Items {
				event := &page.Items[i]
				if event.Name != EventName(event.Spec.Index) {
					yield(nil, &BadLink{Index: event.Spec.Index, Problem: fmt.Sprintf("it stands under the name %q", event.Name)})
					return
				}
				if !yield(event, nil) {
					return
				}
			}
			if next = page.Continue; next == "" {
				return
			}
		}
	}
}
