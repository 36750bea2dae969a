// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// Evidence is what a chain is held against, beside itself.
type Evidence struct {
	// Latest is the newest checkpoint that is known, with what was pruned; of a note
	// by itself, only the field note. Nil means that there is none.
	Latest *opsv1alpha1.AuditCheckpointSpec
	// Also is another checkpoint that the events have to fit, such as one that
	// somebody kept. Nil means that there is none.
	Also *opsv1alpha1.AuditCheckpointSpec
	// Keys are those by which checkpoints are known. Nil means that no signature is
	// checked, of no checkpoint.
	Keys *VerifierKeys
	// Whole means that the chain has to begin at its beginning, or where Latest says
	// that it was pruned. A log may begin anywhere.
	Whole bool
}

// ErrCheckpoint means that a checkpoint which was given is not in order by itself.
var ErrCheckpoint = errors.New("the checkpoint is not in order")

// Checked is what was verified of the chain, and of the checkpoints.
type Checked struct {
	Result
	// Checkpoints is how many checkpoints cover just the events that there are.
	Checkpoints int64
	// Unanchored is how many could not be held against the events, because the
	// events that they cover begin before those that were read.
	Unanchored int64
	// Size of the newest checkpoint that fits; 0 if there is none.
	Size int64
}

// VerifyAgainst verifies like Verify, and holds the events against the checkpoints
// among them and against the newest one that is known. A chain that was cut at its
// end is found by it, one that was rewritten and linked anew, and one of which
// more was deleted than was pruned. What the events are worth is then what the
// keys are worth: an auditor brings their own copy.
func VerifyAgainst(events iter.Seq2[opsv1alpha1.AuditEventSpec, error], evidence Evidence) (Checked, error) {
	checking := &checking{evidence: evidence, last: -1}
	for _, spec := range []*opsv1alpha1.AuditCheckpointSpec{evidence.Latest, evidence.Also} {
		if spec == nil {
			continue
		}
		known, err := checking.openKnown(spec)
		if err != nil {
			return Checked{Result: Result{First: -1, Last: -1}}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
		}
		checking.known, checking.origin = append(checking.known, known), known.Origin
	}
	result, err := verifyEach(events, checking.linked)
	checking.result.Result = result
	if err == nil {
		err = checking.finish()
	}
	return checking.result, err
}

// checking is one run of VerifyAgainst.
type checking struct {
	evidence Evidence
	known    []Checkpoint
	origin   string
	result   Checked

	// tree is nil as long as nothing is known of what came before.
	tree *Tree
	// last is the index of the last event; -1 before the first.
	last int64
}

func (c *checking) openKnown(spec *opsv1alpha1.AuditCheckpointSpec) (Checkpoint, error) {
	checkpoint, err := c.openSpec(spec)
	if err == nil && c.origin != "" && checkpoint.Origin != c.origin {
		err = fmt.Errorf("one is of %s, and the other of %s", c.origin, checkpoint.Origin)
	}
	return checkpoint, err
}

func (c *checking) openSpec(spec *opsv1alpha1.AuditCheckpointSpec) (Checkpoint, error) {
	if c.evidence.Keys == nil {
		checkpoint, err := ParseCheckpoint(spec.Note)
		if err == nil && spec.Size != 0 {
			err = fitsNote(spec, checkpoint)
		}
		return checkpoint, err
	}
	if spec.Size == 0 {
		return OpenCheckpoint(spec.Note, *c.evidence.Keys)
	}
	return CheckLatest(spec, *c.evidence.Keys)
}

func (c *checking) pruned() *opsv1alpha1.AuditPruned {
	if c.evidence.Latest == nil {
		return nil
	}
	return c.evidence.Latest.Pruned
}

// first tells whether a chain may begin with an event.
func (c *checking) first(event *opsv1alpha1.AuditEventSpec) error {
	if !c.evidence.Whole {
		return nil
	}
	begins := int64(0)
	if pruned := c.pruned(); pruned != nil {
		begins = pruned.Before
	}
	if event.Index > begins {
		return &BadLink{Index: begins, Problem: fmt.Sprintf("it is missing: the cluster's chain begins with event %d", event.Index)}
	}
	return nil
}

