// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"strings"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
)

// genesisHash is the prevHash of the first event of a chain.
var genesisHash = strings.Repeat("0", 64)

// EventName is the name of the object that holds the event with this index.
func EventName(index int64) string { return fmt.Sprintf("%020d", index) }

// Seal links next to prev: it sets index, prevHash and hash. A nil prev starts a
// chain. Nothing else of next is looked at.
func Seal(prev *opsv1alpha1.AuditEventSpec, next opsv1alpha1.AuditEventSpec) (opsv1alpha1.AuditEventSpec, error) {
	next.Index, next.PrevHash = 0, genesisHash
	if prev != nil {
		next.Index, next.PrevHash = prev.Index+1, prev.Hash
	}
	hash, err := hashOf(&next)
	if err != nil {
		return opsv1alpha1.AuditEventSpec{}, err
	}
	next.Hash = hash
	return next, nil
}

// hashOf computes the hash of a spec without its field hash.
func hashOf(spec *opsv1alpha1.AuditEventSpec) (string, error) {
	hash, err := digest.Of(struct {
		opsv1alpha1.AuditEventSpec
		// Hides the embedded field of the same name.
		Hash *string `json:"hash,omitempty"`
	}{AuditEventSpec: *spec})
	if err != nil {
		return "", fmt.Errorf("hashing audit event %d: %w", spec.Index, err)
	}
	return hash, nil
}

// checkHash tells what is wrong with an event by itself.
func checkHash(spec *opsv1alpha1.AuditEventSpec) error {
	hash, err := hashOf(spec)
	if err != nil {
		return err
	}
	if hash != spec.Hash {
		return &BadLink{Index: spec.Index, Problem: "its content does not have the hash that it names: it was edited"}
	}
	return nil
}

// checkLink tells whether next, whose own hash is right, follows prev.
func checkLink(prev, next *opsv1alpha1.AuditEventSpec) error {
	if next.Index != prev.Index+1 {
		return &BadLink{Index: prev.Index + 1, Problem: fmt.Sprintf("event %d stands in its place: it was dropped or moved", next.Index)}
	}
	if next.PrevHash != prev.Hash {
		return &BadLink{Index: next.Index, Problem: fmt.Sprintf("its prevHash is not the hash of event %d: one of the two was replaced", prev.Index)}
	}
	return nil
}

// checkStart tells whether an event with index 0 starts a chain.
func checkStart(first *opsv1alpha1.AuditEventSpec) error {
	if first.Index == 0 && (first.PrevHash != genesisHash || first.Type != opsv1alpha1.AuditChainStarted) {
		return &BadLink{Index: 0, Problem: "it does not start a chain"}
	}
	return nil
}
