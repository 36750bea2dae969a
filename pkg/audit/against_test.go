// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// signedChain is a chain with a checkpoint event at each of the indices, of all
// that comes before it.
func signedChain(t testing.TB, signer note.Signer, length int, checkpoints ...int) []opsv1alpha1.AuditEventSpec {
	t.Helper()
	return relinked(t, length, func(i int, before []opsv1alpha1.AuditEventSpec, next *opsv1alpha1.AuditEventSpec) {
		if slices.Contains(checkpoints, i) {
			next.Type, next.Message = opsv1alpha1.AuditCheckpointSigned, noteOf(t, signer, before, i)
		}
	})
}

// relinked seals a chain whose events are made by change.
func relinked(t testing.TB, length int, change func(i int, before []opsv1alpha1.AuditEventSpec, next *opsv1alpha1.AuditEventSpec)) []opsv1alpha1.AuditEventSpec {
	t.Helper()
	var chain []opsv1alpha1.AuditEventSpec
	for i := range length {
		next := opsv1alpha1.AuditEventSpec{
			Time: metav1.NewMicroTime(start), Component: "apiserver", Actor: "alice",
			Type: opsv1alpha1.AuditTokenMinted, Message: fmt.Sprintf("event %d", i),
		}
		var prev *opsv1alpha1.AuditEventSpec
		if i == 0 {
			next.Type = opsv1alpha1.AuditChainStarted
		} else {
			prev = &chain[i-1]
		}
		change(i, chain, &next)
		sealed, err := Seal(prev, next)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, sealed)
	}
	return chain
}

// specOf is the AuditCheckpoint of the first size events, those before pruned no more.
func specOf(t testing.TB, signer note.Signer, events []opsv1alpha1.AuditEventSpec, size, pruned int) *opsv1alpha1.AuditCheckpointSpec {
	t.Helper()
	tree := grow(t, newTree(t, nil), hashesOf(events))
	frontier, err := tree.Frontier(int64(size))
	if err != nil {
		t.Fatal(err)
	}
	spec := &opsv1alpha1.AuditCheckpointSpec{
		Note: noteOf(t, signer, events, size), Size: int64(size), LastHash: events[size-1].Hash, Frontier: frontier,
	}
	if pruned > 0 {
		spec.Pruned = prunedAt(t, tree, int64(pruned), events[pruned-1].Hash)
	}
	return spec
}

