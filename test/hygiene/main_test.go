// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hygiene tests what an aggregated API does to the rest of a cluster while
// its server is in trouble: what goes on, what does not, and what sets that free.
package hygiene

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

var srenix *harness.Srenix

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "srenix-hygiene-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	p, err := plane.Start(ctx, plane.Options{Dir: filepath.Join(dir, "plane"), Nodes: 2, Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := p.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	if srenix, err = harness.Install(ctx, p, harness.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := srenix.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}
