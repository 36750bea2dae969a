// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/cli"
)

// NewCommand returns `audit` with its commands.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	command := &cobra.Command{
		Use:   "audit",
		Short: "Check and export the audit chain",
		Args:  cli.Subcommand,
		RunE:  func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	connection := genericclioptions.NewConfigFlags(true)
	connection.AddFlags(command.PersistentFlags())
	command.AddCommand(
		newVerifyCommand(NewVerifyOptions(connection, streams)),
		newExportCommand(NewExportOptions(connection, streams)),
		newCheckpointCommand(NewCheckpointOptions(connection, streams)),
		newProveCommand(NewProveOptions(connection, streams)),
		newCheckProofCommand(NewCheckProofOptions(streams)),
	)
	return command
}

// steps are what every command does, in this order.
type steps interface {
	Complete() error
	Validate() error
	Run(command *cobra.Command) error
}

func runE(options steps) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, _ []string) error {
		if err := options.Complete(); err != nil {
			return cli.UsageError(command, err)
		}
		if err := options.Validate(); err != nil {
			return cli.UsageError(command, err)
		}
		return options.Run(command)
	}
}
