// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// follow finds the head, verifies it and remembers it; nil means that the chain
// has not been started. Indices have no gaps, so from an event that is known to
// exist the head is found by doubling the step and then halving it: a few reads
// by name, however many events there are.
func (c *Chain) follow(ctx context.Context) (*opsv1alpha1.AuditEventSpec, error) {
	start, err := c.start(ctx)
	if err != nil || start == nil {
		return nil, err
	}
	head, err := c.last(ctx, start)
	if err != nil {
		return nil, err
	}
	if head.Index > start.Index {
		if err := c.verify(ctx, start, head); err != nil {
			return nil, err
		}
	}
	c.head = head
	return head, nil
}

// start returns an event that exists and verifies: the head of the last time,
// or the oldest event there is, because older ones may have been pruned.
func (c *Chain) start(ctx context.Context) (*opsv1alpha1.AuditEventSpec, error) {
	if c.head != nil {
		now, err := c.get(ctx, c.head.Index)
		if err != nil {
			return nil, err
		}
		if now != nil {
			if err := checkHash(now); err != nil {
				return nil, err
			}
			if now.Hash != c.head.Hash {
				return nil, &BadLink{Index: now.Index, Problem: "it is another event than before: the chain was rewritten"}
			}
			return now, nil
		}
	}
	oldest, err := c.oldest(ctx)
	if err != nil {
		return nil, err
	}
	if c.head != nil && (oldest == nil || oldest.Index < c.head.Index) {
		return nil, &BadLink{Index: c.head.Index, Problem: "it was there and is gone: the chain was cut; restore it from a backup, or restart srenix to go on from what is left"}
	}
	if oldest == nil {
		return nil, nil
	}
	if err := follows(nil, oldest); err != nil {
		return nil, err
	}
	return oldest, nil
}

// last returns the last event; start is one that exists.
func (c *Chain) last(ctx context.Context, start *opsv1alpha1.AuditEventSpec) (*opsv1alpha1.AuditEventSpec, error) {
	last, absent := start, int64(0)
	for step := int64(1); absent == 0; step *= 2 {
		event, err := c.get(ctx, last.Index+step)
		if err != nil {
			return nil, err
		}
		if event == nil {
			absent = last.Index + step
		} else {
			last = event
		}
	}
	for last.Index+1 < absent {
		middle := last.Index + (absent-last.Index)/2
		event, err := c.get(ctx, middle)
		if err != nil {
			return nil, err
		}
		if event == nil {
			absent = middle
		} else {
			last = event
		}
	}
	return last, nil
}

// verify checks a head that is newer than start, and the link to the event before it.
func (c *Chain) verify(ctx context.Context, start, head *opsv1alpha1.AuditEventSpec) error {
	if err := checkHash(head); err != nil {
		return err
	}
	prev := start
	if head.Index > start.Index+1 {
		var err error
		if prev, err = c.get(ctx, head.Index-1); err != nil {
			return err
		}
		if prev == nil {
			return &BadLink{Index: head.Index - 1, Problem: "it is missing"}
		}
		if err := checkHash(prev); err != nil {
			return err
		}
	}
	return checkLink(prev, head)
}

// get returns the event with an index, or nil if there is none.
func (c *Chain) get(ctx context.Context, index int64) (*opsv1alpha1.AuditEventSpec, error) {
	event := &opsv1alpha1.AuditEvent{}
	err := c.client.Get(ctx, client.ObjectKey{Name: EventName(index)}, event)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading audit event %d: %w", index, err)
	}
	if event.Spec.Index != index {
		return nil, &BadLink{Index: index, Problem: fmt.Sprintf("the object with its name holds event %d", event.Spec.Index)}
	}
	return &event.Spec, nil
}

// oldest returns the first event in the order of names, which is that of
// indices, or nil if there is none.
func (c *Chain) oldest(ctx context.Context) (*opsv1alpha1.AuditEventSpec, error) {
	list := &opsv1alpha1.AuditEventList{}
	if err := c.client.List(ctx, list, client.Limit(1)); err != nil {
		return nil, fmt.Errorf("finding the oldest audit event: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	first := &list.Items[0]
	if first.Name != EventName(first.Spec.Index) {
		return nil, &BadLink{Index: first.Spec.Index, Problem: fmt.Sprintf("it stands under the name %q", first.Name)}
	}
	return &first.Spec, nil
}
