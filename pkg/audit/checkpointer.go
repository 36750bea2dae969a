// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

const (
	// DefaultCheckpointInterval is how old the last checkpoint has to be before
	// events that came after it get another.
	DefaultCheckpointInterval = 10 * time.Minute
	// DefaultCheckpointEvents is how many new events get one earlier.
	DefaultCheckpointEvents = 100
	// MinimumRetention is the least time that events can be kept. It is more than
	// the longest life of a token, of which it has to be known whether it was used,
	// and far more than an append can take, so that nobody appends where was pruned.
	MinimumRetention = 48 * time.Hour
)

const (
	// lookEvery is how often it is looked whether anything is due.
	lookEvery = 30 * time.Second
	// pruneEvery is how often old events are looked for. Before any is deleted, the
	// whole chain is read and held against its checkpoint, so not often.
	pruneEvery = time.Hour
)

// CheckpointerOptions is everything that a Checkpointer needs.
type CheckpointerOptions struct {
	// Client reads and writes kube-apiserver, and not a cache.
	Client client.Client
	// Chain gets an event for each checkpoint.
	Chain *Chain
	Keys  *KeyStore
	Clock clock.WithTicker
	// Interval and Events tell when a checkpoint is due; zero means the default.
	Interval time.Duration
	Events   int64
	// Retention is how long events are kept at least; zero means for ever.
	Retention time.Duration
	// InEffect returns the index of the oldest event that a decision still depends
	// on, if there is any: nothing from there on is pruned, and nothing at all after
	// an error. It is needed where Retention is not zero.
	InEffect func(context.Context) (oldest int64, any bool, err error)
}

// Checkpointer signs checkpoints of the chain, and prunes what is older than the
// retention. Any number of replicas may run one: the resourceVersion of the
// AuditCheckpoint decides which of them was first.
type Checkpointer struct {
	options CheckpointerOptions

	// Only Run's goroutine touches these.
	nextPrune time.Time
	// deleted is an index before which nothing is left.
	deleted int64
	// version is the checkpoint's resourceVersion as this run knows it.
	version string

	mu    sync.Mutex
	state state
}

// NewCheckpointer returns a checkpointer that does nothing before Run.
func NewCheckpointer(options CheckpointerOptions) (*Checkpointer, error) {
	if options.Interval == 0 {
		options.Interval = DefaultCheckpointInterval
	}
	if options.Events == 0 {
		options.Events = DefaultCheckpointEvents
	}
	switch {
	case options.Interval < 0 || options.Events < 0:
		return nil, fmt.Errorf("checkpoints every %s or %d events cannot be: use positive values, or zero for the defaults", options.Interval, options.Events)
	case options.Retention != 0 && options.Retention < MinimumRetention:
		return nil, fmt.Errorf("audit events cannot be kept for %s: use %s or more, or zero to keep them for ever", options.Retention, MinimumRetention)
	case options.Retention != 0 && options.InEffect == nil:
		return nil, errors.New("audit events cannot be pruned without knowing which are in effect: set InEffect")
	}
	return &Checkpointer{options: options}, nil
}

