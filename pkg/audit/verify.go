// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"iter"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// BadLink is the first event at which a chain is broken.
type BadLink struct {
	// Index of the event that is missing, or is not what it should be.
	Index int64
	// Problem tells what is wrong with it.
	Problem string
}

// Error implements error.
func (b *BadLink) Error() string { return fmt.Sprintf("audit event %d: %s", b.Index, b.Problem) }

// Result is what was verified.
type Result struct {
	// Count of the events that verified.
	Count int64
	// First and Last are their indices. A First above 0 means that older events
	// were pruned or left out; what they were is not verified. Both are -1 if
	// there was no event.
	First, Last int64
	// Head is the hash of the last one.
	Head string
}

// Verify reads events in the order of the chain and checks each hash and each
// link. The error is a *BadLink for the first index that was edited, moved or
// dropped, or the error of the sequence itself. The result covers what came
// before it. A chain that was cut at its end verifies: VerifyAgainst finds that.
func Verify(events iter.Seq2[opsv1alpha1.AuditEventSpec, error]) (Result, error) {
	return verifyEach(events, func(*opsv1alpha1.AuditEventSpec) error { return nil })
}

// verifyEach verifies like Verify, and lets also judge each event that is linked
// to the one before.
func verifyEach(events iter.Seq2[opsv1alpha1.AuditEventSpec, error], also func(*opsv1alpha1.AuditEventSpec) error) (Result, error) {
	result := Result{First: -1, Last: -1}
	var prev *opsv1alpha1.AuditEventSpec
	for event, err := range events {
		if err != nil {
			if result.Count == 0 {
				return result, fmt.Errorf("reading the first event: %w", err)
			}
			return result, fmt.Errorf("reading the event after index %d: %w", result.Last, err)
		}
		if err := follows(prev, &event); err != nil {
			return result, err
		}
		if err := also(&event); err != nil {
			return result, err
		}
		if prev == nil {
			result.First = event.Index
		}
		result.Count++
		result.Last, result.Head = event.Index, event.Hash
		prev = &event
	}
	return result, nil
}

// follows checks an event, and that it follows prev; nil means that it is the first one read.
func follows(prev, event *opsv1alpha1.AuditEventSpec) error {
	if event.Index < 0 {
		return &BadLink{Index: event.Index, Problem: "its index is negative"}
	}
	if prev != nil && event.Index != prev.Index+1 {
		// Told before the hash is looked at, because the place is what is wrong first.
		return checkLink(prev, event)
	}
	if err := checkHash(event); err != nil {
		return err
	}
	if prev == nil {
		return checkStart(event)
	}
	return checkLink(prev, event)
}
