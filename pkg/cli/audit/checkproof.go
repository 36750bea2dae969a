// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

// maximumProofFile bounds a proof in bytes: more than any can have.
const maximumProofFile = 4 << 20

// CheckProofOptions are the flags of check-proof and what follows from them.
type CheckProofOptions struct {
	genericiooptions.IOStreams

	Key string

	file string
	keys audit.VerifierKeys
}

// NewCheckProofOptions returns the defaults.
func NewCheckProofOptions(streams genericiooptions.IOStreams) *CheckProofOptions {
	return &CheckProofOptions{IOStreams: streams}
}

func newCheckProofCommand(options *CheckProofOptions) *cobra.Command {
	command := &cobra.Command{
		Use:   "check-proof FILE --key FILE",
		Short: "Check a proof that an event is in the audit chain",
		Long: `Check a proof that "kubectl srenix audit prove" has written: that the checkpoint
in it is signed by one of the keys, that the event has the hash that it names, and
that its path through the Merkle tree leads to the root that was signed. No
cluster is asked. The exit code is 1 if anything does not fit.

The keys are what this is worth: take them from ConfigMap srenix-audit-vkey when
srenix is installed, and keep them where those who run the cluster cannot write.`,
		Example: `  # Check a proof with your own copy of the keys
  kubectl srenix audit check-proof proof.json --key audit.vkey`,
		DisableFlagsInUseLine: true,
		Args:                  cli.OneArgument("name the file of the proof, as \"kubectl srenix audit prove\" has written it, or - for standard input"),
		RunE: func(command *cobra.Command, arguments []string) error {
			options.file = arguments[0]
			return runE(options)(command, nil)
		},
	}
	command.Flags().StringVar(&options.Key, "key", options.Key, keyFlag)
	return command
}

// Complete reads the keys.
func (o *CheckProofOptions) Complete() (err error) {
	if o.Key == "" {
		return cli.WithHint(errors.New("--key FILE is needed: a proof is worth what its key is worth"), whereKeysAre)
	}
	o.keys, err = readKeys(o.Key)
	return err
}

// Validate has nothing left to check.
func (o *CheckProofOptions) Validate() error { return nil }

// Run checks the proof.
func (o *CheckProofOptions) Run(*cobra.Command) error {
	data, err := readFile(o.file, o.In, maximumProofFile)
	if err != nil {
		return err
	}
	proven, err := audit.ReadProof(data)
	if err != nil {
		return err
	}
	checkpoint, err := proven.Check(o.keys)
	if err != nil {
		return cli.WithHint(fmt.Errorf("the proof does not hold: %w", err), "Nothing that the file says can be relied on.")
	}
	event := &proven.Event
	_, err = fmt.Fprintf(o.Out, "proven: event %d, %s by %s at %s, is in the chain of %s, which had %d events when it was signed\n",
		event.Index, cli.Plain(string(event.Type)), cli.Plain(event.Actor), event.Time.UTC().Format(time.RFC3339), cli.Plain(checkpoint.Origin), checkpoint.Size)
	return err
}
