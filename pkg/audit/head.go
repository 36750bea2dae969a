// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// maximumPrunes bounds how often the head is looked for again because events were
// pruned meanwhile. Pruning stops at the newest event, so once is enough.
const maximumPrunes = 5

// follow finds the head, verifies it and remembers it; nil means that the chain
// has not been started. Indices have no gaps, so from an event that is known to
// exist the head is found by doubling the step and then halving it: a few reads
// by name, however many events there are.
//
// Events are pruned oldest first, so what was found absent had never been there
// if the event before it still is when it is read after that. Each way here ends
// with such a reading; without it, an event that was just pruned could be taken
// for the one to append.
func (c *Chain) follow(ctx context.Context) (*opsv1alpha1.AuditEventSpec, error) {
	if _, err := c.settle(ctx); err != nil {
		return nil, err
	}
	for range maximumPrunes {
		head, err := c.find(ctx)
		if errors.Is(err, errPruned) {
			continue
		}
		if err == nil {
			c.at(head)
		}
		return head, err
	}
	return nil, fmt.Errorf("finding the last audit event: %w %d times while it was looked for", errPruned, maximumPrunes)
}

// errPruned means that an event was there and was pruned before it was read again.
var errPruned = errors.New("events were pruned")

func (c *Chain) find(ctx context.Context) (*opsv1alpha1.AuditEventSpec, error) {
	// Nearly always nobody else has appended meanwhile: that takes two readings.
	grown := true
	if c.head != nil {
		next, err := c.get(ctx, c.head.Index+1)
		if err != nil {
			return nil, err
		}
		grown = next != nil
	}
	start, err := c.start(ctx)
	if err != nil || start == nil {
		return nil, err
	}
	if !grown && start.Index == c.head.Index {
		return start, nil
	}
	last, err := c.last(ctx, start)
	if err != nil {
		return nil, err
	}
	head, err := c.get(ctx, last.Index)
	if err != nil {
		return nil, err
	}
	if head == nil {
		return nil, c.gone(ctx, last.Index)
	}
	if head.Index == start.Index {
		return head, checkHash(head)
	}
	return head, c.verify(ctx, start, head)
}

// gone tells what it means that an event which was there is not: it was pruned,
// which leaves newer ones, or the chain was cut.
func (c *Chain) gone(ctx context.Context, index int64) error {
	oldest, err := c.oldest(ctx)
	if err != nil {
		return err
	}
	if oldest != nil && oldest.Index > index {
		return errPruned
	}
	return &BadLink{Index: index, Problem: "it was there and is gone: the chain was cut; restore it from a backup, or restart srenix to go on from what is left"}
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
			if err := c.gone(ctx, head.Index-1); !errors.Is(err, errPruned) {
				return &BadLink{Index: head.Index - 1, Problem: "it is missing"}
			}
			return errPruned
		}
		if err := checkHash(prev); err != nil {
			return err
		}
	}
	return checkLink(prev, head)
}

// get returns what the event with an index says, or nil if there is none.
func (c *Chain) get(ctx context.Context, index int64) (*opsv1alpha1.AuditEventSpec, error) {
	event, err := c.read(ctx, index)
	if err != nil || event == nil {
		return nil, err
	}
	return &event.Spec, nil
}

// read returns the event with an index as it is stored, or nil if there is none.
func (c *Chain) read(ctx context.Context, index int64) (*opsv1alpha1.AuditEvent, error) {
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
	return event, nil
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
