// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-srenix is the kubectl plugin behind `kubectl srenix`. Called
// as kubectl_complete-srenix (a link to it on PATH) it answers kubectl's shell
// completion.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/cli"
)

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(cli.Run(newCommand(streams), streams, os.Args))
}
