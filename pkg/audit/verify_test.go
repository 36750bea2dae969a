// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// chainOf seals a chain of this length without a cluster.
func chainOf(t testing.TB, length int) []opsv1alpha1.AuditEventSpec {
	t.Helper()
	var chain []opsv1alpha1.AuditEventSpec
	var prev *opsv1alpha1.AuditEventSpec
	for i := range length {
		next := opsv1alpha1.AuditEventSpec{
			Time: metav1.NewMicroTime(start), Component: "apiserver", Actor: "alice",
			Type: opsv1alpha1.AuditTokenMinted, Message: fmt.Sprintf("event %d", i),
		}
		if i == 0 {
			next.Type = opsv1alpha1.AuditChainStarted
		}
		sealed, err := Seal(prev, next)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, sealed)
		prev = &chain[i]
	}
	return chain
}

func TestVerifyNamesTheFirstBadIndex(t *testing.T) {
	type events = []opsv1alpha1.AuditEventSpec
	for name, test := range map[string]struct {
		damage func(events) events
		want   int64
	}{
		"edited":              {func(e events) events { e[4].Actor = "mallory"; return e }, 4},
		"edited twice":        {func(e events) events { e[6].Message, e[3].Message = "", ""; return e }, 3},
		"the start edited":    {func(e events) events { e[0].Message = "x"; return e }, 0},
		"time moved":          {func(e events) events { e[2].Time = metav1.NewMicroTime(start.AddDate(0, 0, 1)); return e }, 2},
		"a verdict added":     {func(e events) events { e[5].Hashes = map[string]string{"a": "b"}; return e }, 5},
		"hash changed":        {func(e events) events { e[5].Hash = e[4].Hash; return e }, 5},
		"edited and rehashed": {func(e events) events { e[4].Actor = "mallory"; rehash(t, &e[4]); return e }, 5},
		"two swapped":         {func(e events) events { e[3], e[4] = e[4], e[3]; return e }, 3},
		"reversed":            {func(e events) events { slices.Reverse(e); return e }, 9},
		"one dropped":         {func(e events) events { return slices.Delete(e, 4, 5) }, 4},
		"three dropped":       {func(e events) events { return slices.Delete(e, 2, 5) }, 2},
		"one repeated":        {func(e events) events { return slices.Insert(e, 4, e[3]) }, 4},
		"renumbered over a gap": {func(e events) events {
			e = slices.Delete(e, 4, 5)
			e[4].Index = 4
			rehash(t, &e[4])
			return e
		}, 4},
		"a start that is none": {func(e events) events {
			e[0].Type = opsv1alpha1.AuditTokenMinted
			rehash(t, &e[0])
			return e
		}, 0},
		"a negative index": {func(e events) events { e[0].Index = -1; rehash(t, &e[0]); return e }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			var bad *BadLink
			result, err := Verify(sequence(test.damage(chainOf(t, 9))))
			if !errors.As(err, &bad) {
				t.Fatalf("error is %v", err)
			}
			if bad.Index != test.want {
				t.Errorf("names event %d (%s), want %d", bad.Index, bad.Problem, test.want)
			}
			if result.Last >= max(bad.Index, 0) && result.Count > 0 {
				t.Errorf("the result covers up to %d, beyond what verified", result.Last)
			}
		})
	}
}

