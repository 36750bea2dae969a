// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mutations breaks the live view and what it is served from on purpose, one
// thing at a time, and holds the suites to noticing. It shows that they can fail.
package mutations

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/srenix/srenix/test/plane"
)

// mutation replaces a part of a file, which is there once.
type mutation struct {
	file, part, by string
	// suite is the package, and test the test of it, that has to fail.
	suite, test string
}

const (
	oracle     = "TestIncrementalEqualsFromScratch$"
	dependents = "pkg/live/dependents.go"
)

func TestTheSuitesNotice(t *testing.T) {
	for name, m := range map[string]mutation{
		"a read by key that is forgotten":                    {dependents, "if set := d.byKey[ch.key]; set != nil {", "if set := d.byKey[ch.key]; set != nil && len(indexes) < 0 {", "./pkg/live", oracle},
		"a read by index of what leaves it":                  {dependents, "[2]Object{ch.old, ch.new}", "[2]Object{ch.new, ch.new}", "./pkg/live", oracle},
		"a read by selector of what leaves it":               {dependents, "ch.old != nil && entry.selector.Matches(before) ||", "ch.old != nil && before != nil && ch.new == nil ||", "./pkg/live", oracle},
		"a read by selector of what enters it":               {dependents, "ch.new != nil && entry.selector.Matches(after) {", "ch.new == nil && after != nil {", "./pkg/live", oracle},
		"a first-observed time that does not end":            {"pkg/live/observations.go", "			memory.End(before)\n", "			_ = before\n", "./pkg/live", oracle},
		"an owner who came first":                            {"pkg/live/claims.go", "case owner.before(n):", "case owner != n:", "./pkg/live", oracle},
		"an end of the initial events that is not annotated": {"pkg/registry/memory/feed.go", "storage.AnnotateInitialEventsEndBookmark(bookmark)", "ctx.Err()", "./pkg/registry/memory", "TestInitialEventsEndWithABookmark"},
	} {
		t.Run(name, func(t *testing.T) {
			output, err := m.run(t)
			switch {
			case err == nil:
				t.Errorf("%s passes with %q in place of %q of %s", m.test, m.by, m.part, m.file)
			case !strings.Contains(output, "--- FAIL: "+strings.TrimSuffix(m.test, "$")):
				t.Errorf("%s did not fail, but: %v\n%.4000s", m.test, err, output)
			}
		})
	}
}

// run runs the suite over a build that differs in the mutation only.
func (m mutation) run(t *testing.T) (output string, err error) {
	t.Helper()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, m.file)
	overlayFile := overlay(t, map[string]string{file: replaced(t, file, m.part, m.by)})
	command := exec.CommandContext(t.Context(), "go", "test", "-short", "-count=1", "-vet=off", "-overlay", overlayFile, "-run", m.test, m.suite)
	command.Dir = root
	printed, err := command.CombinedOutput()
	return string(printed), err
}

// replaced returns a copy of a file in which each part, which is there once, is replaced
// by what follows it.
func replaced(t *testing.T, file string, partsAndBy ...string) (changed string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(partsAndBy, 2) {
		if n := strings.Count(string(content), part[0]); n != 1 {
			t.Fatalf("%q is in %s %d times, want once: the mutation is out of date", part[0], file, n)
		}
	}
	changed = filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(changed, []byte(strings.NewReplacer(partsAndBy...).Replace(string(content))), 0o600); err != nil {
		t.Fatal(err)
	}
	return changed
}

// overlay returns a file for the go command's -overlay, by which files are others.
func overlay(t *testing.T, files map[string]string) (file string) {
	t.Helper()
	content, err := json.Marshal(map[string]map[string]string{"Replace": files})
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
