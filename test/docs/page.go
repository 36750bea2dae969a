// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs follows the documentation to the letter: its tests read the pages,
// run the commands and apply the manifests that they find there.
package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/srenix/srenix/test/plane"
)

// Block is a fenced block of a page.
type Block struct {
	// Page is the page's path in the repository.
	Page string
	// Line is the number of its first line in the page.
	Line int
	// Language is what stands behind the opening fence.
	Language string
	// Text is what it holds.
	Text string
}

// String tells where it is.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

var fenced = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?)^ *```$")

// Blocks reads the fenced blocks of a page, given by its path in the repository.
func Blocks(page string) ([]Block, error) {
	root, err := plane.Root()
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	if err != nil {
		return nil, fmt.Errorf("reading a page: %w", err)
	}
	text := string(content)
	var blocks []Block
	for _, at := range fenced.FindAllStringSubmatchIndex(text, -1) {
		blocks = append(blocks, Block{
			Page: page, Line: 2 + strings.Count(text[:at[0]], "\n"),
			Language: text[at[4]:at[5]], Text: text[at[6]:at[7]],
		})
	}
	return blocks, nil
}

// Reader is somebody who does what a page says, as the admin of a plane.
type Reader struct {
	plane       *plane.Plane
	dir         string
	environment []string
}

// NewReader returns a Reader who works in an empty directory.
func NewReader(p *plane.Plane, dir string) (*Reader, error) {
	controlplane, err := plane.Binary("controlplane")
	if err != nil {
		return nil, err
	}
	kubectl := "#!/bin/sh\nexec '" + controlplane + "' kubectl \"$@\"\n"
	programs := filepath.Join(dir, ".programs")
	if err := os.MkdirAll(programs, 0o700); err != nil {
		return nil, fmt.Errorf("making a directory for kubectl: %w", err)
	}
	if err := os.WriteFile(filepath.Join(programs, "kubectl"), []byte(kubectl), 0o700); err != nil { //nolint:gosec // It is a program.
		return nil, fmt.Errorf("writing kubectl: %w", err)
	}
	path := strings.Join([]string{programs, filepath.Dir(controlplane), os.Getenv("PATH")}, string(os.PathListSeparator))
	return &Reader{plane: p, dir: dir, environment: append(os.Environ(), "KUBECONFIG="+p.Kubeconfig(), "PATH="+path)}, nil
}

// Dir is where the Reader works, and where commands leave their files.
func (r *Reader) Dir() string { return r.dir }

// Do does what a block says: runs a script (sh), runs commands and compares what they
// print (console), or applies a manifest (yaml). Fragments of manifests and blocks of
// other languages are for reading. An error tells what came out differently.
func (r *Reader) Do(ctx context.Context, block Block) error {
	switch block.Language {
	case "sh":
		if output, err := r.run(ctx, block.Text); err != nil {
			return fmt.Errorf("%s: %w\n%s", block, err, output)
		}
	case "console":
		for _, command := range commands(block.Text) {
			// What is printed tells of success and failure: auth can-i fails to say no.
			output, err := r.run(ctx, command.line)
			if !command.printed(output) {
				return errors.Join(fmt.Errorf("%s: %s printed\n%s\nwant\n%s", block, command.line, output, command.output), err)
			}
		}
	case "yaml":
		if !strings.HasPrefix(block.Text, "apiVersion: ") {
			return nil
		}
		apply := r.plane.KubectlCommand(ctx, r.plane.Kubeconfig(), "apply", "-f", "-")
		apply.Stdin = strings.NewReader(block.Text)
		if output, err := apply.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: applying it: %w\n%s", block, err, output)
		}
	}
	return nil
}

func (r *Reader) run(ctx context.Context, script string) (output string, err error) {
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir, command.Env = r.dir, r.environment
	content, err := command.CombinedOutput()
	var kept []string
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "Warning: ") && strings.TrimSpace(line) != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, ""), err
}

// command is one of a console, with what it prints.
type command struct{ line, output string }

func commands(text string) []command {
	var all []command
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, command{line: strings.TrimSpace(rest)})
		} else if len(all) > 0 {
			all[len(all)-1].output += line
		}
	}
	return all
}

// printed tells whether output is what the page says. Three dots stand for anything;
// runs of white space are equal.
func (c command) printed(output string) bool {
	parts := strings.Split(strings.Join(strings.Fields(c.output), " "), "...")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(strings.TrimSpace(parts[i]))
	}
	want := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
	return want.MatchString(strings.Join(strings.Fields(output), " "))
}
