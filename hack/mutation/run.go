// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// outcome is what the tests said to one mutant: a line of the ledger.
type outcome struct {
	Mutant
	Killed bool `json:"killed"`
	// By is the first test that failed, or how else the run ended.
	By string `json:"by,omitempty"`
}

// ledger keeps outcomes between runs, so that one that was interrupted goes on
// where it was. It belongs to one build: other code or other tests have another.
type ledger struct {
	file  *os.File
	known map[Mutant]outcome
}

func openLedger(folder, binary string) (*ledger, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("reading the mutants: %w", err)
	}
	path := filepath.Join(folder, fmt.Sprintf("%x.jsonl", sha256.Sum256(content))[:16]+".jsonl")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	l := &ledger{file: file, known: map[Mutant]outcome{}}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var known outcome
		// A line that was cut short is run again.
		if json.Unmarshal(lines.Bytes(), &known) == nil {
			l.known[known.Mutant] = known
		}
	}
	return l, nil
}

func (l *ledger) add(result outcome) error {
	line, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("writing the ledger: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing the ledger: %w", err)
	}
	return nil
}

// tests runs a test binary with one mutant switched on.
type tests struct {
	binary, dir string
	timeout     time.Duration
}

var failure = regexp.MustCompile(`--- FAIL: (\w+)`)

// run returns by what a mutant was killed; empty if it survived. The mutant 0 is
// the code as it is.
func (t *tests) run(mutant int) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	command := exec.CommandContext(ctx, t.binary, "-test.short", "-test.failfast")
	command.Dir = t.dir
	command.Env = append(os.Environ(), fmt.Sprintf("MUTANT=%d", mutant))
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "timeout", nil
	case !errors.As(err, &exit), exit.ExitCode() < 0: // not by themselves
		return "", fmt.Errorf("running the tests: %w", err)
	}
	if found := failure.FindSubmatch(output); found != nil {
		return string(found[1]), nil
	}
	if bytes.Contains(output, []byte("panic: ")) {
		return "panic", nil
	}
	return "exit", nil
}

// measure runs the tests on the code as it is. They must pass; a mutant gets
// ten times as long as they take, and at least ten seconds.
func (t *tests) measure() error {
	t.timeout = 10 * time.Minute
	began := time.Now()
	by, err := t.run(0)
	if err != nil {
		return err
	}
	if by != "" {
		return fmt.Errorf("the tests fail without any mutant (%s): mend that first", by)
	}
	t.timeout = max(10*time.Second, 10*time.Since(began))
	return nil
}
