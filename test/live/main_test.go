// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package live tests the live view against a real API server and what befalls
// one: restarts, a storage that hangs, CustomResourceDefinitions that come, change
// and go, and objects as large and strange as it accepts.
package live

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/srenix/srenix/test/plane"
)

var cluster *plane.Plane

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "srenix-live-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cluster, err = plane.Start(context.Background(), plane.Options{Dir: filepath.Join(dir, "plane"), Nodes: 1, Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	if err := cluster.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "left running:", err)
		code = 1
	}
	return code
}