func TestChainFitsItsCheckpoints(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	events := signedChain(t, signer, 30, 5, 12, 20)
	note20 := &opsv1alpha1.AuditCheckpointSpec{Note: events[20].Message}
	head := events[29].Hash
	for name, test := range map[string]struct {
		events   []opsv1alpha1.AuditEventSpec
		evidence Evidence
		want     Checked
	}{
		"all of it":             {events, Evidence{Latest: specOf(t, signer, events, 28, 0), Keys: &keys, Whole: true}, Checked{Result: Result{Count: 30, Last: 29, Head: head}, Checkpoints: 4, Size: 28}},
		"a log, with its own":   {events, Evidence{Keys: &keys}, Checked{Result: Result{Count: 30, Last: 29, Head: head}, Checkpoints: 3, Size: 20}},
		"without keys":          {events, Evidence{Latest: note20}, Checked{Result: Result{Count: 30, Last: 29, Head: head}, Checkpoints: 4, Size: 20}},
		"a rotated log":         {events[8:], Evidence{Latest: note20, Keys: &keys}, Checked{Result: Result{Count: 22, First: 8, Last: 29, Head: head}, Unanchored: 3}},
		"pruned":                {events[8:], Evidence{Latest: specOf(t, signer, events, 30, 8), Keys: &keys, Whole: true}, Checked{Result: Result{Count: 22, First: 8, Last: 29, Head: head}, Checkpoints: 3, Size: 30}},
		"pruned past one":       {events[13:], Evidence{Latest: specOf(t, signer, events, 30, 13), Keys: &keys, Whole: true}, Checked{Result: Result{Count: 17, First: 13, Last: 29, Head: head}, Checkpoints: 2, Size: 30}},
		"being pruned":          {events[3:], Evidence{Latest: specOf(t, signer, events, 30, 8), Keys: &keys, Whole: true}, Checked{Result: Result{Count: 27, First: 3, Last: 29, Head: head}, Checkpoints: 3, Unanchored: 1, Size: 30}},
		"about to be pruned":    {events, Evidence{Latest: specOf(t, signer, events, 30, 8), Keys: &keys, Whole: true}, Checked{Result: Result{Count: 30, Last: 29, Head: head}, Checkpoints: 4, Size: 30}},
		"and another that fits": {events, Evidence{Latest: specOf(t, signer, events, 30, 0), Also: note20, Keys: &keys, Whole: true}, Checked{Result: Result{Count: 30, Last: 29, Head: head}, Checkpoints: 5, Size: 30}},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := VerifyAgainst(sequence(test.events), test.evidence)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

func TestChainThatDoesNotFitItsCheckpointIsNamed(t *testing.T) {
	type events = []opsv1alpha1.AuditEventSpec
	signer, keys := testSigner(t, "c1")
	good := signedChain(t, signer, 30, 5, 12, 20)
	// rewrite changes one event and links all that follow anew, notes and all.
	rewrite := func(at int) events {
		return relinked(t, 30, func(i int, _ events, next *opsv1alpha1.AuditEventSpec) {
			next.Type, next.Message = good[i].Type, good[i].Message
			if i == at {
				next.Actor = "mallory"
			}
		})
	}
	mallory, malloryKeys := testSigner(t, "c1x")
	_ = malloryKeys
	latest := func(size, pruned int) *opsv1alpha1.AuditCheckpointSpec { return specOf(t, signer, good, size, pruned) }
	for name, test := range map[string]struct {
		events   events
		evidence Evidence
		index    int64
		problem  string
	}{
		"a tail cut":                         {good[:25], Evidence{Latest: latest(28, 0), Keys: &keys}, 25, "cut at its end"},
		"a tail cut after pruning":           {good[9:25], Evidence{Latest: latest(28, 9), Keys: &keys, Whole: true}, 25, "cut at its end"},
		"a tail cut, by a note kept":         {good[:15], Evidence{Also: &opsv1alpha1.AuditCheckpointSpec{Note: good[20].Message}, Keys: &keys}, 15, "cut at its end"},
		"rewritten between checkpoints":      {rewrite(8), Evidence{Keys: &keys}, 5, "rewritten"},
		"rewritten before the first":         {rewrite(2), Evidence{Keys: &keys}, 0, "rewritten"},
		"rewritten after the last event":     {rewrite(25), Evidence{Latest: latest(28, 0), Keys: &keys}, 20, "rewritten"},
		"rewritten, and no key":              {rewrite(8), Evidence{}, 5, "rewritten"},
		"rewritten, by a note kept":          {rewrite(8)[:11], Evidence{Also: &opsv1alpha1.AuditCheckpointSpec{Note: noteOf(t, signer, good, 10)}, Keys: &keys}, 5, "rewritten"},
		"more deleted than pruned":           {good[10:], Evidence{Latest: latest(28, 9), Keys: &keys, Whole: true}, 9, "begins with event 10"},
		"the beginning deleted":              {good[1:], Evidence{Latest: latest(28, 0), Keys: &keys, Whole: true}, 0, "begins with event 1"},
		"the beginning of a pruned replaced": {rewrite(12)[13:], Evidence{Latest: latest(28, 13), Keys: &keys, Whole: true}, 13, "last event that was pruned"},
		"rewritten after what was pruned":    {rewrite(15)[13:], Evidence{Latest: latest(28, 13), Keys: &keys, Whole: true}, 13, "rewritten"},
		"an event edited":                    {edited(good, 14), Evidence{Latest: latest(28, 0), Keys: &keys}, 14, "edited"},
		"all deleted":                        {nil, Evidence{Latest: latest(28, 0), Keys: &keys, Whole: true}, 0, "cut at its end"},
		"a forged checkpoint in the chain": {relinked(t, 30, func(i int, before events, next *opsv1alpha1.AuditEventSpec) {
			if i == 9 {
				next.Type, next.Message = opsv1alpha1.AuditCheckpointSigned, noteOf(t, mallory, before, i)
			}
		}), Evidence{Keys: &keys}, 9, "does not verify"},
		"a checkpoint of what is to come": {relinked(t, 30, func(i int, _ events, next *opsv1alpha1.AuditEventSpec) {
			if i == 9 {
				next.Type, next.Message = opsv1alpha1.AuditCheckpointSigned, good[12].Message
			}
		}), Evidence{Keys: &keys}, 9, "not so many are before it"},
		"a checkpoint of another chain": {relinked(t, 30, func(i int, before events, next *opsv1alpha1.AuditEventSpec) {
			if i == 9 {
				next.Type, next.Message = opsv1alpha1.AuditCheckpointSigned, noteOf(t, mallory, before, i)
			}
		}), Evidence{Latest: &opsv1alpha1.AuditCheckpointSpec{Note: good[5].Message}}, 9, "this is the chain of"},
	} {
		t.Run(name, func(t *testing.T) {
			var bad *BadLink
			result, err := VerifyAgainst(sequence(test.events), test.evidence)
			if !errors.As(err, &bad) || bad.Index != test.index || !strings.Contains(bad.Problem, test.problem) {
				t.Errorf("error is %v, want event %d and %q; %+v", err, test.index, test.problem, result)
			}
		})
	}
}

func edited(events []opsv1alpha1.AuditEventSpec, index int) []opsv1alpha1.AuditEventSpec {
	changed := slices.Clone(events)
	changed[index].Actor = "mallory"
	return changed
}

// Whatever is done to whatever is left of whatever chain, it is found, and nothing
// after the first event that is wrong is named.
func TestAnyDamageIsNamedByItsFirstEvent(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 5))
		length := 5 + random.IntN(30)
		events := signedChain(t, signer, length, 1+random.IntN(length-1))
		size := 3 + random.IntN(length-3)
		pruned := random.IntN(size - 1)
		evidence := Evidence{Latest: specOf(t, signer, events, size, pruned), Keys: &keys, Whole: true}
		rest := slices.Clone(events[pruned:])
		if _, err := VerifyAgainst(sequence(rest), evidence); err != nil {
			t.Fatalf("seed %d: undamaged: %v", seed, err)
		}
		at := random.IntN(len(rest) - 1)
		first := int64(pruned + at)
		damage := []string{"edit", "drop", "swap", "repeat", "cut"}[random.IntN(5)]
		switch damage {
		case "edit":
			rest[at].Message += "."
		case "drop":
			rest = slices.Delete(rest, at, at+1)
		case "swap":
			rest[at], rest[at+1] = rest[at+1], rest[at]
			if at == 0 {
				// What comes first is the later one, so the first is what is missing.
				first = int64(pruned)
			}
		case "repeat":
			rest = slices.Insert(rest, at, rest[at])
			first++ // where the next one should be
		case "cut":
			at = random.IntN(size - pruned)
			rest, first = rest[:at], int64(pruned+at)
			if at == 0 {
				continue // nothing is left, and so nothing says where it began
			}
		}
		var bad *BadLink
		if _, err := VerifyAgainst(sequence(rest), evidence); !errors.As(err, &bad) || bad.Index != first {
			t.Errorf("seed %d: %s at %d of %d, %d pruned, checkpoint of %d: %v, want event %d", seed, damage, at, length, pruned, size, err, first)
		}
	}
}

