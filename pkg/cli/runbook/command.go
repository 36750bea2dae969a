// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package runbook is `kubectl srenix runbook`: it prints the text of a runbook to
// those who may read it. It decides nothing; `kubectl create approval` does.
package runbook

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

// Options are the flags and arguments, and what follows from them.
type Options struct {
	*genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	// Output is empty for text, or yaml or json.
	Output string

	name, namespace string
	client          *cli.Client
}

// NewCommand returns `runbook`.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	options := &Options{ConfigFlags: genericclioptions.NewConfigFlags(true), IOStreams: streams}
	command := &cobra.Command{
		Use:   "runbook NAME",
		Short: "Print the runbook of a proposal",
		Long: `Print the runbook of a proposal of tier T3.

Before it is released, those read it who may approve runbooks (ClusterRole
srenix-runbook-approver); once two of them have approved it, at least half an
hour apart, everybody who may view the namespace does. Nothing ever executes it.`,
		Example: `  # Read a runbook before approving it
  kubectl srenix runbook runbook-vault-0-1234567890 -n shop`,
		DisableFlagsInUseLine: true,
		Args:                  cli.OneArgument("name the proposal; these have a runbook: kubectl get proposals -A -l srenix.io/tier=T3"),
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := options.Complete(arguments); err != nil {
				return cli.UsageError(command, err)
			}
			return options.Run(command.Context())
		},
	}
	options.AddFlags(command.Flags())
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "yaml" or "json"; the text if empty.`)
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"yaml", "json"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("completing --output: %v", err))
	}
	return command
}

// Complete reads arguments and flags, and makes the client. It sends nothing.
func (o *Options) Complete(arguments []string) error {
	switch o.Output {
	case "", "yaml", "json":
	default:
		return fmt.Errorf("unknown output format %q: it must be yaml or json", o.Output)
	}
	o.name = arguments[0]
	var err error
	if o.namespace, _, err = o.ToRawKubeConfigLoader().Namespace(); err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	o.client, err = cli.NewClient(o, v1alpha1.SchemeGroupVersion, v1alpha1.AddToScheme, o.ErrOut)
	return err
}

// Run prints the runbook.
func (o *Options) Run(ctx context.Context) error {
	found := &v1alpha1.ProposalRunbook{}
	err := o.client.Get().Namespace(o.namespace).Resource("proposals").Name(o.name).SubResource("runbook").Do(ctx).Into(found)
	if err != nil {
		err = fmt.Errorf("reading the runbook of proposal %q in namespace %q: %w", o.name, o.namespace, err)
		if apierrors.IsNotFound(err) {
			return cli.WithHint(err, "There is no such proposal, or it has no runbook. See those that have: kubectl get proposals -A -l srenix.io/tier=T3")
		}
		return err
	}
	switch o.Output {
	case "yaml":
		return o.print(&printers.YAMLPrinter{}, found)
	case "json":
		return o.print(&printers.JSONPrinter{}, found)
	}
	state := "not released: two people have to approve it first"
	if found.Spec.Released {
		state = "released"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s (%s)\n%s\n\n", cli.Plain(found.Spec.Title), state, found.Spec.Digest)
	for line := range strings.Lines(found.Spec.Text) {
		text.WriteString(cli.Plain(strings.TrimRight(line, "\r\n")) + "\n")
	}
	_, err = io.WriteString(o.Out, text.String())
	return err
}

func (o *Options) print(printer printers.ResourcePrinter, found *v1alpha1.ProposalRunbook) error {
	found.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("ProposalRunbook"))
	if err := printer.PrintObj(found, o.Out); err != nil {
		return fmt.Errorf("printing the runbook: %w", err)
	}
	return nil
}
