// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command executor carries approvals out: it is the only program of srenix that
// may change a workload, and does so once for each approval.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/srenix/srenix/pkg/executor"
)

func main() {
	os.Exit(cli.Run(executor.NewCommand(ctrl.SetupSignalHandler())))
}