// linked adds an event to the tree, and looks at the checkpoint in it.
func (c *checking) linked(event *opsv1alpha1.AuditEventSpec) error {
	if c.last < 0 {
		if err := c.first(event); err != nil {
			return err
		}
	}
	if err := c.anchor(event); err != nil {
		return err
	}
	c.last = event.Index
	if c.tree != nil {
		if err := c.tree.Append(event.Hash); err != nil {
			return err
		}
	}
	if event.Type != opsv1alpha1.AuditCheckpointSigned {
		return nil
	}
	checkpoint, err := c.open(event.Message)
	switch {
	case err != nil:
		return &BadLink{Index: event.Index, Problem: fmt.Sprintf("the checkpoint in it does not verify: %v", err)}
	case checkpoint.Size > event.Index:
		return &BadLink{Index: event.Index, Problem: fmt.Sprintf("the checkpoint in it covers %d events, and not so many are before it", checkpoint.Size)}
	case c.origin != "" && checkpoint.Origin != c.origin:
		return &BadLink{Index: event.Index, Problem: fmt.Sprintf("the checkpoint in it is of %s, and this is the chain of %s", checkpoint.Origin, c.origin)}
	}
	c.origin = checkpoint.Origin
	return c.hold(checkpoint)
}

func (c *checking) open(signed string) (Checkpoint, error) {
	if c.evidence.Keys == nil {
		return ParseCheckpoint(signed)
	}
	return OpenCheckpoint(signed, *c.evidence.Keys)
}

// anchor begins the tree where something is known of what came before, and holds
// what was pruned against the events, where they meet.
func (c *checking) anchor(event *opsv1alpha1.AuditEventSpec) (err error) {
	if event.Index == 0 {
		c.tree, err = NewTree(nil)
		return err
	}
	pruned := c.pruned()
	if pruned == nil || event.Index != pruned.Before {
		return nil
	}
	if event.PrevHash != pruned.LastHash {
		return &BadLink{Index: event.Index, Problem: "its prevHash is not the hash of the last event that was pruned: one of the two was replaced"}
	}
	if c.tree == nil {
		c.tree, err = NewTree(pruned)
		return err
	}
	frontier, err := c.tree.Frontier(pruned.Before)
	if err == nil && !slices.Equal(frontier, pruned.Frontier) {
		err = fmt.Errorf("what the checkpoint says was pruned is not what the events before %d are: do not let it be deleted", pruned.Before)
	}
	return err
}

// hold compares a checkpoint with the events, which it covers.
func (c *checking) hold(checkpoint Checkpoint) error {
	if c.tree == nil || checkpoint.Size < c.tree.before || checkpoint.Size > c.tree.Size() {
		c.result.Unanchored++
		return nil
	}
	root, err := c.tree.Root(checkpoint.Size)
	if err != nil {
		return err
	}
	if !bytes.Equal(root, checkpoint.Root) {
		good := c.tree.before
		if c.result.Size <= checkpoint.Size {
			good = max(good, c.result.Size)
		}
		return rewritten(good, checkpoint.Size)
	}
	c.result.Checkpoints++
	c.result.Size = max(c.result.Size, checkpoint.Size)
	return nil
}

// rewritten is the error for events that are linked, and that no checkpoint has signed.
func rewritten(from, to int64) error {
	return &BadLink{Index: from, Problem: fmt.Sprintf("from it to event %d, the events are not those that the checkpoint of %d events covers: they were rewritten and linked anew", to-1, to)}
}

// finish holds the whole chain against the checkpoints that are known beside it.
// The smallest comes first: what does not fit it is wrong earliest.
func (c *checking) finish() error {
	slices.SortFunc(c.known, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	for _, known := range c.known {
		if next := c.last + 1; next < known.Size {
			return &BadLink{Index: next, Problem: fmt.Sprintf("it is missing, and the checkpoint of %d events covers it: the chain was cut at its end, or this is a copy of before that checkpoint", known.Size)}
		}
		if err := c.hold(known); err != nil {
			return err
		}
	}
	return nil
}
