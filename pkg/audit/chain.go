// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// maximumAttempts bounds how often an append follows others that were faster.
// Each lost attempt is somebody else's event, so this many means a storm.
const maximumAttempts = 100

// ErrContended means that other writers were faster every time.
var ErrContended = errors.New("the audit chain is contended")

// Entry is what a component wants recorded. The chain adds the rest. Strings
// that are longer than the bounds of this package are cut.
type Entry struct {
	// Actor is the user on whose behalf, or the component itself.
	Actor      string
	Type       opsv1alpha1.AuditType
	References opsv1alpha1.AuditReferences
	// Intent is for events of type ActionIntended, nil for others.
	Intent *opsv1alpha1.AuditIntent
	// ModelCall is for events of type ModelCalled, nil for others.
	ModelCall *opsv1alpha1.ModelCall
	Message   string
	Verdicts  []v1alpha1.Verdict
	Hashes    map[string]string
}

// Chain appends to the cluster's chain. It is safe for concurrent use, and any
// number of chains in any number of processes may append at the same time.
type Chain struct {
	client    client.Client
	component string
	clock     clock.PassiveClock
	jsonl     io.Writer

	// busy has one place. It guards head and orders the appends of this process;
	// a channel, because waiting for it must end with the caller's context.
	busy chan struct{}
	head *opsv1alpha1.AuditEventSpec
	// unsure are events of one index, of which it is not known whether one was stored.
	// Until that is known, the log may lack it.
	unsure []*opsv1alpha1.AuditEventSpec

	metrics chainMetrics
}

// NewChain returns a chain that reads and writes through c, which must not read
// from a cache. Component is the program's name, with the pod's where there is
// one. Every event appended is also written to jsonl, if that is not nil.
func NewChain(c client.Client, component string, clock clock.PassiveClock, jsonl io.Writer) *Chain {
	return &Chain{client: c, component: component, clock: clock, jsonl: jsonl, busy: make(chan struct{}, 1), metrics: newChainMetrics()}
}

// Component is what the chain calls this program.
func (c *Chain) Component() string { return c.component }

// Append records an entry and returns the event as it is stored. It verifies
// the head that it appends to, and follows when another writer was faster. The
// first entry of a chain is preceded by AuditChainStarted. Where the answer to a
// request is lost, it looks whether the event is stored; after an error it may
// still be, and is then logged as soon as it is seen. An event that is stored without
// the labels by which it is found is in the chain, and an error all the same.
func (c *Chain) Append(ctx context.Context, entry Entry) (*opsv1alpha1.AuditEvent, error) {
	event, err := c.AppendIf(ctx, func(context.Context) (*Entry, error) { return &entry, nil })
	if err != nil {
		return nil, fmt.Errorf("appending %s to the audit chain: %w", entry.Type, err)
	}
	return event, nil
}

// AppendIf records what decide returns, which is nothing if that is nil. What decide
// has read of the chain is all that there is when its entry is appended: if another
// writer was faster, it is asked again.
func (c *Chain) AppendIf(ctx context.Context, decide func(context.Context) (*Entry, error)) (event *opsv1alpha1.AuditEvent, err error) {
	defer func() {
		if err != nil {
			c.metrics.failures.Inc()
		}
	}()
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	for range maximumAttempts {
		event, started, err := c.try(ctx, decide)
		switch {
		case apierrors.IsAlreadyExists(err), err == nil && started:
			continue
		case err != nil:
			return nil, err
		}
		return event, nil
	}
	return nil, fmt.Errorf("%w: %d other writers were faster, try again", ErrContended, maximumAttempts)
}

// CheckHead verifies the last event of the chain: its hash, and its link to the
// one before. A chain that has not been started yet is in order.
func (c *Chain) CheckHead(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return fmt.Errorf("checking the head of the audit chain: %w", err)
	}
	defer c.unlock()
	if _, err := c.follow(ctx); err != nil {
		return fmt.Errorf("checking the head of the audit chain: %w", err)
	}
	return nil
}

