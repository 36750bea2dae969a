// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

// ProveOptions are the flags of prove and what follows from them.
type ProveOptions struct {
	connection *genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	index int64

	clock  clock.Clock
	client *cli.Client
}

// NewProveOptions returns the defaults.
func NewProveOptions(connection *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *ProveOptions {
	return &ProveOptions{connection: connection, IOStreams: streams, clock: clock.RealClock{}}
}

func newProveCommand(options *ProveOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "prove INDEX",
		Short: "Write a proof that an event is in the audit chain",
		Long: `Write a proof, as JSON, that the event with this index is in the audit chain: the
event, its path through the Merkle tree, and the newest signed checkpoint. Whoever
has the verifier key checks it with "kubectl srenix audit check-proof", without
the cluster and without any other event.

Every event that was not pruned can be proven once a checkpoint covers it: at
the latest some ten minutes after it was appended.`,
		Example: `  # Show an auditor that event 4711 is in the chain, and what it says
  kubectl srenix audit prove 4711 > proof.json
  kubectl srenix audit check-proof proof.json --key audit.vkey`,
		DisableFlagsInUseLine: true,
		Args:                  cli.OneArgument("name the event by its index; these are there: kubectl get auditevents"),
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, arguments []string) error {
			index, err := strconv.ParseInt(arguments[0], 10, 64)
			if err != nil || index < 0 {
				return cli.UsageError(command, fmt.Errorf("%q is not the index of an audit event: it must be a number, 0 or more", arguments[0]))
			}
			options.index = index
			return runE(options)(command, nil)
		},
	}
}

// Complete makes the client.
func (o *ProveOptions) Complete() (err error) {
	o.client, err = newClient(o.connection, o.ErrOut)
	return err
}

// Validate has nothing left to check.
func (o *ProveOptions) Validate() error { return nil }

// Run writes the proof.
func (o *ProveOptions) Run(command *cobra.Command) error {
	latest, err := clusterCheckpoint(command.Context(), o.client)
	if err != nil {
		return err
	}
	if latest == nil {
		return errNoCheckpoint
	}
	if o.index >= latest.Spec.Size {
		return o.notCovered(command.Context(), &latest.Spec)
	}
	proven, err := o.prove(command.Context(), &latest.Spec)
	if err != nil {
		return fmt.Errorf("proving audit event %d: %w", o.index, err)
	}
	data, err := proven.Encode()
	if err != nil {
		return err
	}
	_, err = o.Out.Write(data)
	return err
}

// notCovered tells why there is no proof of an event from beyond the newest checkpoint.
func (o *ProveOptions) notCovered(ctx context.Context, latest *opsv1alpha1.AuditCheckpointSpec) error {
	signed := latest.Time.UTC().Format(time.RFC3339)
	event := &opsv1alpha1.AuditEvent{}
	err := o.client.Get().Resource("auditevents").Name(audit.EventName(o.index)).Do(ctx).Into(event)
	if apierrors.IsNotFound(err) {
		return cli.WithHint(fmt.Errorf("there is no audit event %d: the newest checkpoint, of %s, covers those up to index %d", o.index, signed, latest.Size-1),
			"See which there are: kubectl get auditevents")
	}
	if err != nil {
		return explain(fmt.Errorf("reading audit event %d: %w", o.index, err))
	}
	when := due(o.clock.Since(latest.Time.Time))
	if event.Spec.Type == opsv1alpha1.AuditCheckpointSigned {
		// Nobody signs a checkpoint of nothing but the record of the one before.
		when += ", if anything but checkpoints was recorded by then"
	}
	return cli.WithHint(fmt.Errorf("the newest checkpoint, of %s, covers the events up to index %d, and not yet audit event %d", signed, latest.Size-1, o.index),
		fmt.Sprintf("The next one is due %s. Then try again: kubectl srenix audit prove %d", when, o.index))
}

// due tells when the checkpoint after one of this age is made, where there are
// events for it.
func due(age time.Duration) string {
	minutes := math.Ceil((audit.DefaultCheckpointInterval - age).Minutes())
	if minutes <= 1 {
		return "within a minute"
	}
	return fmt.Sprintf("in about %.0f minutes", minutes)
}

// prove reads the chain up to the checkpoint, whole: whoever proves finds first
// that it is in order.
func (o *ProveOptions) prove(ctx context.Context, latest *opsv1alpha1.AuditCheckpointSpec) (*audit.Proof, error) {
	var read atomic.Int64
	defer cli.Progress(o.ErrOut, o.clock, func() string { return fmt.Sprintf("%d events read so far", read.Load()) })()
	pruned := latest.Pruned
	if pruned != nil && o.index < pruned.Before {
		return nil, fmt.Errorf("it was pruned: the chain begins with event %d", pruned.Before)
	}
	tree, err := audit.NewTree(pruned)
	if err != nil {
		return nil, err
	}
	var wanted *opsv1alpha1.AuditEventSpec
	for event, err := range clusterEvents(ctx, o.client) {
		if err != nil {
			return nil, err
		}
		read.Add(1)
		switch index := event.Spec.Index; {
		case index < tree.Size(): // about to be pruned
			continue
		case index > tree.Size():
			return nil, fmt.Errorf("audit event %d is missing: see \"kubectl srenix audit verify\"", tree.Size())
		case index == o.index:
			wanted = &event.Spec
		}
		if err := tree.Append(event.Spec.Hash); err != nil {
			return nil, err
		}
		if tree.Size() == latest.Size {
			break
		}
	}
	if wanted == nil || tree.Size() < latest.Size {
		return nil, errors.New("the chain ends before its checkpoint does: see \"kubectl srenix audit verify\"")
	}
	return audit.Prove(tree, *wanted, latest.Note)
}
