// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed helpers.go.txt
var helpers string

// build compiles the package's tests with every mutant in the code, switched
// off, and returns the path of the binary. The tree is not touched: the changed
// files lie in folder, and the compiler is told to read them instead. One build
// is enough for all mutants, because linking costs far more than the tests.
func (f *finder) build(folder string) (string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", fmt.Errorf("building the mutants of %s: %w", f.path, err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("building the mutants of %s: %w", f.path, err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	write := func(name string, content []byte) error {
		replacement := filepath.Join(folder, name+".txt")
		overlay.Replace[filepath.Join(f.dir, name)] = replacement
		return os.WriteFile(replacement, content, 0o644)
	}
	for _, file := range f.files {
		if err := write(file.name, apply(file.content, f.edits[file.name])); err != nil {
			return "", fmt.Errorf("writing the mutants of %s: %w", file.name, err)
		}
	}
	if err := write("zz_mutants.go", []byte(strings.Replace(helpers, "PACKAGE", f.files[0].syntax.Name.Name, 1))); err != nil {
		return "", fmt.Errorf("writing the mutants of %s: %w", f.path, err)
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", fmt.Errorf("building the mutants of %s: %w", f.path, err)
	}
	listFile, binary := filepath.Join(folder, "overlay.json"), filepath.Join(folder, "mutants.test")
	if err := os.WriteFile(listFile, list, 0o644); err != nil {
		return "", fmt.Errorf("building the mutants of %s: %w", f.path, err)
	}
	command := exec.Command("go", "test", "-c", "-vet=off", "-trimpath", "-overlay", listFile, "-o", binary, f.path)
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the mutants of %s: %w\n%s", f.path, err, output)
	}
	return binary, nil
}

// apply makes the edits of one file. The finder visits outer pieces before
// inner ones, so of those that begin at one place the first is the outermost.
func apply(content []byte, edits []edit) []byte {
	type ordered struct {
		edit
		rank int
	}
	var all []ordered
	for i, one := range edits {
		if one.closing {
			i = -i // What was opened last closes first.
		}
		all = append(all, ordered{one, i})
	}
	slices.SortStableFunc(all, func(a, b ordered) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.rank, b.rank)) })
	var changed bytes.Buffer
	done := 0
	for _, one := range all {
		changed.Write(content[done:one.offset])
		changed.WriteString(one.text)
		done = one.offset + one.length
	}
	changed.Write(content[done:])
	return changed.Bytes()
}
