// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/srenix/srenix/test/plane"
)

// block is a file that a page gives: its path in backquotes, a colon, and a fenced
// block.
var block = regexp.MustCompile("(?ms)^`([^`]+)`:\n\n```[a-z]+\n(.*?)^```$")

var catalogLine = regexp.MustCompile("(?ms)^```catalog\n(.*?)^```$")

func TestAnAnalyzerWrittenByFollowingThePageWorks(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "analyzers", "writing.md"))
	if err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	for _, part := range []string{"go.mod", "go.sum", "pkg", filepath.Join("hack", "readerrole")} {
		copyTree(t, filepath.Join(root, part), filepath.Join(copied, part))
	}
	files := block.FindAllStringSubmatch(string(page), -1)
	if len(files) != 4 {
		t.Fatalf("the page gives %d files, want 4", len(files))
	}
	for _, file := range files {
		path := filepath.Join(copied, file[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file[2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := catalogLine.FindStringSubmatch(string(page))
	if line == nil {
		t.Fatal("the page gives no line for the catalog")
	}
	catalog := filepath.Join(copied, "pkg", "analyzers", "catalog", "catalog.go")
	content, err := os.ReadFile(catalog)
	if err != nil {
		t.Fatal(err)
	}
	const all, imports = "\treturn []Entry{\n", "import (\n"
	changed := strings.Replace(string(content), all, all+line[1], 1)
	changed = strings.Replace(changed, imports, imports+"\t\"github.com/srenix/srenix/pkg/analyzers/pausedrollout\"\n", 1)
	if err := os.WriteFile(catalog, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{
		{"test", "./pkg/analyzers/pausedrollout"},
		{"vet", "./pkg/analyzers/pausedrollout", "./pkg/analyzers/catalog"},
		{"run", "./hack/readerrole"},
	} {
		command := exec.CommandContext(t.Context(), "go", arguments...)
		command.Dir = copied
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !slices.Contains([]string{".go", ".mod", ".sum", ".yaml"}, filepath.Ext(path)) {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
