// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command controlplane is a whole Kubernetes control plane in one binary, for
// the demo and the tests: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, kubectl, and kwok, which plays nodes and pods. Called by the
// name of a component, or with it as first argument, it is that component;
// otherwise it manages planes: see `controlplane help`.
package main

import (
	"os"
	"path/filepath"

	"github.com/srenix/srenix/hack/controlplane/internal/hyper"
	"github.com/srenix/srenix/hack/controlplane/internal/plane"
)

func main() {
	if name := filepath.Base(os.Args[0]); hyper.Has(name) {
		os.Exit(hyper.Run(name, os.Args))
	}
	if len(os.Args) > 1 && hyper.Has(os.Args[1]) {
		os.Exit(hyper.Run(os.Args[1], os.Args[1:]))
	}
	os.Exit(plane.Execute())
}