// Run checkpoints and prunes until ctx ends. What fails is logged and tried again.
func (c *Checkpointer) Run(ctx context.Context) error {
	ticker := c.options.Clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if err := c.once(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The audit chain could not be checkpointed or pruned", "again", lookEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// once does what is due.
func (c *Checkpointer) once(ctx context.Context) error {
	err := c.checkpoint(ctx)
	if err == nil {
		err = c.prune(ctx)
	}
	var bad *BadLink
	if errors.As(err, &bad) && c.overtaken(ctx) {
		// What is missing was pruned while it was read, perhaps. The next run tells.
		return nil
	}
	c.observe(err)
	return err
}

// overtaken tells whether another replica has written the checkpoint meanwhile.
func (c *Checkpointer) overtaken(ctx context.Context) bool {
	latest, err := c.latest(ctx)
	return err == nil && latest.ResourceVersion != c.version
}

// checkpoint signs a checkpoint of the whole chain if one is due.
func (c *Checkpointer) checkpoint(ctx context.Context) error {
	latest, err := c.latest(ctx)
	if err != nil {
		return err
	}
	c.version = latest.ResourceVersion
	signer, keys, err := c.options.Keys.Signer(ctx)
	if err != nil {
		return err
	}
	if latest.ResourceVersion != "" {
		if _, err := CheckLatest(&latest.Spec, keys); err != nil {
			return err
		}
	}
	c.seen(&latest.Spec)
	// Read after the checkpoint, so that it is no older.
	head, err := c.options.Chain.Head(ctx)
	if err != nil {
		return err
	}
	size := latest.Spec.Size
	length := int64(0)
	if head != nil {
		length = head.Index + 1
	}
	age := c.options.Clock.Since(latest.Spec.Time.Time)
	switch added := length - size; {
	case added < 0:
		return &BadLink{Index: length, Problem: fmt.Sprintf("it is gone, and the checkpoint of %d events covers it: the chain was cut at its end; restore it from a backup", size)}
	case added == 0 && size > 0 && age >= c.options.Interval:
		// Whoever signed it stopped before it stood in the chain.
		return c.record(ctx, latest.Spec.Note)
	case added == 0, size > 0 && added < c.options.Events && age < c.options.Interval:
		return nil
	}
	beginning, err := newStretch(size, latest.Spec.LastHash, latest.Spec.Frontier)
	if err != nil {
		return err
	}
	worthwhile := false
	if err := beginning.extend(ctx, c.options.Client, length, func(event *opsv1alpha1.AuditEventSpec) {
		worthwhile = worthwhile || event.Type != opsv1alpha1.AuditCheckpointSigned
	}); err != nil {
		return err
	}
	if !worthwhile {
		// Checkpoints alone would follow each other for ever.
		return nil
	}
	root, err := rootOf(beginning.covered)
	if err != nil {
		return err
	}
	signed, err := Checkpoint{Origin: signer.Name(), Size: length, Root: root}.Sign(signer)
	if err != nil {
		return err
	}
	latest.Spec.Note, latest.Spec.Size, latest.Spec.Time = signed, length, c.now()
	latest.Spec.LastHash, latest.Spec.Frontier = beginning.last, beginning.frontier()
	stored, err := c.store(ctx, latest)
	if err != nil || !stored {
		return err
	}
	c.seen(&latest.Spec)
	return c.record(ctx, signed)
}

// record appends the checkpoint to the chain, so that logs carry it too.
func (c *Checkpointer) record(ctx context.Context, signed string) error {
	_, err := c.options.Chain.Append(ctx, Entry{Actor: c.options.Chain.component, Type: opsv1alpha1.AuditCheckpointSigned, Message: signed})
	return err
}

func (c *Checkpointer) now() metav1.MicroTime {
	return metav1.NewMicroTime(c.options.Clock.Now().UTC().Truncate(time.Microsecond))
}

// latest returns the checkpoint as it is stored; without a resourceVersion there is none.
func (c *Checkpointer) latest(ctx context.Context) (*opsv1alpha1.AuditCheckpoint, error) {
	latest := &opsv1alpha1.AuditCheckpoint{}
	err := c.options.Client.Get(ctx, client.ObjectKey{Name: opsv1alpha1.LatestAuditCheckpoint}, latest)
	if apierrors.IsNotFound(err) {
		return &opsv1alpha1.AuditCheckpoint{ObjectMeta: metav1.ObjectMeta{Name: opsv1alpha1.LatestAuditCheckpoint}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the last audit checkpoint: %w", err)
	}
	return latest, nil
}

// store writes the checkpoint, and tells whether it did: another replica may have
// been faster.
func (c *Checkpointer) store(ctx context.Context, latest *opsv1alpha1.AuditCheckpoint) (bool, error) {
	var err error
	if latest.ResourceVersion == "" {
		err = c.options.Client.Create(ctx, latest)
	} else {
		err = c.options.Client.Update(ctx, latest)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("storing the audit checkpoint of %d events: %w", latest.Spec.Size, err)
	}
	c.version = latest.ResourceVersion
	return true, nil
}
