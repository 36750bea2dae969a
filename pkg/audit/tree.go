// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// Tree is the Merkle tree over a chain, or over what is left of one whose
// beginning was pruned. It keeps every node, about 64 bytes an event, so that it
// knows the root of every size and the proof of every event that it was given.
// It is not safe for concurrent use.
type Tree struct {
	before int64
	grown  *compact.Range
	// frontier are the nodes that cover what was pruned.
	frontier map[compact.NodeID][]byte
	// levels[l][i] is node (before>>l)+i of level l.
	levels [][][]byte
}

// NewTree returns the tree over the events that were pruned, to which those left
// are appended; nil means that none were.
func NewTree(pruned *opsv1alpha1.AuditPruned) (*Tree, error) {
	if pruned == nil {
		return &Tree{grown: ranges.NewEmptyRange(0)}, nil
	}
	grown, err := rangeOf(pruned.Before, pruned.Frontier)
	if err != nil {
		return nil, err
	}
	tree := &Tree{before: pruned.Before, grown: grown, frontier: map[compact.NodeID][]byte{}}
	for i, id := range compact.RangeNodes(0, uint64(pruned.Before), nil) {
		tree.frontier[id] = grown.Hashes()[i]
	}
	return tree, nil
}

// Append adds the next event by its field hash. It fails if that is no hash.
func (t *Tree) Append(eventHash string) error {
	leaf, err := leafOf(eventHash)
	if err != nil {
		return fmt.Errorf("adding audit event %d to the tree: %w", t.Size(), err)
	}
	if err := t.grown.Append(leaf, t.keep); err != nil {
		return fmt.Errorf("adding audit event %d to the tree: %w", t.Size(), err)
	}
	return nil
}

// keep remembers a new node. Those of a level come in order.
func (t *Tree) keep(id compact.NodeID, hash []byte) {
	for len(t.levels) <= int(id.Level) {
		t.levels = append(t.levels, nil)
	}
	t.levels[id.Level] = append(t.levels[id.Level], hash)
}

// Size is how many events there are, with those pruned.
func (t *Tree) Size() int64 { return int64(t.grown.End()) }

// Root returns the root of the first size events. It fails for a size that the
// tree has not, and for one below what was pruned.
func (t *Tree) Root(size int64) ([]byte, error) {
	if size == 0 {
		return hasher.EmptyRoot(), nil
	}
	hashes, err := t.cover(size)
	if err != nil {
		return nil, err
	}
	root := hashes[len(hashes)-1]
	for i := len(hashes) - 2; i >= 0; i-- {
		root = hasher.HashChildren(hashes[i], root)
	}
	return root, nil
}

// Frontier returns the compact range [0, size) as AuditPruned holds it.
func (t *Tree) Frontier(size int64) ([]string, error) {
	hashes, err := t.cover(size)
	return encodeHashes(hashes), err
}

func (t *Tree) cover(size int64) ([][]byte, error) {
	if size < t.before || size > t.Size() {
		return nil, fmt.Errorf("the tree knows from %d to %d events, and not %d", t.before, t.Size(), size)
	}
	nodes := make([][]byte, 0, bits.OnesCount64(uint64(size)))
	for _, id := range compact.RangeNodes(0, uint64(size), nil) {
		node, err := t.node(id)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// Path returns the inclusion proof of an event in the tree of the first size
// events (RFC 9162, section 2.1.3), from the leaf's sibling to the root's child.
func (t *Tree) Path(index, size int64) ([][]byte, error) {
	if size > t.Size() {
		return nil, fmt.Errorf("the tree has %d events, and not %d", t.Size(), size)
	}
	if index < t.before {
		return nil, fmt.Errorf("audit event %d was pruned, and with it what would prove it: the chain begins with event %d", index, t.before)
	}
	if index >= size {
		return nil, fmt.Errorf("audit event %d is not among the first %d", index, size)
	}
	needed, err := proof.Inclusion(uint64(index), uint64(size))
	if err != nil {
		return nil, fmt.Errorf("proving audit event %d among the first %d: %w", index, size, err)
	}
	hashes := make([][]byte, 0, len(needed.IDs))
	for _, id := range needed.IDs {
		node, err := t.node(id)
		if err != nil {
			return nil, fmt.Errorf("proving audit event %d among the first %d: %w", index, size, err)
		}
		hashes = append(hashes, node)
	}
	return needed.Rehash(hashes, hasher.HashChildren)
}

// node returns a perfect subtree. One that lies before what was pruned is known
// if it is in the frontier, which it is for every event that is left.
func (t *Tree) node(id compact.NodeID) ([]byte, error) {
	if hash, ok := t.frontier[id]; ok {
		return hash, nil
	}
	first := uint64(t.before) >> id.Level
	if int(id.Level) < len(t.levels) && id.Index >= first && id.Index-first < uint64(len(t.levels[id.Level])) {
		return t.levels[id.Level][id.Index-first], nil
	}
	return nil, fmt.Errorf("node %d of level %d of the tree is not known", id.Index, id.Level)
}
