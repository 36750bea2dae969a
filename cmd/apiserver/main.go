// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command apiserver computes findings and proposals from the live cluster,
// serves them as an aggregated API, signs tokens and answers admission reviews.
package main

import (
	"os"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json

	"github.com/srenix/srenix/pkg/apiserver"
)

func main() {
	os.Exit(cli.Run(apiserver.NewCommand(genericapiserver.SetupSignalContext())))
}
