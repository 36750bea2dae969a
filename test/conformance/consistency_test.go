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

	"github.com/srenix/srenix/test/harness"
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

// begin is a mirror of a list.
func begin(t *testing.T, list *unstructured.UnstructuredList) *harness.Mirror {
	t.Helper()
	m, err := harness.NewMirror(list)
	must(t, err)
	return m
}

// beginStreamed is a mirror of a streamed list. A watch that falls behind may be
// cut before it has sent it all; clients begin again then.
func beginStreamed(t *testing.T, c client, ns string) *harness.Mirror {
	t.Helper()
	m := &harness.Mirror{}
	eventually(t, "a streamed list", func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		m.Objects = map[string]*unstructured.Unstructured{}
		w, err := c.open(ctx, findings(ns), "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", jsonType)
		if err != nil {
			return false, err.Error()
		}
		defer w.stop()
		for e := range w.events {
			if e.endsInitial() {
				m.Version = e.version(t)
				return true, ""
			}
			key := harness.KeyOf(e.object)
			if e.kind != watch.Added || m.Objects[key] != nil {
				t.Errorf("have %s of %s among the initial events, want each object added once", e.kind, key)
			}
			m.Objects[key] = e.object
		}
		return false, fmt.Sprintf("the watch ended: %v", w.err)
	})
	return m
}

// held is what a mirror holds.
func held(m *harness.Mirror) map[string]any {
	objects := map[string]any{}
	for key, object := range m.Objects {
		objects[key] = object.Object
	}
	return objects
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
	mirrors := make([]*harness.Mirror, watchers)
	var deleted []event // told to the first watcher
	group := errgroup.Group{}
	for i := range watchers {
		from := int64(rand.IntN(operations))
		eventually(t, "the changes to go on", func(context.Context) (bool, string) {
			return done.Load() >= min(from, int64(operations*i/watchers)), fmt.Sprint(done.Load())
		})
		var m *harness.Mirror
		if i%2 == 0 {
			list := c.get(t, findings(ns), "", jsonType).list(t)
			checkVersions(t, list)
			m = begin(t, list)
		} else {
			m = beginStreamed(t, c, ns)
		}
		mirrors[i] = m
		group.Go(func() error {
			err := c.follow(ctx, findings(ns), strconv.FormatUint(m.Version, 10), func(e event) (bool, error) {
				if i == 0 && e.kind == watch.Deleted {
					deleted = append(deleted, e)
				}
				return about(watch.Added, last)(e), m.Apply(e.kind, e.object)
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

	final := held(begin(t, c.get(t, findings(ns), "", jsonType).list(t)))
	for i, m := range mirrors {
		if diff := cmp.Diff(final, held(m)); diff != "" {
			t.Errorf("watcher %d ends with another store than a list (-list +watcher):\n%s", i, diff)
		}
	}
	checkDeletions(t, c, ns, deleted)
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
