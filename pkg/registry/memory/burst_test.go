// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/apis/srenix"
)

// follower is a client that watches from a version on, and goes on from where it was
// whenever it is cut for being slow, as client-go's do.
type follower struct {
	front    storage.Interface
	selector labels.Selector
	at       uint64
	// gapless tells that the follower is to see every version there is.
	gapless bool
	last    map[string]string // message by name
	watches int
}

// follow watches until a version has come.
func (f *follower) follow(ctx context.Context, until uint64) error {
	f.last = map[string]string{}
	for f.at < until {
		f.watches++
		predicate := everything()
		predicate.Label = f.selector
		w, err := f.front.Watch(ctx, prefix, storage.ListOptions{ResourceVersion: strconv.FormatUint(f.at, 10), Predicate: predicate, Recursive: true})
		if err != nil {
			return fmt.Errorf("watching from %d: %w", f.at, err)
		}
		err = f.take(ctx, w, until)
		w.Stop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) take(ctx context.Context, w watch.Interface, until uint64) error {
	for f.at < until {
		select {
		case <-ctx.Done():
			return fmt.Errorf("at version %d of %d: %w", f.at, until, ctx.Err())
		case event, open := <-w.ResultChan():
			switch {
			case !open:
				return nil
			case event.Type == watch.Error:
				return fmt.Errorf("at version %d: %w", f.at, apierrors.FromObject(event.Object))
			case event.Type == watch.Bookmark:
				continue
			}
			object := unwrap(event.Object)
			version, err := strconv.ParseUint(object.ResourceVersion, 10, 64)
			if err != nil {
				return err
			}
			if version <= f.at || f.gapless && version != f.at+1 {
				return fmt.Errorf("after version %d came %d", f.at, version)
			}
			f.at, f.last[object.Name] = version, object.Spec.Message
		}
	}
	return nil
}

// TestABurstReachesEveryWatcher sends ten thousand changes as fast as the store takes
// them through the cacher to those who watch, and holds the heap to what it was before.
func TestABurstReachesEveryWatcher(t *testing.T) {
	const objects, changes, watchers, deadline = 500, 10_000, 5, time.Minute
	clock := testingclock.NewFakeClock(time.Now())
	store, front := cachedAt(t, clock)
	change := func(i int) { put(t, store, finding(fmt.Sprint(i%objects), "1", fmt.Sprint("message ", i))) }
	for i := range objects {
		change(i)
	}
	current := func() uint64 {
		version, err := store.GetCurrentResourceVersion(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return version
	}
	start := current()
	list := &srenix.FindingList{}
	if err := front.GetList(t.Context(), prefix, storage.ListOptions{Recursive: true, Predicate: everything()}, list); err != nil || len(list.Items) != objects {
		t.Fatalf("%d objects to begin with, %v", len(list.Items), err)
	}
	before := liveHeap()

	want := map[string]string{}
	for i := range objects {
		want[fmt.Sprint(i)] = fmt.Sprint("message ", changes-objects+i)
	}
	var followers []*follower
	for range watchers {
		followers = append(followers, &follower{front: front, selector: labels.Everything(), at: start, gapless: true})
	}
	const one = objects - 1 // whose last change is the last of all
	followers = append(followers, &follower{front: front, selector: labels.SelectorFromSet(labels.Set{"name": fmt.Sprint(one)}), at: start})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	began := time.Now()
	var group errgroup.Group
	for _, f := range followers {
		group.Go(func() error { return f.follow(ctx, start+changes) })
	}
	for i := range changes {
		change(i)
	}
	stored := time.Since(began)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, f := range followers {
		want := want
		if !f.gapless {
			want = maps.Clone(want)
			maps.DeleteFunc(want, func(name, _ string) bool { return name != fmt.Sprint(one) })
		}
		if diff := cmp.Diff(want, f.last); diff != "" {
			t.Errorf("what watcher %d, of %d watches, saw last (-want +have):\n%s", i, f.watches, diff)
		}
	}
	t.Logf("%d changes stored in %s, and with all watchers after %s", changes, stored, time.Since(began))

	// The cacher keeps the changes of its window, and lets go of what is older when
	// there are new ones.
	for range 4 * changes / objects {
		clock.Step(2 * storagebackend.DefaultEventsHistoryWindow)
		for i := range objects / 2 {
			change(i)
		}
		// A list of this version waits until the cacher has it.
		taken := storage.ListOptions{Recursive: true, Predicate: everything(), ResourceVersion: strconv.FormatUint(current(), 10), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}
		if err := front.GetList(t.Context(), prefix, taken, &srenix.FindingList{}); err != nil {
			t.Fatal(err)
		}
	}
	after := liveHeap()
	t.Logf("%d KiB were in use before the burst, %d KiB after", before>>10, after>>10)
	if after > before+before/4 { // The changes that were stored take six times as much.
		t.Error("the heap does not return")
	}
}

// liveHeap is what is in use after a collection, in bytes.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
