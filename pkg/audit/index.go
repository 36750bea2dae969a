// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

const (
	// followEvery is how often an index takes up what was appended while nobody asks.
	followEvery = 15 * time.Second
	// refillAfter is how long an index that could not be filled waits, and how often
	// one forgets what was pruned.
	refillAfter = time.Minute
	// readers is how many events are read at the same time.
	readers = 8
	// mostRead is how many events are read one by one for a question. A few lists cost
	// less than more of that, and somebody may have brought it about.
	mostRead = 64
	// oddClocks is how far apart the clocks of those who append may be.
	oddClocks = 24 * time.Hour
)

// Index finds the events of a chain by their labels. kube-apiserver has no index for
// that: it looks at every event for each question, and a decision has several, so
// that deciding took the longer the more had been decided.
//
// It holds for each label where its events are, some hundred bytes for an event, and
// reads from kube-apiserver what it answers with. Events have consecutive names, each
// has the hash of the one before, and they are pruned oldest first: so if the one after
// the last that it knows is not there, and the last still is, with its hash, it knows
// them all. That is asked for each question, and costs two readings by name whatever
// the length of the chain; an answer is as good as one that was listed after the
// question. Where it knows nothing, or other events than there are, or too much to be
// read one by one, it says so, and the events are listed.
type Index struct {
	reader client.Reader
	seed   maphash.Seed

	// turn has one place, for who follows the chain; begun counts how often that was
	// begun, and done is the last one that came to its end.
	turn  chan struct{}
	begun atomic.Int64
	done  int64

	mu sync.RWMutex
	// filled tells that the index is of use. Then it has all events from oldest to
	// before next.
	filled       bool
	oldest, next int64
	// last is the hash of the event before next.
	last string
	// postings are the indices of events by label, in ascending order.
	postings map[uint64][]int64
}

// NewIndex returns an index that is empty until Run, or Fill, has filled it. The reader must ask
// kube-apiserver and not a cache.
func NewIndex(reader client.Reader) *Index {
	return &Index{reader: reader, seed: maphash.MakeSeed(), turn: make(chan struct{}, 1)}
}

// Indexed returns a client whose audit events are found by means of an index. All
// else it does is the client's.
func Indexed(c client.Client, index *Index) client.Client { return indexedClient{c, index} }

type indexedClient struct {
	client.Client
	*Index
}

// finder is a reader that may find events without reading all.
type finder interface {
	// find returns the events that have a label and are of the types that are looked for
	// by it, unsorted and unchecked, and may leave out those from before since. It returns
	// false where the events have to be listed.
	find(ctx context.Context, label, value string, since time.Time) ([]opsv1alpha1.AuditEvent, bool, error)
}

var _ finder = indexedClient{}

// Run keeps the index filled until ctx ends.
func (x *Index) Run(ctx context.Context) error {
	var failed, forgot time.Time
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		logger := klog.FromContext(ctx)
		switch {
		case !x.ready() && time.Since(failed) < refillAfter:
		case !x.ready():
			if err := x.Fill(ctx); err != nil && ctx.Err() == nil {
				failed = time.Now()
				logger.Error(err, "The audit chain is not indexed, so that each decision takes the longer the longer it is", "again", refillAfter)
			}
		case time.Since(forgot) >= refillAfter:
			forgot = time.Now()
			x.forget(ctx)
			fallthrough
		default:
			err := x.follow(ctx)
			for errors.Is(err, errBehind) {
				err = x.follow(ctx)
			}
			if err != nil && ctx.Err() == nil {
				logger.V(2).Info("The index of the audit chain could not take up what is new", "reason", err.Error())
			}
		}
	}, followEvery)
	return nil
}

func (x *Index) ready() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.filled
}

var (
	// errNoIndex means that the index cannot tell, and that events have to be listed.
	errNoIndex = errors.New("the audit chain is not indexed")
	// errBehind is errNoIndex for this once: so much is new that it takes longer to read
	// than to list. What was read counts.
	errBehind = errors.New("the index of the audit chain is behind")
)

