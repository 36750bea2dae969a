// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/version"

	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/cli/audit"
	"github.com/srenix/srenix/pkg/cli/investigate"
	"github.com/srenix/srenix/pkg/cli/report"
	"github.com/srenix/srenix/pkg/cli/runbook"
	"github.com/srenix/srenix/pkg/cli/status"
	"github.com/srenix/srenix/pkg/cli/why"
)

// newCommand returns the root of the command tree.
func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	command := &cobra.Command{
		Use:         "kubectl-srenix",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl srenix"},
		Short:       "See what stands, and work with what srenix has recorded",
		Long: `See what stands, and work with what srenix has recorded.

Findings and proposals are ordinary API objects: see them with
"kubectl get findings.srenix.io" and "kubectl get proposals", and say yes or no
to a proposal with "kubectl create approval".`,
		Args: cli.Subcommand,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(audit.NewCommand(streams), investigate.NewCommand(streams), report.NewCommand(streams), runbook.NewCommand(streams), status.NewCommand(streams), why.NewCommand(streams),
		newVersionCommand(streams))
	return command
}

func newVersionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this plugin",
		Args:  cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(streams.Out, "kubectl srenix %s\n", version.Get().GitVersion)
			return err
		},
	}
}