// Head returns the last event of the chain, verified as CheckHead does it; nil
// means that the chain has not been started.
func (c *Chain) Head(ctx context.Context) (*opsv1alpha1.AuditEventSpec, error) {
	if err := c.lock(ctx); err != nil {
		return nil, fmt.Errorf("finding the head of the audit chain: %w", err)
	}
	defer c.unlock()
	head, err := c.follow(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding the head of the audit chain: %w", err)
	}
	return head.DeepCopy(), nil
}

// try appends one event: what is decided on, or the start of the chain if there is none.
func (c *Chain) try(ctx context.Context, decide func(context.Context) (*Entry, error)) (event *opsv1alpha1.AuditEvent, started bool, err error) {
	head, err := c.follow(ctx)
	if err != nil {
		return nil, false, err
	}
	entry, started := &Entry{Actor: c.component, Type: opsv1alpha1.AuditChainStarted, Message: "the audit chain of this cluster starts here"}, head == nil
	if !started {
		if entry, err = decide(ctx); err != nil || entry == nil {
			return nil, false, err
		}
	}
	spec, err := Seal(head, c.spec(*entry))
	if err != nil {
		return nil, false, err
	}
	event = &opsv1alpha1.AuditEvent{
		ObjectMeta: metav1.ObjectMeta{Name: EventName(spec.Index), Labels: LabelsOf(&spec)},
		Spec:       spec,
	}
	err = c.client.Create(ctx, event)
	if undecided(err) {
		return event, started, c.resolve(ctx, &spec, err)
	}
	if err != nil {
		return nil, false, err
	}
	c.appended(ctx, &spec)
	return event, started, findable(event, &spec)
}

// findable is an error unless an event, as the API server has it, has the labels of
// what was appended. What nobody finds must not take effect: a token would be good
// once more, and a no or an intent forgotten.
func findable(stored *opsv1alpha1.AuditEvent, spec *opsv1alpha1.AuditEventSpec) error {
	if err := checkLabels(stored.Labels, spec); err != nil {
		return fmt.Errorf("%w; it is in the chain, and nothing follows from it: see which admission policy or webhook changes labels of auditevents.ops.srenix.io, exempt them from it, and try again", err)
	}
	return nil
}

// appended takes notice of an event that the chain has got from this process.
func (c *Chain) appended(ctx context.Context, spec *opsv1alpha1.AuditEventSpec) {
	c.unsure = nil
	c.at(spec)
	c.metrics.appended.WithLabelValues(string(spec.Type)).Inc()
	if c.jsonl == nil {
		return
	}
	if err := writeLine(c.jsonl, spec); err != nil {
		// The chain has the event; the log is a copy, and a full pipe must not undo a decision.
		klog.FromContext(ctx).Error(err, "The audit log lacks an event that the chain has", "index", spec.Index)
	}
}

// at takes notice of where the chain ends; nil means that it has not been started.
func (c *Chain) at(head *opsv1alpha1.AuditEventSpec) {
	c.head = head
	if head != nil {
		c.metrics.head.Set(float64(head.Index))
	}
}

func (c *Chain) spec(entry Entry) opsv1alpha1.AuditEventSpec {
	spec := opsv1alpha1.AuditEventSpec{
		// Stored with microseconds, so hashed with microseconds.
		Time:      metav1.NewMicroTime(c.clock.Now().UTC().Truncate(time.Microsecond)),
		Component: c.component,
		Actor:     entry.Actor, Type: entry.Type, References: *entry.References.DeepCopy(),
		Intent: entry.Intent.DeepCopy(), ModelCall: entry.ModelCall.DeepCopy(), Message: entry.Message, Hashes: entry.Hashes,
		Verdicts: append([]v1alpha1.Verdict(nil), entry.Verdicts...),
	}
	bound(&spec)
	return spec
}

func (c *Chain) lock(ctx context.Context) error {
	select {
	case c.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Chain) unlock() { <-c.busy }