// Fill lists the labels of all events, unless they are known. An empty chain is not
// indexed: to list it costs nothing.
func (x *Index) Fill(ctx context.Context) error {
	if err := x.begin(ctx); err != nil {
		return err
	}
	defer func() { <-x.turn }()
	if x.ready() {
		return nil
	}
	postings, count := map[uint64][]int64{}, int64(0)
	oldest, newest := int64(-1), int64(-1)
	for next := ""; ; {
		page := &metav1.PartialObjectMetadataList{}
		page.SetGroupVersionKind(opsv1alpha1.SchemeGroupVersion.WithKind("AuditEventList"))
		if err := x.reader.List(ctx, page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return fmt.Errorf("listing the audit events: %w", err)
		}
		for i := range page.Items {
			index, err := indexOf(page.Items[i].Name)
			if err != nil {
				return err
			}
			if oldest < 0 || index < oldest {
				oldest = index
			}
			newest = max(newest, index)
			count++
			x.post(postings, index, &page.Items[i])
		}
		if next = page.Continue; next == "" {
			break
		}
	}
	if count == 0 {
		return nil
	}
	if newest-oldest+1 != count {
		return fmt.Errorf("%d audit events have indices from %d to %d: some are missing, see `kubectl srenix audit verify`", count, oldest, newest)
	}
	for _, indices := range postings {
		slices.Sort(indices)
	}
	last, err := x.read(ctx, newest)
	if err != nil {
		return err
	}
	if last == nil {
		return fmt.Errorf("audit event %d was listed and is gone: see `kubectl srenix audit verify`", newest)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.filled, x.oldest, x.next, x.last, x.postings = true, oldest, newest+1, last.Spec.Hash, postings
	return nil
}

// begin waits for its turn.
func (x *Index) begin(ctx context.Context) error {
	select {
	case x.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post enters an event under the labels by which it is looked for.
func (x *Index) post(postings map[uint64][]int64, index int64, object metav1.Object) {
	labels := object.GetLabels()
	for label, types := range lookedFor {
		if value, ok := labels[label]; ok && types.has(labels[LabelType]) {
			key := x.key(label, value)
			postings[key] = append(postings[key], index)
		}
	}
}

// key is of a label and its value. Two may share one: what is found is looked at.
func (x *Index) key(label, value string) uint64 {
	return maphash.String(x.seed, label+"\x00"+value)
}

// follow takes up all events that there are, or some and says that it is behind. Whoever
// waits for their turn takes over what was begun after they had come.
func (x *Index) follow(ctx context.Context) error {
	came := x.begun.Load()
	if err := x.begin(ctx); err != nil {
		return err
	}
	defer func() { <-x.turn }()
	if x.done > came {
		return nil
	}
	number := x.begun.Add(1)
	x.mu.RLock()
	filled, next, hash := x.filled, x.next, x.last
	x.mu.RUnlock()
	if !filled {
		return errNoIndex
	}
	for taken := 0; ; taken++ {
		event, err := x.read(ctx, next)
		if err != nil {
			return err
		}
		if event == nil {
			break
		}
		if event.Spec.PrevHash != hash {
			return x.giveUp()
		}
		if taken == mostRead {
			return errBehind
		}
		hash = event.Spec.Hash
		x.mu.Lock()
		x.post(x.postings, next, event)
		next++
		x.next, x.last = next, hash
		x.mu.Unlock()
	}
	// What is absent had never been there if the event before it still is.
	last, err := x.read(ctx, next-1)
	if err != nil {
		return err
	}
	if last == nil || last.Spec.Hash != hash {
		return x.giveUp()
	}
	x.done = number
	return nil
}

// giveUp empties the index: it is of another chain than there is now, as after storage
// was restored.
func (x *Index) giveUp() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.filled, x.postings = false, nil
	return errNoIndex
}

// read returns an event, or nil if it is not there.
func (x *Index) read(ctx context.Context, index int64) (*opsv1alpha1.AuditEvent, error) {
	event := &opsv1alpha1.AuditEvent{}
	err := x.reader.Get(ctx, client.ObjectKey{Name: EventName(index)}, event)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading audit event %d: %w", index, err)
	}
	return event, nil
}

// find implements finder.
func (x *Index) find(ctx context.Context, label, value string, since time.Time) ([]opsv1alpha1.AuditEvent, bool, error) {
	types, ok := lookedFor[label]
	if !ok || !x.ready() {
		return nil, false, nil
	}
	if err := x.follow(ctx); errors.Is(err, errNoIndex) || errors.Is(err, errBehind) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	indices, ok := x.lookUp(label, value)
	if !ok {
		return nil, false, nil
	}
	all := []opsv1alpha1.AuditEvent{}
	for read := 0; len(indices) > 0; {
		batch := indices[max(0, len(indices)-readers):] // the newest
		indices = indices[:len(indices)-len(batch)]
		if read += len(batch); read > mostRead {
			return nil, false, nil
		}
		events, err := x.readAll(ctx, batch)
		if err != nil {
			return nil, false, err
		}
		recent := since.IsZero()
		for _, event := range events {
			recent = recent || event.Spec.Time.After(since.Add(-oddClocks))
			if event.Labels[label] == value && types.has(event.Labels[LabelType]) {
				all = append(all, *event)
			}
		}
		if !recent && len(events) > 0 {
			break
		}
	}
	return all, true, nil
}

// readAll returns those events that are there.
func (x *Index) readAll(ctx context.Context, indices []int64) ([]*opsv1alpha1.AuditEvent, error) {
	events := make([]*opsv1alpha1.AuditEvent, len(indices))
	reading, within := errgroup.WithContext(ctx)
	for i, index := range indices {
		reading.Go(func() (err error) {
			events[i], err = x.read(within, index)
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(events, func(event *opsv1alpha1.AuditEvent) bool { return event == nil }), nil
}

// lookUp returns the indices of the events that a label may have, or false if the index
// has been given up since it was followed.
func (x *Index) lookUp(label, value string) ([]int64, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Clone(x.postings[x.key(label, value)]), x.filled
}

// forget drops what was pruned.
func (x *Index) forget(ctx context.Context) {
	page := &metav1.PartialObjectMetadataList{}
	page.SetGroupVersionKind(opsv1alpha1.SchemeGroupVersion.WithKind("AuditEventList"))
	// Names are in the order of the chain, and so are lists.
	if err := x.reader.List(ctx, page, client.Limit(1)); err != nil || len(page.Items) == 0 {
		return
	}
	oldest, err := indexOf(page.Items[0].Name)
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.filled || oldest <= x.oldest {
		return
	}
	x.oldest = oldest
	for key, known := range x.postings {
		known = slices.DeleteFunc(known, func(index int64) bool { return index < oldest })
		if len(known) == 0 {
			delete(x.postings, key)
			continue
		}
		x.postings[key] = slices.Clip(known)
	}
}

// indexOf is the index of the event with this name.
func indexOf(name string) (int64, error) {
	index, err := strconv.ParseInt(name, 10, 64)
	if err != nil || EventName(index) != name {
		return 0, fmt.Errorf("%q is no audit event's name: see `kubectl srenix audit verify`", name)
	}
	return index, nil
}
