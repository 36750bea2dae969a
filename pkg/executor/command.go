// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/srenix/srenix/pkg/tracing"
)

// NewCommand returns the command that runs the executor until ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	options := NewOptions()
	command := &cobra.Command{
		Use:   "executor",
		Short: "Carry accepted approvals out, once each, and verify that they helped",
		Long: `Carries accepted approvals out: claims one, evaluates the policy again on fresh
objects, records its intent in the audit chain, acts once under preconditions,
and watches whether the finding clears and stays so. Standard output gets the
audit events that it appends, one JSON object a line; logs go to standard error.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			verflag.PrintAndExitIfRequested()
			// The logging options have feature gates of their own, which stay at their defaults.
			gates := featuregate.NewFeatureGate()
			if err := logsapi.AddFeatureGates(gates); err != nil {
				return err
			}
			if err := logsapi.ValidateAndApply(options.Logs, gates); err != nil {
				return err
			}
			ctrllog.SetLogger(klog.NewKlogr())
			options.Complete()
			if err := options.Validate(); err != nil {
				return err
			}
			config, err := options.Config()
			if err != nil {
				return err
			}
			if config.Tracer, err = tracing.New(ctx, controllerName); err != nil {
				klog.FromContext(ctx).Error(err, "Approvals are not traced")
			}
			defer config.Tracer.Close(ctx)
			return config.Run(ctx)
		},
	}
	options.AddFlags(command.Flags())
	verflag.AddFlags(command.Flags())
	return command
}
