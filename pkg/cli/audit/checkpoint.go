// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

const (
	outputNote = "note"
	outputYAML = "yaml"
)

func checkpointOutputs() []string { return []string{outputNote, outputYAML} }

// CheckpointOptions are the flags of checkpoint and what follows from them.
type CheckpointOptions struct {
	connection *genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	Output string

	client *cli.Client
}

// NewCheckpointOptions returns the defaults.
func NewCheckpointOptions(connection *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *CheckpointOptions {
	return &CheckpointOptions{connection: connection, IOStreams: streams, Output: outputNote}
}

func newCheckpointCommand(options *CheckpointOptions) *cobra.Command {
	command := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the newest signed checkpoint of the audit chain",
		Long: `Print the newest signed checkpoint of the audit chain as it is: how many events
it covers, and the root of the Merkle tree over them. Nothing is checked: "kubectl
srenix audit verify" does that. A copy that you keep elsewhere shows later whether
the chain was cut or rewritten.

Output "yaml" is the whole object. It also tells what was pruned, which takes the
place of the events that are no more.`,
		Example: `  # Keep the newest checkpoint
  kubectl srenix audit checkpoint > checkpoint.txt

  # Check a log against it, with no cluster at all
  kubectl srenix audit verify -f audit.jsonl --checkpoint checkpoint.txt --key audit.vkey

  # Keep it with what was pruned, to check the export of a pruned chain
  kubectl srenix audit checkpoint -o yaml > checkpoint.yaml`,
		DisableFlagsInUseLine: true,
		Args:                  cli.NoArguments,
		RunE:                  runE(options),
	}
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "note" or "yaml".`)
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(checkpointOutputs(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("completing --output: %v", err))
	}
	return command
}

// Complete makes the client.
func (o *CheckpointOptions) Complete() (err error) {
	o.client, err = newClient(o.connection, o.ErrOut)
	return err
}

// Validate checks the flags.
func (o *CheckpointOptions) Validate() error {
	if !slices.Contains(checkpointOutputs(), o.Output) {
		return fmt.Errorf("unknown output format %q: it must be one of %s", o.Output, strings.Join(checkpointOutputs(), ", "))
	}
	return nil
}

// Run prints the checkpoint.
func (o *CheckpointOptions) Run(command *cobra.Command) error {
	latest, err := clusterCheckpoint(command.Context(), o.client)
	if err != nil {
		return err
	}
	if latest == nil {
		return errNoCheckpoint
	}
	text := []byte(latest.Spec.Note)
	if o.Output == outputYAML {
		latest.APIVersion, latest.Kind = opsv1alpha1.SchemeGroupVersion.String(), "AuditCheckpoint"
		latest.ManagedFields = nil
		if text, err = yaml.Marshal(latest); err != nil {
			return fmt.Errorf("encoding the audit checkpoint: %w", err)
		}
	}
	_, err = o.Out.Write(text)
	return err
}
