// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// Watch implements storage.Interface. Its only client is the cacher, which
// watches everything from the version that it listed; clients watch the cacher.
// With SendInitialEvents the current objects come first, then the annotated bookmark.
func (s *Store) Watch(ctx context.Context, _ string, options storage.ListOptions) (watch.Interface, error) {
	version, err := s.versioner.ParseResourceVersion(options.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resourceVersion: %v", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ends := options.SendInitialEvents != nil && *options.SendInitialEvents
	if !ends && version != 0 && version != s.version {
		// Changes between the cacher's list and its watch are not kept; it lists again.
		return nil, apierrors.NewResourceExpired(fmt.Sprintf("version %d has passed, the current one is %d", version, s.version))
	}
	var initial []watch.Event
	if ends || version == 0 {
		for _, object := range s.objects {
			initial = append(initial, watch.Event{Type: watch.Added, Object: object})
		}
	}
	if ends {
		bookmark, err := s.bookmarkLocked()
		if err != nil {
			return nil, err
		}
		if err := storage.AnnotateInitialEventsEndBookmark(bookmark); err != nil {
			return nil, fmt.Errorf("ending the initial events of %s: %w", s.resource, err)
		}
		initial = append(initial, watch.Event{Type: watch.Bookmark, Object: bookmark})
	}
	f := newFeed(initial, s.forget)
	s.feeds[f] = struct{}{}
	go f.run(ctx)
	return f, nil
}

// RequestWatchProgress implements storage.Interface: every feed gets a bookmark
// with the current version.
func (s *Store) RequestWatchProgress(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	bookmark, err := s.bookmarkLocked()
	if err != nil {
		return err
	}
	s.sendLocked(watch.Event{Type: watch.Bookmark, Object: bookmark})
	return nil
}

func (s *Store) bookmarkLocked() (runtime.Object, error) {
	bookmark := s.newFunc()
	if err := s.versioner.UpdateObject(bookmark, s.version); err != nil {
		return nil, fmt.Errorf("making a bookmark of %s: %w", s.resource, err)
	}
	return bookmark, nil
}

func (s *Store) forget(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.feeds, f)
}

// longestBacklog is how many events may wait for a watch, beside those that it begins
// with. What waits are references, of which those to objects that were replaced or
// deleted since keep them in memory: of findings some hundred MiB at most. The cacher
// cuts its own slow watchers after a fraction of a second, so that it falls behind
// this far only if it gets no processor for seconds.
const longestBacklog = 1 << 16

// feed carries a store's changes to one watch without ever making the store wait. A
// watch that falls too far behind ends, as a slow one does everywhere: the cacher
// then lists again, and with it those who watch the cacher. Nothing is left out
// instead, for bookmarks in between promise all that came before them.
type feed struct {
	forget func(*feed)
	out    chan watch.Event
	stop   chan struct{}
	once   sync.Once

	mu      sync.Mutex
	pending []watch.Event
	taken   int // from pending, and perhaps not delivered yet
	limit   int // of both
	wake    chan struct{}
}

func newFeed(initial []watch.Event, forget func(*feed)) *feed {
	return &feed{
		forget:  forget,
		out:     make(chan watch.Event, 100),
		stop:    make(chan struct{}),
		pending: initial,
		limit:   len(initial) + longestBacklog,
		wake:    make(chan struct{}, 1),
	}
}

func (f *feed) send(event watch.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.taken+len(f.pending) >= f.limit {
		f.Stop()
	}
	select {
	case <-f.stop:
		f.pending = nil
		return
	default:
	}
	f.pending = append(f.pending, event)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run moves pending events to the watch until it is stopped; it owns out.
func (f *feed) run(ctx context.Context) {
	defer close(f.out)
	defer f.forget(f)
	for {
		f.mu.Lock()
		batch := f.pending
		f.pending, f.taken = nil, len(batch)
		f.mu.Unlock()
		for _, event := range batch {
			select {
			case f.out <- event:
			case <-f.stop:
				return
			case <-ctx.Done():
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-f.wake:
		case <-f.stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Stop implements watch.Interface.
func (f *feed) Stop() { f.once.Do(func() { close(f.stop) }) }

// ResultChan implements watch.Interface.
func (f *feed) ResultChan() <-chan watch.Event { return f.out }
