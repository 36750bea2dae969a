// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
)

// Looker is a Client, as the poller sees it.
type Looker interface {
	Look(ctx context.Context, paths []Path) (map[Path]Seen, error)
}

// Poller lists and watches a Vault as if it were an API server, for the reflectors of
// the live view, which keep its state: not known until the first round, and failing
// while a round fails. A list is a round; a watch makes another one every interval, and
// a smaller one for paths that have come to be of interest, or that somebody wants
// something else of: what they have may be newer than the last round.
type Poller struct {
	looker   Looker
	wanted   func(context.Context) ([]Path, error)
	interval time.Duration
	clock    clock.WithTicker
	changed  chan struct{}

	mu      sync.Mutex
	version uint64
	seen    map[Path]Seen
	again   map[Path]bool
}

// NewPoller makes a poller that asks every interval for the paths that are wanted.
func NewPoller(looker Looker, wanted func(context.Context) ([]Path, error), interval time.Duration, clock clock.WithTicker) *Poller {
	return &Poller{looker: looker, wanted: wanted, interval: interval, clock: clock, changed: make(chan struct{}, 1)}
}

// Changed says that other paths may be wanted, and other keys of some. It does not wait.
func (p *Poller) Changed(of ...Path) {
	p.mu.Lock()
	for _, path := range of {
		if p.again == nil {
			p.again = map[Path]bool{}
		}
		p.again[path] = true
	}
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// IsWatchListSemanticsUnSupported has reflectors list instead of streaming.
func (p *Poller) IsWatchListSemanticsUnSupported() bool { return true }

// List implements cache.ListerWatcher.
func (p *Poller) List(options metav1.ListOptions) (runtime.Object, error) {
	return p.ListWithContext(context.Background(), options)
}

// Watch implements cache.ListerWatcher.
func (p *Poller) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return p.WatchWithContext(context.Background(), options)
}

// ListWithContext looks at everything that is wanted.
func (p *Poller) ListWithContext(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	paths, err := p.wanted(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding out which paths of Vault are wanted: %w", err)
	}
	seen, err := p.looker.Look(ctx, paths)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	keep(p.seen, seen)
	p.version++
	p.seen = seen
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(Resource.GroupVersion().WithKind(kind + "List"))
	list.SetResourceVersion(strconv.FormatUint(p.version, 10))
	for _, path := range ordered(seen) {
		list.Items = append(list.Items, *p.object(path, seen[path]))
	}
	return list, nil
}

// WatchWithContext goes on from the newest list or event; from another it has to be
// listed again.
func (p *Poller) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if options.ResourceVersion != strconv.FormatUint(p.version, 10) {
		return nil, apierrors.NewResourceExpired("what was seen of Vault is not known from there on")
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{events: make(chan watch.Event), cancel: cancel}
	go p.follow(ctx, w)
	return w, nil
}

type watcher struct {
	events chan watch.Event
	cancel context.CancelFunc
}

func (w *watcher) Stop()                          { w.cancel() }
func (w *watcher) ResultChan() <-chan watch.Event { return w.events }

func (w *watcher) send(ctx context.Context, event watch.Event) bool {
	select {
	case <-ctx.Done():
		return false
	case w.events <- event:
		return true
	}
}

// follow makes rounds until the watch ends. One that fails ends it, and has the
// reflector list, which shows whether Vault is back.
func (p *Poller) follow(ctx context.Context, w *watcher) {
	defer close(w.events)
	ticker := p.clock.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		case <-ticker.C():
			all = true
		}
		events, err := p.round(ctx, all)
		if err != nil {
			expired := apierrors.NewResourceExpired(err.Error()).Status()
			w.send(ctx, watch.Event{Type: watch.Error, Object: &expired})
			return
		}
		for _, event := range events {
			if !w.send(ctx, event) {
				return
			}
		}
	}
}

// round looks at all that is wanted, or at what was not before and what is wanted
// otherwise now, and returns what is other than it was.
func (p *Poller) round(ctx context.Context, all bool) ([]watch.Event, error) {
	wanted, err := p.wanted(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	before, again := maps.Clone(p.seen), p.again
	p.again = nil
	p.mu.Unlock()
	ask := wanted
	if !all {
		ask = slices.DeleteFunc(slices.Clone(wanted), func(path Path) bool { _, known := before[path]; return known && !again[path] })
	}
	seen, err := p.looker.Look(ctx, ask)
	if err != nil {
		return nil, err
	}
	keep(before, seen)
	for _, path := range wanted {
		if _, asked := seen[path]; !asked {
			seen[path] = before[path]
		}
	}
	return p.replace(seen), nil
}

// keep has what was known before stand for paths that Vault fails at.
func keep(before, seen map[Path]Seen) {
	for path, now := range seen {
		if now.State != failing {
			continue
		}
		was, known := before[path]
		if !known {
			was.State = Hidden
		}
		was.Stale = true
		seen[path] = was
	}
}

// replace makes seen all that is known, and returns what differs, in order.
func (p *Poller) replace(seen map[Path]Seen) []watch.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	var events []watch.Event
	add := func(event watch.EventType, path Path, now Seen) {
		p.version++
		events = append(events, watch.Event{Type: event, Object: p.object(path, now)})
	}
	for _, path := range ordered(p.seen) {
		if _, stays := seen[path]; !stays {
			add(watch.Deleted, path, p.seen[path])
		}
	}
	for _, path := range ordered(seen) {
		was, known := p.seen[path]
		switch {
		case !known:
			add(watch.Added, path, seen[path])
		case !reflect.DeepEqual(was, seen[path]):
			add(watch.Modified, path, seen[path])
		}
	}
	p.seen = seen
	return events
}

func (p *Poller) object(path Path, seen Seen) *unstructured.Unstructured {
	object := Object(path, seen)
	object.SetResourceVersion(strconv.FormatUint(p.version, 10))
	return object
}

func ordered(seen map[Path]Seen) []Path {
	return slices.SortedFunc(maps.Keys(seen), func(a, b Path) int { return strings.Compare(Name(a), Name(b)) })
}
