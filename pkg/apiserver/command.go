// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	"github.com/spf13/cobra"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/srenix/srenix/pkg/tracing"
)

// NewCommand returns the command that runs the server until ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	options := NewOptions()
	command := &cobra.Command{
		Use:   "apiserver",
		Short: "Serve findings and proposals as part of the Kubernetes API",
		Long: `Computes findings and proposals from the live cluster, serves them as the
aggregated API srenix.io/v1alpha1, signs approval tokens, and answers the
admission reviews that decide whether an approval counts.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(options.Logs, nil); err != nil {
				return err
			}
			ctrllog.SetLogger(klog.NewKlogr())
			if err := options.Validate(); err != nil {
				return err
			}
			config, err := options.Config(ctx)
			if err != nil {
				return err
			}
			tracer, err := tracing.New(ctx, "srenix-apiserver")
			if err != nil {
				klog.FromContext(ctx).Error(err, "Approvals are not traced")
			}
			defer tracer.Close(ctx)
			config.Extra.Tracer = tracer
			server, err := config.Complete(ctx)
			if err != nil {
				return err
			}
			return server.Run(ctx)
		},
	}
	options.AddFlags(command.Flags())
	verflag.AddFlags(command.Flags())
	command.CompletionOptions.DisableDefaultCmd = true
	command.AddCommand(newDeregisterCommand(ctx))
	return command
}
