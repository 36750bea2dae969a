// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// hasher is that of certificate transparency: leaves and inner nodes are hashed
// with different prefixes, so that neither can pass for the other.
var hasher = rfc6962.DefaultHasher

// ranges makes compact ranges, which can be merged because they share it.
var ranges = &compact.RangeFactory{Hash: hasher.HashChildren}

// leafOf returns the leaf of an event: the RFC 6962 leaf hash of the 32 bytes
// that its field hash spells.
func leafOf(eventHash string) ([]byte, error) {
	digits, prefixed := strings.CutPrefix(eventHash, "sha256:")
	if !prefixed {
		return nil, fmt.Errorf("the hash %.80q lacks the prefix of SHA-256", eventHash)
	}
	sum, err := decodeHash(digits)
	if err != nil {
		return nil, err
	}
	return hasher.HashLeaf(sum), nil
}

// decodeHash reads 64 lower-case hex digits: a hash is written in one way only,
// so that two texts never mean the same.
func decodeHash(digits string) ([]byte, error) {
	sum, err := hex.DecodeString(digits)
	if err != nil || len(sum) != hasher.Size() || hex.EncodeToString(sum) != digits {
		return nil, fmt.Errorf("%.80q is not a hash: it must be %d lower-case hex digits", digits, 2*hasher.Size())
	}
	return sum, nil
}

func decodeHashes(digits []string) ([][]byte, error) {
	hashes := make([][]byte, 0, len(digits))
	for i, text := range digits {
		hash, err := decodeHash(text)
		if err != nil {
			return nil, fmt.Errorf("hash %d of %d: %w", i+1, len(digits), err)
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func encodeHashes(hashes [][]byte) []string {
	digits := make([]string, 0, len(hashes))
	for _, hash := range hashes {
		digits = append(digits, hex.EncodeToString(hash))
	}
	return digits
}

// rangeOf returns the compact range [0, size) with these hashes.
func rangeOf(size int64, frontier []string) (*compact.Range, error) {
	if size < 0 {
		return nil, fmt.Errorf("a tree of %d events cannot be", size)
	}
	hashes, err := decodeHashes(frontier)
	if err != nil {
		return nil, fmt.Errorf("reading the frontier of %d events: %w", size, err)
	}
	covered, err := ranges.NewRange(0, uint64(size), hashes)
	if err != nil {
		return nil, fmt.Errorf("reading the frontier of %d events: %w", size, err)
	}
	return covered, nil
}

// rootOf returns the root of a range that begins at 0.
func rootOf(covered *compact.Range) ([]byte, error) {
	if covered.End() == 0 {
		return hasher.EmptyRoot(), nil
	}
	root, err := covered.GetRootHash(nil)
	if err != nil {
		return nil, fmt.Errorf("computing the root of %d events: %w", covered.End(), err)
	}
	return root, nil
}
