// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// NewCommand returns the command that runs the advisor until ctx ends.
func NewCommand(ctx context.Context) *cobra.Command {
	options := NewOptions()
	command := &cobra.Command{
		Use:   "advisor",
		Short: "Look into findings, and write down what is behind them",
		Long: `Looks into findings as a person on call would: reads the state of what they are
about, Events, the ends of logs, and what other controllers say, and stores a root
cause in a line, or what is lacking to tell one, as an Investigation. The API server
shows it in the status of the finding. Where a model is configured, it is asked for a
few sentences about each finding that was looked into.`,
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
			return config.Run(ctx)
		},
	}
	options.AddFlags(command.Flags())
	verflag.AddFlags(command.Flags())
	return command
}