func TestCheckpointThatIsNotInOrderIsTold(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	_, otherKeys := testSigner(t, "c2")
	events := chainOf(t, 12)
	for name, test := range map[string]struct {
		change func(*opsv1alpha1.AuditCheckpointSpec)
		keys   VerifierKeys
		want   string
	}{
		"another key":                   {func(*opsv1alpha1.AuditCheckpointSpec) {}, otherKeys, ErrUnknownKey.Error()},
		"another size":                  {func(s *opsv1alpha1.AuditCheckpointSpec) { s.Size = 9 }, keys, "covers 9 events"},
		"a frontier of other hashes":    {func(s *opsv1alpha1.AuditCheckpointSpec) { s.Frontier[0] = s.Frontier[1] }, keys, "does not have the root"},
		"a frontier cut":                {func(s *opsv1alpha1.AuditCheckpointSpec) { s.Frontier = s.Frontier[:1] }, keys, "frontier of 10 events"},
		"more pruned than covered":      {func(s *opsv1alpha1.AuditCheckpointSpec) { s.Pruned.Before = 11 }, keys, "11 events were pruned"},
		"less than nothing pruned":      {func(s *opsv1alpha1.AuditCheckpointSpec) { s.Pruned.Before = -1 }, keys, "-1 events were pruned"},
		"another name to delete before": {func(s *opsv1alpha1.AuditCheckpointSpec) { s.Pruned.BeforeName = EventName(9) }, keys, "allows to delete"},
		"a pruned frontier cut":         {func(s *opsv1alpha1.AuditCheckpointSpec) { s.Pruned.Frontier = nil }, keys, "frontier of 4 events"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specOf(t, signer, events, 10, 4)
			test.change(spec)
			var damaged *DamagedCheckpoint
			if _, err := CheckLatest(spec, test.keys); !errors.As(err, &damaged) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("CheckLatest: %v, want %q", err, test.want)
			}
			if _, err := VerifyAgainst(sequence(events), Evidence{Latest: spec, Keys: &test.keys}); !errors.Is(err, ErrCheckpoint) {
				t.Errorf("VerifyAgainst: %v, want ErrCheckpoint", err)
			}
		})
	}
}

// A frontier that was changed together with its events is found by the root, which
// is signed; the frontier of what was pruned is signed by nobody.
func TestFrontierOfWhatWasPrunedIsProvenByTheRoot(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	events := chainOf(t, 12)
	spec := specOf(t, signer, events, 10, 4)
	spec.Pruned.Frontier[0] = strings.Repeat("ab", 32)
	var bad *BadLink
	if _, err := VerifyAgainst(sequence(events[4:]), Evidence{Latest: spec, Keys: &keys, Whole: true}); !errors.As(err, &bad) || bad.Index != 4 {
		t.Errorf("with the events that are left: %v", err)
	}
	if _, err := VerifyAgainst(sequence(events), Evidence{Latest: spec, Keys: &keys, Whole: true}); err == nil || !strings.Contains(err.Error(), "do not let it be deleted") {
		t.Errorf("with the events that it says were pruned: %v", err)
	}
}
