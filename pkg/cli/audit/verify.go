// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// Filled in by Run.
	seen *seen
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

// report is what -o json prints.
type report struct {
	Valid bool `json:"valid"`
	// Count, First, Last and Head are of the events that verified.
	Count int64 `json:"count"`
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	// LastTime is when the last of them was appended.
	LastTime *metav1.MicroTime `json:"lastTime,omitempty"`
	Head     string            `json:"head"`
	// Checkpoints is how many checkpoints the events fit, and CheckpointSize how many
	// events the newest of them covers.
	Checkpoints    int64 `json:"checkpoints"`
	CheckpointSize int64 `json:"checkpointSize"`
	// Signed tells whether the signatures of the checkpoints were checked.
	Signed bool `json:"signed"`
	// Bad is the first event that did not verify.
	Bad *badEvent `json:"bad,omitempty"`
}

type badEvent struct {
	Index   int64  `json:"index"`
	Problem string `json:"problem"`
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
			evidence.Latest = &latest.Spec
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

// tell prints the result, and returns what is wrong with the chain.
func (o *VerifyOptions) tell(result audit.Checked, err error) error {
	var bad *audit.BadLink
	var damaged *audit.DamagedCheckpoint
	var early *unread
	broken := errors.As(err, &bad)
	switch {
	case errors.As(err, &early):
		return early.error
	case broken:
		// Only what is wrong, and not who was reading when it showed.
		err = fmt.Errorf("the chain is broken at %w; %s", bad, before(result, bad.Index))
		if o.client == nil && o.seen.skipped(bad.Index) {
			err = cli.WithHint(err, o.seen.otherLogs())
		}
	case errors.As(err, &damaged), errors.Is(err, audit.ErrCheckpoint):
		err = fmt.Errorf("verifying the newest checkpoint: %w", err)
	case err != nil:
		return fmt.Errorf("verifying the chain: %w; %s", err, before(result, result.Last+1))
	case result.Count == 0:
		err = errors.New("there are no audit events, so nothing was verified: a chain has at least its first event")
	}
	if o.Output == outputJSON {
		summary := report{
			Valid: err == nil, Count: result.Count, First: result.First, Last: result.Last, LastTime: o.seen.timeOf(result.Last), Head: result.Head,
			Checkpoints: result.Checkpoints, CheckpointSize: result.Size, Signed: o.keys != nil && result.Checkpoints > 0,
		}
		if broken {
			summary.Bad = &badEvent{Index: bad.Index, Problem: bad.Problem}
		}
		encoder := json.NewEncoder(o.Out)
		encoder.SetIndent("", "  ")
		return errors.Join(encoder.Encode(summary), err)
	}
	if err != nil {
		return err
	}
	o.warn(result)
	if _, err = fmt.Fprintf(o.Out, "verified %d events, index %d to %d, head %s\n", result.Count, result.First, result.Last, result.Head); err != nil {
		return err
	}
	if result.Checkpoints == 0 {
		return nil
	}
	by := "signatures not checked"
	switch {
	case o.Key != "":
		by = "signed by your keys"
	case o.keys != nil:
		by = "signed by the keys that the cluster publishes"
	}
	fitted := fmt.Sprintf("the checkpoint of %d events", result.Size)
	if result.Checkpoints > 1 {
		fitted = fmt.Sprintf("%d checkpoints, the newest of %d events", result.Checkpoints, result.Size)
	}
	_, err = fmt.Fprintf(o.Out, "fits %s, %s\n", fitted, by)
	return err
}

// warn tells what was not verified.
func (o *VerifyOptions) warn(result audit.Checked) {
	if o.client == nil && result.First > 0 {
		fmt.Fprintf(o.ErrOut, "Warning: the file begins with event %d: what came before was not verified.\n", result.First)
	}
	if result.Unanchored > 0 {
		fmt.Fprintf(o.ErrOut, "Warning: %d checkpoints cover events from before the first one read, and could not be held against them.\n", result.Unanchored)
	}
	if o.keys == nil && result.Checkpoints > 0 {
		fmt.Fprintln(o.ErrOut, "Warning: the signatures of the checkpoints were not checked: give the keys with --key FILE.")
	}
	if o.client == nil {
		fmt.Fprintln(o.ErrOut, o.end(result))
	}
}

// end tells what a file says of its own end: nothing. A cluster is read to where
// it ends now.
func (o *VerifyOptions) end(result audit.Checked) string {
	text := fmt.Sprintf("Warning: the events end with index %d, of %s: whether others came after it cannot be told from a file.",
		result.Last, o.seen.last.Time.UTC().Format(time.RFC3339))
	if result.Size == 0 {
		return text + " A checkpoint that you kept tells whether it was cut before that: --checkpoint FILE."
	}
	return fmt.Sprintf("%s The newest checkpoint covers those up to index %d.", text, result.Size-1)
}

// skipped tells whether the event with this index is missing where a later one was read.
func (s *seen) skipped(index int64) bool { return s.last.Index > index && s.before.Index == index-1 }

// otherLogs tells what to do about events that are missing in between: each
// component logs its own only.
func (s *seen) otherLogs() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.components)) {
		names = append(names, cli.Plain(name))
	}
	return fmt.Sprintf("A component logs only the events that it has appended itself, and here are those of %s. Give the logs of all components and all their pods at once, each with -f, "+
		"or check the cluster's chain: kubectl srenix audit export | kubectl srenix audit verify -f -. If those are all that there are, somebody has taken events out", strings.Join(names, ", "))
}

// timeOf is when an event was appended, if it is one of the two read last.
func (s *seen) timeOf(index int64) *metav1.MicroTime {
	for _, event := range []*opsv1alpha1.AuditEventSpec{&s.last, &s.before} {
		if event.Hash != "" && event.Index == index {
			return &event.Time
		}
	}
	return nil
}

// before tells what verified beside what is wrong. A chain that was rewritten is
// linked also from there on.
func before(result audit.Checked, bad int64) string {
	switch {
	case result.Count == 0:
		return "no event before it verified"
	case result.Last >= bad:
		return fmt.Sprintf("all %d events are linked, index %d to %d", result.Count, result.First, result.Last)
	case result.Count == 1:
		return fmt.Sprintf("one event before it verified, index %d", result.First)
	}
	return fmt.Sprintf("%d events before it verified, index %d to %d", result.Count, result.First, result.Last)
}
