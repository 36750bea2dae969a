// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/srenix/srenix/test/plane"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	// dropped is what GitHub leaves out of a heading's anchor.
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// pages are all Markdown files of the repository, by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", ".controlplane", "bin", "_output"}, entry.Name()) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".md" || entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		found[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// anchors are those that GitHub makes of a page's headings.
func anchors(content string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(content, ""), -1) {
		text := strings.ToLower(link.ReplaceAllString(match[1], ""))
		found[strings.ReplaceAll(dropped.ReplaceAllString(text, ""), " ", "-")] = true
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	all, checked := pages(t), 0
	for page, content := range all {
		for _, match := range link.FindAllStringSubmatch(fence.ReplaceAllString(content, ""), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			checked++
			file, anchor, _ := strings.Cut(match[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s leads to %s, which does not exist", page, match[1])
				continue
			}
			if anchor != "" && filepath.Ext(target) == ".md" && !anchors(all[target])[anchor] {
				t.Errorf("%s leads to %s, which has no such heading", page, match[1])
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d links were found", checked)
	}
}

func TestEveryFolderIsToldOf(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	var told string
	for _, page := range []string{"README.md", filepath.Join("docs", "development.md")} {
		told += pages(t)[filepath.Join(root, page)]
	}
	for _, parent := range []string{"hack", "pkg", "test"} {
		entries, err := os.ReadDir(filepath.Join(root, parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			name := parent + "/" + entry.Name()
			if entry.IsDir() && !strings.Contains(told, "`"+name+"`") && !strings.Contains(told, "`"+name+"/") {
				t.Errorf("neither the README nor docs/development.md says what %s holds", name)
			}
		}
	}
}

// A release of Kubernetes is named in many places.
func TestVersionsOfKubernetesAgree(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	named := func(file, pattern string) []string {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		var versions []string
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(content), -1) {
			versions = append(versions, match[1])
		}
		if len(versions) == 0 {
			t.Errorf("%s names no version of Kubernetes", file)
		}
		return versions
	}
	const libraries = `(?m)^\s*(?:require )?(?:k8s\.io/\S+ => )?k8s\.io/(?:api|apimachinery|apiserver|client-go|component-base|code-generator) v0\.(\d+)\.`
	want := named("Makefile", `KUBERNETES_VERSION := v1\.(\d+)\.`)[0]
	for file, pattern := range map[string]string{
		"Makefile":                           `(?:gitMinor|version\.gitVersion=v1)[=.](\d+)`,
		"go.mod":                             libraries,
		"hack/tools/go.mod":                  libraries,
		"hack/controlplane/go.mod":           `k8s\.io/kubernetes v1\.(\d+)\.`,
		"test/chart/go.mod":                  libraries,
		"test/gitops/go.mod":                 libraries,
		"hack/apidocs/config.yaml":           `kubernetesVersion: "1\.(\d+)"`,
		"artifacts/charts/srenix/Chart.yaml": `kubeVersion: ">=1\.(\d+)\.`,
		"README.md":                          `tested with Kubernetes 1\.(\d+)`,
		"docs/install.md":                    `Kubernetes 1\.(\d+)`,
	} {
		for _, have := range named(file, pattern) {
			if have != want {
				t.Errorf("%s names minor version %s of Kubernetes, the Makefile %s", file, have, want)
			}
		}
	}
}
