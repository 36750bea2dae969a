// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-create-approval is the kubectl plugin behind
// `kubectl create approval`.
//
// Called as kubectl_complete-create-approval (a link to it on PATH) it answers
// shell completion by kubectl's convention for plugins. Up to 1.37 kubectl asks
// only plugins of the first level, and none below its own `create`, so that
// today the link serves shell functions that call it by its name.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/cli/approval"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(cli.Run(approval.NewCommand(streams), streams, os.Args))
}
