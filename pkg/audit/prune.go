// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"fmt"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// prune deletes the events at the beginning of the chain that are older than the
// retention. What is left of them is written to the checkpoint first, so that a
// stop at any point leaves a chain that verifies, and the next run goes on. It
// finishes what was begun also where nothing is to be pruned any more.
func (c *Checkpointer) prune(ctx context.Context) error {
	latest, err := c.latest(ctx)
	if err != nil {
		return err
	}
	c.version = latest.ResourceVersion
	if err := c.delete(ctx, latest.Spec.Pruned); err != nil {
		return err
	}
	now := c.options.Clock.Now()
	if c.options.Retention == 0 || now.Before(c.nextPrune) || latest.Spec.Size == 0 {
		return nil
	}
	pruned, err := c.prunable(ctx, &latest.Spec)
	if err != nil {
		return err
	}
	c.nextPrune = now.Add(pruneEvery)
	if pruned == nil {
		return nil
	}
	latest.Spec.Pruned = pruned
	stored, err := c.store(ctx, latest)
	if err != nil || !stored {
		return err
	}
	klog.FromContext(ctx).Info("Pruning the audit chain", "before", pruned.Before, "retention", c.options.Retention)
	c.seen(&latest.Spec)
	// Deleted next time: the admission policy that guards the events has to hear of it first.
	return nil
}

// prunable returns what would be left of the events that can be pruned, or nil if
// there are none more than before. Deleting destroys evidence, so every event up
// to the checkpoint is read and has to lead to its root.
func (c *Checkpointer) prunable(ctx context.Context, spec *opsv1alpha1.AuditCheckpointSpec) (*opsv1alpha1.AuditPruned, error) {
	end, err := c.prunableBefore(ctx, spec)
	if err != nil {
		return nil, err
	}
	beginning, err := begin(spec.Pruned)
	if err != nil {
		return nil, err
	}
	if end <= beginning.size() {
		return nil, nil
	}
	_, keys, err := c.options.Keys.Signer(ctx)
	if err != nil {
		return nil, err
	}
	checkpoint, err := CheckLatest(spec, keys)
	if err != nil {
		return nil, err
	}
	oldEnough := c.options.Clock.Now().Add(-c.options.Retention)
	before, pruning := beginning.size(), true
	var pruned *opsv1alpha1.AuditPruned
	keep := func() {
		if pruned == nil && beginning.size() > before {
			pruned = &opsv1alpha1.AuditPruned{
				Before: beginning.size(), BeforeName: EventName(beginning.size()),
				LastHash: beginning.last, Frontier: beginning.frontier(),
			}
		}
	}
	err = beginning.extend(ctx, c.options.Client, spec.Size, func(event *opsv1alpha1.AuditEventSpec) {
		if pruning && (event.Index >= end || !event.Time.Time.Before(oldEnough)) {
			pruning = false
			keep()
		}
	})
	if err != nil {
		return nil, err
	}
	if pruning {
		keep()
	}
	root, err := rootOf(beginning.covered)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(root, checkpoint.Root) {
		return nil, rewritten(before, spec.Size)
	}
	return pruned, nil
}

// prunableBefore is the first index that is kept whatever its age.
func (c *Checkpointer) prunableBefore(ctx context.Context, spec *opsv1alpha1.AuditCheckpointSpec) (int64, error) {
	oldest, err := c.options.Chain.oldest(ctx)
	if err != nil {
		return 0, err
	}
	if oldest == nil || !oldest.Time.Time.Before(c.options.Clock.Now().Add(-c.options.Retention)) {
		return 0, nil
	}
	head, err := c.options.Chain.Head(ctx)
	if err != nil {
		return 0, err
	}
	end := min(spec.Size, head.Index)
	needed, any, err := c.options.InEffect(ctx)
	if err != nil {
		return 0, fmt.Errorf("finding the audit events that are in effect, so nothing is pruned: %w", err)
	}
	if any {
		end = min(end, needed)
	}
	return end, nil
}

// begin returns the stretch of what was pruned; nil means nothing.
func begin(pruned *opsv1alpha1.AuditPruned) (*stretch, error) {
	if pruned == nil {
		return newStretch(0, "", nil)
	}
	return newStretch(pruned.Before, pruned.LastHash, pruned.Frontier)
}

// delete deletes what was pruned, oldest first. Other replicas may do the same.
func (c *Checkpointer) delete(ctx context.Context, pruned *opsv1alpha1.AuditPruned) error {
	if pruned == nil || pruned.Before <= c.deleted {
		return nil
	}
	for event, err := range oldestFirst(ctx, c.options.Client) {
		if err != nil {
			return fmt.Errorf("deleting pruned audit events: %w", err)
		}
		if event.Spec.Index >= pruned.Before {
			break
		}
		// A name is used once, but a list may be old.
		err = c.options.Client.Delete(ctx, event, client.Preconditions{UID: &event.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting pruned audit event %d: %w", event.Spec.Index, err)
		}
	}
	c.deleted = pruned.Before
	return nil
}
