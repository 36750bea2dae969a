// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

func hashesOf(events []opsv1alpha1.AuditEventSpec) []string {
	var hashes []string
	for _, event := range events {
		hashes = append(hashes, event.Hash)
	}
	return hashes
}

// noteOf signs the first size events.
func noteOf(t testing.TB, signer note.Signer, events []opsv1alpha1.AuditEventSpec, size int) string {
	t.Helper()
	return signCheckpoint(t, signer, int64(size), definedRoot(t, hashesOf(events[:size])))
}

func prove(t testing.TB, tree *Tree, event opsv1alpha1.AuditEventSpec, signed string) *Proof {
	t.Helper()
	proven, err := Prove(tree, event, signed)
	if err != nil {
		t.Fatal(err)
	}
	return proven
}

func encode(t testing.TB, proven *Proof) []byte {
	t.Helper()
	data, err := proven.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Any chain, any checkpoint of it, anything pruned that the checkpoint covers:
// what is left can be proven, by what is left.
func TestEveryEventThatIsLeftIsProvenAgainstEveryLaterCheckpoint(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 3))
		events := chainOf(t, 2+random.IntN(30))
		whole := grow(t, newTree(t, nil), hashesOf(events))
		before := random.IntN(len(events))
		var last string
		if before > 0 {
			last = events[before-1].Hash
		}
		rest := grow(t, newTree(t, prunedAt(t, whole, int64(before), last)), hashesOf(events[before:]))
		for size := before + 1; size <= len(events); size++ {
			signed := noteOf(t, signer, events, size)
			for index := before; index < size; index++ {
				read, err := ReadProof(encode(t, prove(t, rest, events[index], signed)))
				if err != nil {
					t.Fatal(err)
				}
				checkpoint, err := read.Check(keys)
				if err != nil || checkpoint.Size != int64(size) {
					t.Fatalf("seed %d: event %d of %d, %d pruned: %+v, %v", seed, index, size, before, checkpoint, err)
				}
			}
			if size < len(events) {
				if _, err := Prove(rest, events[size], signed); err == nil {
					t.Fatalf("seed %d: event %d is proven by a checkpoint of %d", seed, size, size)
				}
			}
		}
	}
}

func TestAnyChangedBitOfAProofIsNoticed(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	events := chainOf(t, 7)
	data := string(encode(t, prove(t, grow(t, newTree(t, nil), hashesOf(events)), events[4], noteOf(t, signer, events, 7))))
	good, err := ReadProof([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			changed, err := ReadProof([]byte(flipped(data, i, bit)))
			if err == nil && reflect.DeepEqual(changed, good) {
				if !strings.ContainsRune(" \n", rune(data[i])) {
					t.Errorf("bit %d of byte %d (%q) changed, and it is the same proof", bit, i, data[i])
				}
				continue
			}
			if err != nil {
				continue
			}
			if _, err := changed.Check(keys); err == nil {
				t.Errorf("bit %d of byte %d (%q in %q) changed, and the proof holds", bit, i, data[i], data[max(0, i-20):min(len(data), i+20)])
			}
		}
	}
}

func TestProofsThatAreNone(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	events := chainOf(t, 7)
	tree := grow(t, newTree(t, nil), hashesOf(events))
	signed := noteOf(t, signer, events, 7)
	for name, test := range map[string]struct {
		change func(*Proof)
		want   string
	}{
		"another event with the same index": {func(p *Proof) { p.Event.Actor = "mallory"; rehash(t, &p.Event) }, "leads to another root"},
		"another event of the chain":        {func(p *Proof) { p.Event = events[5] }, "its event has index 5"},
		"another event in its place":        {func(p *Proof) { p.Event, p.LeafIndex = events[5], 5 }, "leads to another root"},
		"an edited event":                   {func(p *Proof) { p.Event.Actor = "mallory" }, "it was edited"},
		"a hash that is none":               {func(p *Proof) { p.Event.Hash = "" }, "it was edited"},
		"a path cut":                        {func(p *Proof) { p.Path = p.Path[:1] }, "wrong proof size"},
		"a path made longer":                {func(p *Proof) { p.Path = append(p.Path, p.Path[0]) }, "wrong proof size"},
		"a path in capitals":                {func(p *Proof) { p.Path[0] = strings.ToUpper(p.Path[0]) }, "lower-case"},
		"a negative index":                  {func(p *Proof) { p.Event.Index, p.LeafIndex = -1, -1; rehash(t, &p.Event) }, "index -1"},
		"an index beyond the checkpoint":    {func(p *Proof) { p.Event.Index, p.LeafIndex = 7, 7; rehash(t, &p.Event) }, "beyond size"},
		"a smaller checkpoint":              {func(p *Proof) { p.Note = noteOf(t, signer, events, 4) }, "beyond size"},
		"a checkpoint of another key": {func(p *Proof) {
			other, _ := testSigner(t, "c2")
			p.Note = noteOf(t, other, events, 7)
		}, ErrUnknownKey.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			changed := prove(t, tree, events[4], signed)
			test.change(changed)
			if _, err := changed.Check(keys); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestReadProofIsStrict(t *testing.T) {
	signer, _ := testSigner(t, "c1")
	events := chainOf(t, 1)
	good := string(encode(t, prove(t, grow(t, newTree(t, nil), hashesOf(events)), events[0], noteOf(t, signer, events, 1))))
	if _, err := ReadProof([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"nothing": "", "not JSON": "proof", "two": good + good, "too long": good + strings.Repeat(" ", maximumProof),
		"an unknown field":         strings.Replace(good, `"leafIndex"`, `"extra": 1, "leafIndex"`, 1),
		"a repeated field":         strings.Replace(good, `"leafIndex"`, `"leafIndex": 3, "leafIndex"`, 1),
		"a time written otherwise": strings.Replace(good, ".123456Z", ",123456Z", 1),
		"a field in another case":  strings.Replace(good, `"leafIndex"`, `"LeafIndex"`, 1),
	} {
		if read, err := ReadProof([]byte(data)); err == nil {
			t.Errorf("%s: read as %+v", name, read)
		}
	}
}

func FuzzReadProof(f *testing.F) {
	signer, keys := testSigner(f, "c1")
	events := chainOf(f, 6)
	tree := grow(f, newTree(f, nil), hashesOf(events))
	signed := noteOf(f, signer, events, 6)
	for index := range events {
		f.Add(encode(f, prove(f, tree, events[index], signed)))
	}
	for _, seed := range []string{"", "{}", "null", `{"event":{"index":9223372036854775807},"leafIndex":9223372036854775807,"path":[""]}`, `{"leafIndex":-1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := ReadProof(data)
		if err != nil {
			return
		}
		if _, err := read.Check(keys); err != nil {
			return
		}
		// Only what is in the chain can be proven, and what was read is written alike.
		if index := read.Event.Index; index < 0 || index >= int64(len(events)) || read.Event.Hash != events[index].Hash {
			t.Errorf("an event that is not in the chain is proven: %+v", read.Event)
		}
		again, err := ReadProof(encode(t, read))
		if err != nil || !bytes.Equal(encode(t, again), encode(t, read)) {
			t.Errorf("written and read again: %v", err)
		}
	})
}
