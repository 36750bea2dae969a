// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	kjson "sigs.k8s.io/json"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// maximumProof bounds a proof in bytes: an event, and what is little beside one.
const maximumProof = MaximumLine + 64<<10

// Proof shows to somebody who has only the verifier key that an event is in the
// chain. Nothing else is needed, and no cluster.
type Proof struct {
	// Event is what is proven.
	Event opsv1alpha1.AuditEventSpec `json:"event"`
	// LeafIndex is its place in the tree, which is its index.
	LeafIndex int64 `json:"leafIndex"`
	// Path are the hashes (hex) from the leaf's sibling to the root's child.
	Path []string `json:"path"`
	// Note is the signed checkpoint whose root the path leads to.
	Note string `json:"note"`
}

// Prove returns the proof of an event in the tree of a signed checkpoint, whose
// signature is not looked at. It fails if the tree is not that of the checkpoint.
func Prove(tree *Tree, event opsv1alpha1.AuditEventSpec, signed string) (*Proof, error) {
	checkpoint, err := ParseCheckpoint(signed)
	if err != nil {
		return nil, err
	}
	path, err := tree.Path(event.Index, checkpoint.Size)
	if err != nil {
		return nil, err
	}
	proven := &Proof{Event: event, LeafIndex: event.Index, Path: encodeHashes(path), Note: signed}
	return proven, proven.checkPath(checkpoint)
}

// ReadProof decodes a proof, and does not check it. But for white space, a proof
// can be written in one way only, so that no two files are the same proof.
func ReadProof(data []byte) (*Proof, error) {
	if len(data) > maximumProof {
		return nil, fmt.Errorf("reading a proof: it has %d bytes, and %d is the most", len(data), maximumProof)
	}
	read := &Proof{}
	strict, err := kjson.UnmarshalStrict(data, read)
	if err := errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("reading a proof: it is none as \"kubectl srenix audit prove\" writes it: %w", err)
	}
	again, err := json.Marshal(read)
	if err != nil {
		return nil, fmt.Errorf("reading a proof: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil || !bytes.Equal(compact.Bytes(), again) {
		return nil, errors.New("reading a proof: it is not written as \"kubectl srenix audit prove\" writes it")
	}
	return read, nil
}

// Encode writes the proof as ReadProof reads it, for people to look at.
func (p *Proof) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the proof of audit event %d: %w", p.LeafIndex, err)
	}
	return append(data, '\n'), nil
}

// Check tells whether the proof holds: the checkpoint is signed by one of the
// keys, the event has the hash that it names, and the path leads from there to
// the checkpoint's root. It returns the checkpoint.
func (p *Proof) Check(keys VerifierKeys) (Checkpoint, error) {
	checkpoint, err := OpenCheckpoint(p.Note, keys)
	if err != nil {
		return Checkpoint{}, err
	}
	return checkpoint, p.checkPath(checkpoint)
}

func (p *Proof) checkPath(checkpoint Checkpoint) error {
	event := &p.Event
	if event.Index != p.LeafIndex || event.Index < 0 {
		return fmt.Errorf("the proof is of leaf %d, and its event has index %d", p.LeafIndex, event.Index)
	}
	if err := checkHash(event); err != nil {
		return err
	}
	leaf, err := leafOf(event.Hash)
	if err != nil {
		return err
	}
	path, err := decodeHashes(p.Path)
	if err != nil {
		return fmt.Errorf("reading the path of audit event %d: %w", event.Index, err)
	}
	if err := proof.VerifyInclusion(hasher, uint64(event.Index), uint64(checkpoint.Size), leaf, path, checkpoint.Root); err != nil {
		var mismatch proof.RootMismatchError
		if errors.As(err, &mismatch) {
			return fmt.Errorf("audit event %d is not in the chain that the checkpoint of %d events covers: its path leads to another root", event.Index, checkpoint.Size)
		}
		return fmt.Errorf("checking the path of audit event %d: %w", event.Index, err)
	}
	return nil
}
