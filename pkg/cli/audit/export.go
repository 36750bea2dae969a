// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

const outputJSONL = "jsonl"

// ExportOptions are the flags of export and what follows from them.
type ExportOptions struct {
	connection *genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	Output string

	clock  clock.Clock
	client *cli.Client
}

// NewExportOptions returns the defaults.
func NewExportOptions(connection *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *ExportOptions {
	return &ExportOptions{connection: connection, IOStreams: streams, Output: outputJSONL, clock: clock.RealClock{}}
}

func newExportCommand(options *ExportOptions) *cobra.Command {
	command := &cobra.Command{
		Use:   "export",
		Short: "Print the audit chain of the cluster, one event a line",
		Long: `Print the audit chain of the cluster as it is, one event a line as JSON, oldest
first. Nothing is checked: "kubectl srenix audit verify -f FILE" does that, now
or in ten years, with no cluster at all.`,
		Example: `  # Keep a copy of the chain
  kubectl srenix audit export > audit.jsonl`,
		DisableFlagsInUseLine: true,
		Args:                  cli.NoArguments,
		RunE:                  runE(options),
	}
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "jsonl".`)
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputJSONL}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("completing --output: %v", err))
	}
	return command
}

// Complete makes the client.
func (o *ExportOptions) Complete() (err error) {
	o.client, err = cli.NewClient(o.connection, opsv1alpha1.SchemeGroupVersion, opsv1alpha1.AddToScheme, o.ErrOut)
	return err
}

// Validate checks the flags.
func (o *ExportOptions) Validate() error {
	if o.Output != outputJSONL {
		return fmt.Errorf("unknown output format %q: it must be %s", o.Output, outputJSONL)
	}
	return nil
}

// Run prints the chain.
func (o *ExportOptions) Run(command *cobra.Command) error {
	var read atomic.Int64
	defer cli.Progress(o.ErrOut, o.clock, func() string { return fmt.Sprintf("%d events read so far", read.Load()) })()
	out := bufio.NewWriter(o.Out)
	encoder := json.NewEncoder(out)
	for event, err := range clusterEvents(command.Context(), o.client) {
		if err != nil {
			return fmt.Errorf("exporting the chain, after %d events: %w", read.Load(), errors.Join(err, out.Flush()))
		}
		if err := encoder.Encode(event.Spec); err != nil {
			return fmt.Errorf("exporting audit event %d: %w", event.Spec.Index, err)
		}
		read.Add(1)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("exporting the chain: %w", err)
	}
	return nil
}
