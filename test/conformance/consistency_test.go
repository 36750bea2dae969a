// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// churn makes, changes and deletes Roles at random, in several goroutines with
// Roles of their own, until it has done so many things. It returns the names of
// the Roles that are left.
func churn(ctx context.Context, namespace string, operations int, done *atomic.Int64) ([]string, error) {
	const workers, roles = 4, 8
	var group errgroup.Group
	var left [workers][]string
	for worker := range workers {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			exists := map[string]bool{}
			for step := range operations / workers {
				name := fmt.Sprintf("role-%d-%d", worker, random.IntN(roles))
				var err error
				switch {
				case !exists[name]:
					err = createRole(ctx, namespace, name)
					exists[name] = true
				case random.IntN(3) == 0:
					err = deleteRole(ctx, namespace, name)
					exists[name] = false
				case random.IntN(5) == 0:
					// Another reason, and so another finding.
					err = updateRole(ctx, namespace, name, rbacv1.ResourceAll)
				default:
					err = updateRole(ctx, namespace, name, fmt.Sprintf("resource-%d", step))
				}
				if err != nil {
					return err
				}
				done.Add(1)
			}
			for name, there := range exists {
				if there {
					left[worker] = append(left[worker], name)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return slices.Concat(left[:]...), err
}

// mirror is what a client knows from a list and the watch that follows.
type mirror struct {
	objects map[string]*unstructured.Unstructured
	last    uint64
	deleted []event
}

// apply takes an event over, and refuses one that cannot be.
func (m *mirror) apply(e event) error {
	name, known := e.object.GetName(), m.objects[e.object.GetName()]
	if e.kind == watch.Error {
		return fmt.Errorf("the watch failed: %v", e.object)
	}
	// Two events never share a version, for each has one change.
	now, _ := strconv.ParseUint(e.object.GetResourceVersion(), 10, 64)
	if now <= m.last {
		return fmt.Errorf("%s of %s at version %d came after version %d", e.kind, name, now, m.last)
	}
	m.last = now
	switch e.kind {
	case watch.Added:
		if known != nil {
			return fmt.Errorf("%s was added twice", name)
		}
		m.objects[name] = e.object
	case watch.Modified:
		if known == nil || known.GetUID() != e.object.GetUID() {
			return fmt.Errorf("%s was modified, and never added", name)
		}
		m.objects[name] = e.object
	case watch.Deleted:
		if known == nil || known.GetUID() != e.object.GetUID() {
			return fmt.Errorf("%s was deleted, and never added", name)
		}
		delete(m.objects, name)
		m.deleted = append(m.deleted, e)
	}
	return nil
}

// begin is a mirror of a list.
func begin(t *testing.T, list *unstructured.UnstructuredList) *mirror {
	t.Helper()
	m := &mirror{objects: map[string]*unstructured.Unstructured{}, last: version(t, list.GetResourceVersion())}
	for i := range list.Items {
		m.objects[list.Items[i].GetName()] = &list.Items[i]
	}
	return m
}

// beginStreamed is a mirror of a streamed list. A watch that falls behind may be
// cut before it has sent it all; clients begin again then.
func beginStreamed(t *testing.T, c client, ns string) *mirror {
	t.Helper()
	m := &mirror{}
	eventually(t, "a streamed list", func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		m.objects = map[string]*unstructured.Unstructured{}
		w, err := c.open(ctx, findings(ns), "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", jsonType)
		if err != nil {
			return false, err.Error()
		}
		defer w.stop()
		for e := range w.events {
			if e.endsInitial() {
				m.last = e.version(t)
				return true, ""
			}
			if e.kind != watch.Added || m.objects[e.object.GetName()] != nil {
				t.Errorf("have %s of %s among the initial events, want each object added once", e.kind, e.object.GetName())
			}
			m.objects[e.object.GetName()] = e.object
		}
		return false, fmt.Sprintf("the watch ended: %v", w.err)
	})
	return m
}

func (m *mirror) content() map[string]any {
	content := map[string]any{}
	for name, object := range m.objects {
		content[name] = object.Object
	}
	return content
}

// TestListAndWatchMakeTheWholePicture starts watchers at random moments of a
// stream of changes, each from a list of its own, half of them of a streamed one.
func TestListAndWatchMakeTheWholePicture(t *testing.T) {
	t.Parallel()
	const watchers, operations = 12, 600
	ns := namespace(t)
	c := newClient(t, admin)
	var done atomic.Int64
	var left []string
	ctx := limited(t)
	changes := make(chan error, 1)
	go func() {
		var err error
		left, err = churn(ctx, ns, operations, &done)
		changes <- err
	}()
	const last = "zz-last"
	mirrors := make([]*mirror, watchers)
	group := errgroup.Group{}
	for i := range watchers {
		from := int64(rand.IntN(operations))
		eventually(t, "the changes to go on", func(context.Context) (bool, string) {
			return done.Load() >= min(from, int64(operations*i/watchers)), fmt.Sprint(done.Load())
		})
		var m *mirror
		if i%2 == 0 {
			list := c.get(t, findings(ns), "", jsonType).list(t)
			checkVersions(t, list)
			m = begin(t, list)
		} else {
			m = beginStreamed(t, c, ns)
		}
		mirrors[i] = m
		group.Go(func() error {
			err := c.follow(ctx, findings(ns), strconv.FormatUint(m.last, 10), func(e event) (bool, error) {
				return about(watch.Added, last)(e), m.apply(e)
			})
			if err != nil {
				return fmt.Errorf("watcher %d: %w", i, err)
			}
			return nil
		})
	}
	err, _ := receive(t, "the changes to end", changes)
	must(t, err)
	awaitSubjects(t, ns, left...)
	// Everything before has its version, so what is last in version is last of all.
	must(t, createRole(t.Context(), ns, last))
	must(t, group.Wait())

	final := begin(t, c.get(t, findings(ns), "", jsonType).list(t)).content()
	for i, m := range mirrors {
		if diff := cmp.Diff(final, m.content()); diff != "" {
			t.Errorf("watcher %d ends with another store than a list (-list +watcher):\n%s", i, diff)
		}
	}
	checkDeletions(t, c, ns, mirrors[0].deleted)
}

// checkDeletions checks that deletions carry the version at which they happened:
// the list of exactly that version has no such object, and the one before has.
func checkDeletions(t *testing.T, c client, ns string, deleted []event) {
	t.Helper()
	if len(deleted) == 0 {
		t.Fatal("nothing was deleted")
	}
	for _, e := range deleted[max(0, len(deleted)-10):] {
		at := e.version(t)
		has := func(version uint64) bool {
			query := fmt.Sprintf("resourceVersion=%d&resourceVersionMatch=%s", version, metav1.ResourceVersionMatchExact)
			list := c.get(t, findings(ns), query, jsonType).list(t)
			return slices.ContainsFunc(list.Items, func(u unstructured.Unstructured) bool { return u.GetUID() == e.object.GetUID() })
		}
		if !has(at-1) || has(at) {
			t.Errorf("%s was deleted at version %d: listed right before is %t, and at it %t", e.object.GetName(), at, has(at-1), has(at))
		}
	}
}
