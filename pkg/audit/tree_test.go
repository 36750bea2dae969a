// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/transparency-dev/merkle/proof"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// definedRoot is the root as RFC 6962, section 2.1, defines it.
func definedRoot(t testing.TB, hashes []string) []byte {
	t.Helper()
	switch n := len(hashes); n {
	case 0:
		sum := sha256.Sum256(nil)
		return sum[:]
	case 1:
		raw, err := hex.DecodeString(hashes[0][len("sha256:"):])
		if err != nil || len(raw) != 32 {
			t.Fatalf("%q: %v", hashes[0], err)
		}
		sum := sha256.Sum256(append([]byte{0}, raw...))
		return sum[:]
	default:
		k := 1 << (bits.Len(uint(n-1)) - 1)
		sum := sha256.Sum256(bytes.Join([][]byte{{1}, definedRoot(t, hashes[:k]), definedRoot(t, hashes[k:])}, nil))
		return sum[:]
	}
}

func randomHashes(random *rand.Rand, n int) []string {
	hashes := make([]string, n)
	for i := range hashes {
		var sum [32]byte
		for j := range sum {
			sum[j] = byte(random.Uint32())
		}
		hashes[i] = "sha256:" + hex.EncodeToString(sum[:])
	}
	return hashes
}

func grow(t testing.TB, tree *Tree, hashes []string) *Tree {
	t.Helper()
	for _, hash := range hashes {
		if err := tree.Append(hash); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func prunedAt(t testing.TB, tree *Tree, before int64, last string) *opsv1alpha1.AuditPruned {
	t.Helper()
	if before == 0 {
		return nil
	}
	frontier, err := tree.Frontier(before)
	if err != nil {
		t.Fatal(err)
	}
	return &opsv1alpha1.AuditPruned{Before: before, BeforeName: EventName(before), LastHash: last, Frontier: frontier}
}

func newTree(t testing.TB, pruned *opsv1alpha1.AuditPruned) *Tree {
	t.Helper()
	tree, err := NewTree(pruned)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// Whatever is pruned from whatever chain, every root and every proof of what is
// left is that of the chain as it was.
func TestTreeOfAPrunedChainIsThatOfTheWholeChain(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		hashes := randomHashes(random, 1+random.IntN(70))
		before := int64(random.IntN(len(hashes) + 1))
		whole := grow(t, newTree(t, nil), hashes)
		last := ""
		if before > 0 {
			last = hashes[before-1]
		}
		rest := grow(t, newTree(t, prunedAt(t, whole, before, last)), hashes[before:])
		for size := before; size <= int64(len(hashes)); size++ {
			want := definedRoot(t, hashes[:size])
			for name, tree := range map[string]*Tree{"whole": whole, "rest": rest} {
				have, err := tree.Root(size)
				if err != nil || !bytes.Equal(want, have) {
					t.Fatalf("seed %d: root of %d of %d events, %d pruned, of the %s tree: %x, %v, want %x", seed, size, len(hashes), before, name, have, err, want)
				}
			}
			for index := before; index < size; index++ {
				path, err := rest.Path(index, size)
				if err != nil {
					t.Fatalf("seed %d: path of %d of %d, %d pruned: %v", seed, index, size, before, err)
				}
				leaf, err := leafOf(hashes[index])
				if err != nil {
					t.Fatal(err)
				}
				if err := proof.VerifyInclusion(hasher, uint64(index), uint64(size), leaf, path, want); err != nil {
					t.Fatalf("seed %d: path of %d of %d, %d pruned: %v", seed, index, size, before, err)
				}
			}
		}
		if diff := gocmp.Diff(whole.grown.Hashes(), rest.grown.Hashes()); diff != "" {
			t.Fatalf("seed %d: frontier (-whole +rest):\n%s", seed, diff)
		}
	}
}

func TestTreeKnowsNothingOutsideOfItself(t *testing.T) {
	hashes := randomHashes(rand.New(rand.NewPCG(1, 2)), 20)
	whole := grow(t, newTree(t, nil), hashes)
	rest := grow(t, newTree(t, prunedAt(t, whole, 7, hashes[6])), hashes[7:])
	for name, err := range map[string]error{
		"a root of more than there is":       second(rest.Root(21)),
		"a root of less than was pruned":     second(rest.Root(6)),
		"the path of a pruned event":         second(rest.Path(6, 20)),
		"the path of an event to come":       second(rest.Path(20, 20)),
		"a path in a tree of more":           second(rest.Path(8, 21)),
		"the path of an event past the size": second(rest.Path(12, 12)),
		"no hash":                            rest.Append("sha256:zz"),
		"a hash without its algorithm":       rest.Append(hashes[0][7:]),
		"a hash in capitals":                 rest.Append("sha256:" + fmt.Sprintf("%064X", 0xabc)),
		"a short frontier":                   second(NewTree(&opsv1alpha1.AuditPruned{Before: 7, Frontier: encodeHashes(whole.grown.Hashes()[:1])})),
		"a negative number of pruned events": second(NewTree(&opsv1alpha1.AuditPruned{Before: -1})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }
