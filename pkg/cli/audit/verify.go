// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

const (
	outputText = "text"
	outputJSON = "json"
)

func outputs() []string { return []string{outputText, outputJSON} }

// VerifyOptions are the flags of verify and what follows from them.
type VerifyOptions struct {
	connection *genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	// Files are paths, or "-" for standard input; none means the cluster.
	Files []string
	// Checkpoint is the path of a signed note or of an AuditCheckpoint. For a
	// cluster, none means the cluster's own.
	Checkpoint string
	// Key is the path of verifier keys. For a cluster, none means those that the
	// cluster publishes.
	Key    string
	Output string

	clock clock.Clock
	// Filled in by Complete, the client for a cluster only.
	client *cli.Client
	given  *opsv1alpha1.AuditCheckpointSpec
	keys   *audit.VerifierKeys
	// Filled in by Run; covered is how many events the cluster's checkpoint covers.
	seen    *seen
	covered int64
}

// NewVerifyOptions returns the defaults.
func NewVerifyOptions(connection *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *VerifyOptions {
	return &VerifyOptions{connection: connection, IOStreams: streams, Output: outputText, clock: clock.RealClock{}}
}

func newVerifyCommand(options *VerifyOptions) *cobra.Command {
	command := &cobra.Command{
		Use:   "verify [-f FILE]...",
		Short: "Check the hash chain of a cluster, or of files",
		Long: `Check every event of the audit chain: that its content has the hash that it
names, that it names the hash of the event before, and that none is missing
between the first and the last. Then hold the chain against its signed checkpoints,
those that it contains and the newest one: a chain that was cut at its end, or
rewritten and linked anew, does not have the roots that were signed. The first
event that is wrong is named, and the exit code is then 1.

Checkpoints are known by their keys. Without --key, those of a cluster are checked
with the keys that the cluster itself publishes, and those in files not at all.
Somebody who rules the cluster could have replaced the keys too: bring your own
copy, and a checkpoint from before, and the check does not depend on the cluster.

A file may begin at any event, as logs do that were rotated; a cluster's chain has
to begin at event 0, or where its checkpoint says that it was pruned. A log that
begins later can be held against checkpoints if --checkpoint is an AuditCheckpoint
that tells what was pruned before.

Each component logs the events that it has appended itself. Give the logs of all
of them: they are put together in the order of the chain, and an event that is in
several is taken once. A log that was cut at its end verifies up to there, unless
it is held against a checkpoint of more: it is told where the events end.`,
		Example: `  # Check the chain of the cluster
  kubectl srenix audit verify

  # Check it with your own copy of the keys, and a checkpoint that you kept
  kubectl srenix audit verify --key audit.vkey --checkpoint checkpoint.txt

  # Check what a log shipper kept, with no cluster at all
  kubectl srenix audit verify -f audit.jsonl --key audit.vkey

  # Check what the components themselves have logged
  kubectl srenix audit verify -f apiserver-0.jsonl -f apiserver-1.jsonl -f executor.jsonl

  # Keep a copy, and check it
  kubectl srenix audit export | tee audit.jsonl | kubectl srenix audit verify -f -`,
		DisableFlagsInUseLine: true,
		Args:                  filesAreFlags,
		RunE:                  runE(options),
	}
	command.Flags().StringArrayVarP(&options.Files, "filename", "f", options.Files, `File of one event a line as JSON, or "-" for standard input; may be given several times. Without it, the cluster's chain is checked.`)
	command.Flags().StringVar(&options.Checkpoint, "checkpoint", options.Checkpoint, `File of a signed checkpoint, or of an AuditCheckpoint as YAML or JSON, that the events have to fit.`)
	command.Flags().StringVar(&options.Key, "key", options.Key, keyFlag)
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "text" or "json".`)
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(fmt.Sprintf("completing --output: %v", err))
	}
	return command
}

// filesAreFlags takes no arguments, and tells how a file is given instead.
func filesAreFlags(command *cobra.Command, arguments []string) error {
	if err := cli.NoArguments(command, arguments); err != nil {
		return cli.WithHint(err, fmt.Sprintf("A file of events is given with -f: %s -f %s", command.CommandPath(), strings.Join(arguments, " -f ")))
	}
	return nil
}

// Complete reads the files of the keys and the checkpoint, and makes the client if
// there is no file of events.
func (o *VerifyOptions) Complete() (err error) {
	if o.Key != "" {
		keys, err := readKeys(o.Key)
		if err != nil {
			return err
		}
		o.keys = &keys
	}
	if o.Checkpoint != "" {
		if o.Checkpoint == "-" && slices.Contains(o.Files, "-") {
			return errors.New("-f and --checkpoint cannot both be standard input")
		}
		if o.given, err = readCheckpoint(o.Checkpoint, o.In); err != nil {
			return err
		}
	}
	if len(o.Files) == 0 {
		o.client, err = newClient(o.connection, o.ErrOut)
	}
	return err
}

// Validate checks the flags.
func (o *VerifyOptions) Validate() error {
	if !slices.Contains(outputs(), o.Output) {
		return fmt.Errorf("unknown output format %q: it must be one of %s", o.Output, strings.Join(outputs(), ", "))
	}
	return nil
}

// Run checks the chain and tells the result.
func (o *VerifyOptions) Run(command *cobra.Command) error {
	if o.client == nil {
		result, err := o.verifyFiles()
		return o.tell(result, err)
	}
	result, err := o.verifyCluster(command.Context())
	return o.tell(result, err)
}

// verifyFiles checks events in files.
func (o *VerifyOptions) verifyFiles() (audit.Checked, error) {
	var logs []iter.Seq2[opsv1alpha1.AuditEventSpec, error]
	for _, name := range o.Files {
		file, err := o.open(name)
		if err != nil {
			return audit.Checked{}, &unread{err}
		}
		defer file.Close()
		logs = append(logs, audit.ReadJSONL(file))
	}
	events := logs[0] // as it is: lines that are out of order, or there twice, are reported
	if len(logs) > 1 {
		events = audit.Merge(logs...)
	}
	return o.verify(events, audit.Evidence{Latest: o.given, Keys: o.keys})
}

// maximumVerifications bounds how often a chain is read that is pruned meanwhile.
const maximumVerifications = 3

// verifyCluster checks the events of a cluster, against its own checkpoint and
// against the one given.
func (o *VerifyOptions) verifyCluster(ctx context.Context) (result audit.Checked, err error) {
	for range maximumVerifications {
		latest, err := clusterCheckpoint(ctx, o.client)
		if err != nil {
			return result, &unread{err}
		}
		evidence := audit.Evidence{Keys: o.keys, Whole: true}
		if latest != nil {
			evidence.Latest, o.covered = &latest.Spec, latest.Spec.Size
			if evidence.Keys == nil {
				keys, err := clusterKeys(ctx, o.client, namespaceOf(o.connection))
				if err != nil {
					return result, &unread{err}
				}
				evidence.Keys = &keys
			}
		}
		o.keys = evidence.Keys
		evidence.Also = o.given
		result, err = o.verify(links(clusterEvents(ctx, o.client)), evidence)
		var bad *audit.BadLink
		if !errors.As(err, &bad) {
			if err == nil && latest == nil {
				fmt.Fprintln(o.ErrOut, "Warning: the cluster has no checkpoint: a chain that was cut at its end would not be noticed.")
			}
			return result, err
		}
		// What looks broken may have been pruned while it was read.
		again, readErr := clusterCheckpoint(ctx, o.client)
		if readErr != nil || again == nil || latest != nil && prunedBefore(again) == prunedBefore(latest) {
			return result, err
		}
	}
	return result, err
}

func prunedBefore(latest *opsv1alpha1.AuditCheckpoint) int64 {
	if latest.Spec.Pruned == nil {
		return 0
	}
	return latest.Spec.Pruned.Before
}

func (o *VerifyOptions) verify(events iter.Seq2[opsv1alpha1.AuditEventSpec, error], evidence audit.Evidence) (audit.Checked, error) {
	o.seen = &seen{components: map[string]bool{}}
	defer cli.Progress(o.ErrOut, o.clock, func() string { return fmt.Sprintf("%d events read so far", o.seen.count.Load()) })()
	return audit.VerifyAgainst(o.seen.watch(events), evidence)
}

// seen is what was read, whether or not it verified.
type seen struct {
	count      atomic.Int64
	components map[string]bool
	// last is the event read last, and before the one before it.
	last, before opsv1alpha1.AuditEventSpec
}

// watch notes what is handed on.
func (s *seen) watch(events iter.Seq2[opsv1alpha1.AuditEventSpec, error]) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		for event, err := range events {
			s.count.Add(1)
			if err == nil {
				s.components[event.Component] = true
				s.before, s.last = s.last, event
			}
			if !yield(event, err) {
				return
			}
		}
	}
}

// unread is an error from before any event was read.
type unread struct{ error }

// Unwrap returns the error itself.
func (u *unread) Unwrap() error { return u.error }

func (o *VerifyOptions) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(o.In), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening the file of events: %w", err)
	}
	return file, nil
}
