// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package why is `kubectl srenix why`: what is known of one finding, as a note for a
// person on call. It reads what kubectl shows object by object, and decides nothing.
package why

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/cli/files"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
)

const (
	outputText = "text"
	outputJSON = "json"
)

func outputs() []string { return []string{outputText, outputJSON} }

// Options are the flags and arguments, and what follows from them.
type Options struct {
	*genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	Output string
	// Files are looked at in place of a cluster, if they are set.
	Files files.Flags

	// resource is empty unless the argument has one, as finding/NAME.
	resource, name string
	// namespace is empty only for all namespaces of files.
	namespace string
	from      reader
	clock     clock.PassiveClock
}

// NewCommand returns `why`.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	options := &Options{ConfigFlags: genericclioptions.NewConfigFlags(true), IOStreams: streams, Output: outputText, clock: clock.RealClock{}}
	command := &cobra.Command{
		Use:   "why NAME [-n NAMESPACE] [--from FILES]",
		Short: "Tell what is known of a finding: cause, evidence, what could be done",
		Long: `Tell what is known of a finding, on a screen: what is wrong and since when, what was
found out about the cause, what could be done and what that waits for, what became of
the last approvals of it, how to mend it by hand, who has silenced it, and the last
events of its subject.

NAME is that of a finding, of a proposal or an approval, whose finding is then told
of, or, without -n, of a clusterfinding. Of an approval it tells what became of it,
also when its finding is gone. RESOURCE/NAME, as kubectl -o name prints it, is taken too.

It takes the rights of ClusterRole srenix-viewer, and to read events where they are
to be told. What you may not read is left out, and said to be.

With --from no cluster is asked: the same analyzers look at files, and NAME is as
"kubectl srenix report --from" has it. Times are told as of the files.`,
		Example: `  # The worst, and why
  kubectl srenix status -n shop
  kubectl srenix why ordinal-zero-not-ready-orders-db-1234567890 -n shop

  # All that are Critical
  kubectl get findings.srenix.io -n shop --field-selector spec.severity=Critical -o name | xargs -n 1 kubectl srenix why -n shop`,
		DisableFlagsInUseLine: true,
		Args:                  cli.OneArgument("name the finding; these are there: kubectl get findings.srenix.io -A"),
		ValidArgsFunction:     options.completeNames,
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := options.Complete(arguments); err != nil {
				return cli.UsageError(command, err)
			}
			return options.Run(command.Context())
		},
	}
	options.AddFlags(command.Flags())
	options.Files.AddFlags(command.Flags())
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "text", or "json" for the objects.`)
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("completing --output: %v", err))
	}
	return command
}

// Complete reads flags and arguments, and makes the clients. It sends nothing.
func (o *Options) Complete(arguments []string) error {
	if !slices.Contains(outputs(), o.Output) {
		return fmt.Errorf("unknown output format %q: it must be one of %s", o.Output, strings.Join(outputs(), ", "))
	}
	var err error
	if o.resource, o.name, err = parseName(arguments[0]); err != nil {
		return err
	}
	if err := o.Files.Validate(); err != nil {
		return err
	}
	if o.Files.Set() {
		o.namespace = *o.Namespace
		return nil
	}
	return o.connect()
}

// connect makes the clients that the connection flags describe.
func (o *Options) connect() error {
	var err error
	if o.namespace, _, err = o.ToRawKubeConfigLoader().Namespace(); err != nil {
		return fmt.Errorf("reading the namespace from the kubeconfig: %w", err)
	}
	config, err := cli.RESTConfig(o, o.ErrOut)
	if err != nil {
		return err
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client of srenix.io: %w", err)
	}
	events, err := corev1client.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client of events: %w", err)
	}
	o.from = &cluster{client, events}
	return nil
}

// Run prints what is known.
func (o *Options) Run(ctx context.Context) error {
	now := o.clock.Now()
	if o.Files.Set() {
		read, err := o.Files.Read(ctx, o.ErrOut)
		if err != nil {
			return err
		}
		o.from, now = inFiles{read}, read.AsOf
		for _, part := range read.Broken {
			fmt.Fprintf(o.ErrOut, "not read: %s: %s\n", cli.Plain(part.File), cli.Plain(part.Err.Error()))
		}
	}
	found, err := o.read(ctx)
	if err != nil {
		return err
	}
	if o.Output == outputText {
		_, err = fmt.Fprint(o.Out, found.text(now))
		return err
	}
	for _, resource := range slices.Sorted(maps.Keys(found.unread)) {
		fmt.Fprintf(o.ErrOut, "not read: %s: %s\n", resource, cli.Plain(found.unread[resource].Error()))
	}
	encoder := json.NewEncoder(o.Out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(found.objects())
}
