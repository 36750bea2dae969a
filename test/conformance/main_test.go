// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conformance holds the served kinds to the list and watch semantics of
// Kubernetes, through the aggregator of a real kube-apiserver. Where Kubernetes
// documents an answer, the same row is put to a kind of kube-apiserver itself
// first, so that a wrong expectation shows as such.
package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// configuration has graces of a second, so that findings come and go at once.
const configuration = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  WorkloadStateDrift: {grace: 1s}
  ConfigDrift: {grace: 1s}
`

// The installation that the tests share, and the admin's clients of it. Tests
// use namespaces of their own, and those that restart something do not run in
// parallel.
var (
	srenix  *harness.Srenix
	admin   *rest.Config
	kube    kubernetes.Interface
	objects dynamic.Interface
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// attached is for test/mutations, which has many servers to try on one plane.
var attached = flag.String("plane", "", "The directory of a plane with srenix on it, for tests that restart nothing; a new one if empty.")

func run(m *testing.M) (code int) {
	flag.DurationVar(&deadline, "deadline", deadline, "How long to wait for what has to come.")
	allowWaiting()
	ctx := context.Background()
	ctrllog.SetLogger(klog.Background())
	if *attached != "" {
		return runAttached(m)
	}
	dir, err := os.MkdirTemp("", "srenix-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
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
	}()
	srenix, err = harness.Install(ctx, p, harness.Options{Configuration: configuration})
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
	if err := connect(p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func runAttached(m *testing.M) (code int) {
	p, err := plane.Attach(*attached)
	if err == nil {
		srenix = &harness.Srenix{Plane: p}
		err = connect(p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// allowWaiting lets more tests run at a time than there are cores, unless the
// command line says how many: some wait a minute for what comes once a minute.
func allowWaiting() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "24") // The flag exists, and 24 is a number.
	}
}

func connect(p *plane.Plane) error {
	var err error
	if admin, err = p.Config(); err != nil {
		return err
	}
	if kube, err = kubernetes.NewForConfig(admin); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if objects, err = dynamic.NewForConfig(admin); err != nil {
		return fmt.Errorf("making a dynamic client: %w", err)
	}
	return nil
}

// keepLogs saves the logs of a failed run under _output, for a look afterwards.
func keepLogs(dir string) {
	root, err := plane.Root()
	if err != nil {
		return
	}
	to := filepath.Join(root, "_output", "conformance-logs")
	_ = os.RemoveAll(to)
	if err := os.CopyFS(to, os.DirFS(filepath.Join(dir, "logs"))); err == nil {
		fmt.Fprintln(os.Stderr, "the logs of the failed run are in", to)
	}
}
