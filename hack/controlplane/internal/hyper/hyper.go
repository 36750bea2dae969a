// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hyper runs the components that are linked into this binary, by name.
package hyper

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	kwoksignals "sigs.k8s.io/kwok/pkg/utils/signals"
)

// components maps a name to what runs it; each takes its arguments with its own
// name first and returns an exit code.
var components = map[string]func(arguments []string) int{
	"etcd":                    runEtcd,
	"kube-apiserver":          runCobra(kubeapiserver.NewAPIServerCommand),
	"kube-controller-manager": runCobra(kubecontrollermanager.NewControllerManagerCommand),
	"kube-scheduler":          runCobra(func() *cobra.Command { return kubescheduler.NewSchedulerCommand() }), // Its options are variadic.
	"kubectl":                 runKubectl,
	"kwok":                    runKwok,
}

// Has tells whether a component of that name is linked in.
func Has(name string) bool {
	_, found := components[name]
	return found
}

// Run runs a component in this process and returns its exit code.
func Run(name string, arguments []string) int {
	// Components read the process's arguments themselves.
	os.Args = append([]string{name}, arguments[1:]...)
	return components[name](os.Args)
}

func runCobra(command func() *cobra.Command) func([]string) int {
	return func([]string) int { return cli.Run(command()) }
}

func runEtcd(arguments []string) int {
	etcdmain.Main(arguments)
	return 0
}

func runKubectl([]string) int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // Exits with the code that kubectl itself would.
	}
	return 0
}

func runKwok([]string) int {
	// Kubernetes registers a --version on the global flags that kwok's own clashes with.
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, _ := kwoklog.InitFlags(kwoksignals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kwok:", err)
		return 1
	}
	command := kwok.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(flags)
	if err := command.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kwok:", err)
		return 1
	}
	return 0
}
