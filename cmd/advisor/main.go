// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command advisor looks into findings and writes down what is behind them. It may
// change nothing but its own records.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/srenix/srenix/pkg/advisor"
)

func main() {
	os.Exit(cli.Run(advisor.NewCommand(ctrl.SetupSignalHandler())))
}
