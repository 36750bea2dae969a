// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status is `kubectl srenix status`: what stands in a cluster or a namespace,
// in a few lines. It reads what kubectl shows object by object, and nothing else.
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
)

const (
	outputText = "text"
	outputJSON = "json"
)

func outputs() []string { return []string{outputText, outputJSON} }

// Options are the flags, and what follows from them.
type Options struct {
	*genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	Output string

	clock  clock.PassiveClock
	reader reader
}

// NewCommand returns `status`.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	options := &Options{ConfigFlags: genericclioptions.NewConfigFlags(true), IOStreams: streams, Output: outputText, clock: clock.RealClock{}}
	command := &cobra.Command{
		Use:   "status [-n NAMESPACE]",
		Short: "Tell in a few lines what is wrong, what could be done and what is under way",
		Long: `Tell in a few lines what is wrong, what could be done about it, what was approved
and is under way, is being verified or did not help in the last day, which actions
are not carried out because they failed too often in a row, in all namespaces or
in one, and what srenix itself cannot see in the cluster.

It takes the rights of ClusterRole srenix-viewer; clusterfindings and the audit
checkpoint take them by a ClusterRoleBinding. What you may not read is left out,
and said to be.`,
		Example: `  # All namespaces
  kubectl srenix status

  # One namespace, for a script
  kubectl srenix status -n shop -o json`,
		DisableFlagsInUseLine: true,
		Args:                  cli.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.Complete(); err != nil {
				return cli.UsageError(command, err)
			}
			return options.Run(command.Context())
		},
	}
	options.AddFlags(command.Flags())
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "text" or "json".`)
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("completing --output: %v", err))
	}
	return command
}

// Complete checks the flags and makes the client. It sends nothing.
func (o *Options) Complete() error {
	if !slices.Contains(outputs(), o.Output) {
		return fmt.Errorf("unknown output format %q: it must be one of %s", o.Output, strings.Join(outputs(), ", "))
	}
	config, err := cli.RESTConfig(o, o.ErrOut)
	if err != nil {
		return err
	}
	if o.reader.client, err = versioned.NewForConfig(config); err != nil {
		return fmt.Errorf("making a client of srenix.io: %w", err)
	}
	namespaces, err := metadata.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client of namespaces: %w", err)
	}
	o.reader.namespaces = namespaces.Resource(corev1.SchemeGroupVersion.WithResource("namespaces"))
	return nil
}

// Run prints what stands.
func (o *Options) Run(ctx context.Context) error {
	o.reader.now = o.clock.Now()
	summary, err := o.reader.read(ctx, *o.Namespace)
	if err != nil {
		return cli.ExplainRead(err, "kubectl srenix status", *o.Namespace)
	}
	if err := o.reader.checkNamespace(ctx, summary); err != nil {
		return err
	}
	if o.Output == outputJSON {
		encoder := json.NewEncoder(o.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(summary)
	}
	_, err = fmt.Fprint(o.Out, summary.text())
	return err
}
