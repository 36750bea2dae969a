// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests srenix as its users meet it: installed from artifacts/ on a
// real control plane, through the real kubectl and client-go.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// configuration has graces and settle times of seconds.
const configuration = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  WorkloadStateDrift: {grace: 1s}
  ConfigDrift: {grace: 1s}
  StuckJobs: {grace: 1s}
  ImagePull: {grace: 1s}
executor:
  settleTime: 2s
  verifyDeadline: 30s
`

// srenix is the installation that the tests of this package share. Tests use
// namespaces of their own, and those that restart something do not run in parallel.
var srenix *harness.Srenix

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx := context.Background()
	ctrllog.SetLogger(klog.Background())
	dir, err := os.MkdirTemp("", "srenix-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p, err := plane.Start(ctx, plane.Options{Dir: filepath.Join(dir, "plane"), Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if code != 0 {
			keepLogs(p.Dir())
		}
		if err := p.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		_ = os.RemoveAll(dir)
	}()
	stop, err := traces.start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	srenix, err = harness.Install(ctx, p, harness.Options{Configuration: configuration, ApprovalPage: true})
	if err != nil {
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

// keepLogs saves the logs of a failed run under _output, for a look afterwards.
func keepLogs(dir string) {
	root, err := plane.Root()
	if err != nil {
		return
	}
	to := filepath.Join(root, "_output", "e2e-logs")
	_ = os.RemoveAll(to)
	if err := os.CopyFS(to, os.DirFS(filepath.Join(dir, "logs"))); err == nil {
		fmt.Fprintln(os.Stderr, "the logs of the failed run are in", to)
	}
}