func TestVerifyCounts(t *testing.T) {
	chain := chainOf(t, 9)
	for name, test := range map[string]struct {
		events []opsv1alpha1.AuditEventSpec
		want   Result
	}{
		"nothing":        {nil, Result{First: -1, Last: -1}},
		"one":            {chain[:1], Result{Count: 1, Head: chain[0].Hash}},
		"all":            {chain, Result{Count: 9, Last: 8, Head: chain[8].Hash}},
		"a pruned chain": {chain[4:], Result{Count: 5, First: 4, Last: 8, Head: chain[8].Hash}},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := Verify(sequence(test.events))
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

// The hash is over the spec without the field hash, so anybody can compute it
// with other tools.
func TestHashIsThatOfTheCanonicalJSONWithoutTheHash(t *testing.T) {
	event := chainOf(t, 1)[0]
	data, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "hash")
	canonical, err := json.Marshal(fields) // sorted keys, and nothing here that RFC 8785 writes differently
	if err != nil {
		t.Fatal(err)
	}
	want := `{"actor":"alice","component":"apiserver","index":0,"message":"event 0","prevHash":"` + strings.Repeat("0", 64) +
		`","time":"2026-03-01T12:00:00.123456Z","type":"ChainStarted"}`
	if diff := gocmp.Diff(want, string(canonical)); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	sum := sha256.Sum256(canonical)
	if want := "sha256:" + hex.EncodeToString(sum[:]); event.Hash != want {
		t.Errorf("hash %s, want %s", event.Hash, want)
	}
}

func lines(t testing.TB, chain []opsv1alpha1.AuditEventSpec) []string {
	t.Helper()
	var all []string
	for i := range chain {
		var line bytes.Buffer
		if err := writeLine(&line, &chain[i]); err != nil {
			t.Fatal(err)
		}
		all = append(all, line.String())
	}
	return all
}

func TestReadJSONLIsStrictAndNamesTheLine(t *testing.T) {
	good := lines(t, chainOf(t, 3))
	for name, test := range map[string]struct {
		second string
		want   string
	}{
		"an unknown field":        {strings.Replace(good[1], `"actor"`, `"secret":1,"actor"`, 1), "line 2"},
		"a repeated field":        {strings.Replace(good[1], `"actor"`, `"actor":"bob","actor"`, 1), "line 2"},
		"a field in another case": {strings.Replace(good[1], `"actor"`, `"Actor"`, 1), "line 2"},
		"two events on a line":    {strings.TrimSpace(good[1]) + good[1], "line 2"},
		"a cut line":              {good[1][:20] + "\n", "line 2"},
		"no JSON":                 {"level=info msg=started\n", "line 2"},
		"a line without an end":   {strings.Repeat("x", MaximumLine+1) + "\n", "line 2"},
		"an index that is no int": {strings.Replace(good[1], `"index":1`, `"index":1.5`, 1), "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := Verify(ReadJSONL(strings.NewReader(good[0] + test.second + good[2])))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one that names %s", err, test.want)
			}
			if result.Count != 1 {
				t.Errorf("%d events before the bad line, want 1", result.Count)
			}
		})
	}
}

func TestReadJSONLSkipsEmptyLinesAndNeedsNoLastLineBreak(t *testing.T) {
	good := lines(t, chainOf(t, 2))
	result, err := Verify(ReadJSONL(strings.NewReader("\n" + good[0] + "\r\n  \n" + strings.TrimSpace(good[1]))))
	if err != nil || result.Count != 2 {
		t.Errorf("%d events, %v", result.Count, err)
	}
}

func TestAnyFlippedByteOfALogIsNoticed(t *testing.T) {
	log := strings.Join(lines(t, chainOf(t, 3)), "")
	want, err := Verify(ReadJSONL(strings.NewReader(log)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(log) {
		changed := []byte(log)
		changed[i] ^= 1
		have, err := Verify(ReadJSONL(bytes.NewReader(changed)))
		// A changed line break is white space or an error, and never another chain.
		if err == nil && have != want {
			t.Errorf("byte %d (%q) changed: verifies as %+v", i, log[i], have)
		}
		if err == nil && log[i] != '\n' {
			t.Errorf("byte %d (%q) changed: nobody notices", i, log[i])
		}
	}
}

func FuzzReadJSONL(f *testing.F) {
	chain := chainOf(f, 4)
	good := strings.Join(lines(f, chain), "")
	for _, seed := range []string{
		"", "\n", "{}", "null", "[]", good, good[:len(good)/2], strings.ReplaceAll(good, `"index":2`, `"index":-2`),
		`{"index":9223372036854775807,"time":"x"}`, `{"verdicts":[null],"references":{"target":null},"hashes":{"":""}}`,
		"\xff\xfe" + good, strings.Repeat("[", 10000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var read []opsv1alpha1.AuditEventSpec
		for event, err := range ReadJSONL(bytes.NewReader(data)) {
			if err != nil {
				return
			}
			read = append(read, event)
		}
		result, err := Verify(sequence(read))
		if err == nil && result.Count != int64(len(read)) {
			t.Errorf("%d events were read and %d verified", len(read), result.Count)
		}
		// What verifies once written again verifies the same.
		if err == nil {
			again, err := Verify(ReadJSONL(strings.NewReader(strings.Join(lines(t, read), ""))))
			if err != nil || again != result {
				t.Errorf("written and read again: %+v, %v; before: %+v", again, err, result)
			}
		}
	})
}
