// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package survive does to two replicas of the aggregated server, under several
// hundred pods, what befalls servers in clusters: a storage that hangs, an API
// server that goes, connections that are cut, bursts, and objects as large and
// strange as the API takes. After each, both must serve what one that has just
// started serves, and an informer that watched all along must have missed nothing.
//
// The clock of a process cannot be set from outside: what it does to a server is seen
// at one that runs in the test's own process, with a clock that can.
package survive

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const (
	deadline     = 90 * time.Second
	pollInterval = 100 * time.Millisecond
)

// configuration has graces of seconds.
const configuration = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  WorkloadStateDrift: {grace: 1s}
  ConfigDrift: {grace: 1s}
  StuckJobs: {grace: 1s}
`

// installation is what a test does things to.
type installation struct {
	*testing.T
	srenix *harness.Srenix
	config *rest.Config
	kube   kubernetes.Interface
	// servers are those that were reached past the aggregator, by address.
	servers map[string]server
}

func install(t *testing.T, options harness.Options) *installation {
	t.Helper()
	p, err := plane.Start(t.Context(), plane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 10, Progress: os.Stderr})
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	srenix, err := harness.Install(t.Context(), p, options)
	must(t, err)
	t.Cleanup(func() { must(t, srenix.Close()) })
	config, err := p.Config()
	must(t, err)
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf // costs kube-apiserver the least
	kube, err := kubernetes.NewForConfig(typed)
	must(t, err)
	s := &installation{T: t, srenix: srenix, config: config, kube: kube, servers: map[string]server{}}
	if srenix.Balancer != nil {
		s.eventually("all replicas to be ready", func(context.Context) (bool, string) {
			return len(srenix.Balancer.Ready()) == options.Replicas, fmt.Sprint(srenix.Balancer.Ready())
		})
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls a condition until it holds; detail tells what was seen last.
func (s *installation) eventually(what string, condition func(ctx context.Context) (ok bool, detail string)) {
	s.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(s.Context(), pollInterval, deadline, true, func(ctx context.Context) (bool, error) {
		ok, seen := condition(ctx)
		if ctx.Err() == nil || detail == "" { // which says more than that time is over
			detail = seen
		}
		return ok, nil
	})
	if err != nil {
		s.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}

// server is the admin's way to one server, past the aggregator.
type server struct {
	dynamic.Interface
	rest rest.Interface
}

// direct has one connection to a server, however often it is asked: client-go drops a
// transport with the last client of it, and with a new one the server pays for a
// connection that is no leak of its own.
func (s *installation) direct(address string) server {
	s.Helper()
	if known, ok := s.servers[address]; ok {
		return known
	}
	config := rest.CopyConfig(s.config)
	config.Host, config.CAData, config.Insecure = "https://"+address, nil, true
	typed, err := kubernetes.NewForConfig(config)
	must(s.T, err)
	s.servers[address] = server{s.client(config), typed.RESTClient()}
	return s.servers[address]
}

func (s *installation) client(config *rest.Config) dynamic.Interface {
	s.Helper()
	client, err := dynamic.NewForConfig(config)
	must(s.T, err)
	return client
}

func (s *installation) control(verb, component string) {
	s.Helper()
	must(s.T, s.srenix.Plane.Control(s.Context(), verb, component))
}

// keepLogs saves the logs of a failed run under _output, for a look afterwards.
func (s *installation) keepLogs() {
	root, err := plane.Root()
	must(s.T, err)
	to := filepath.Join(root, "_output", "survive-logs")
	_ = os.RemoveAll(to)
	must(s.T, os.CopyFS(to, os.DirFS(filepath.Join(s.srenix.Plane.Dir(), "logs"))))
	s.Log("the logs are in ", to)
}
