// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// change is one event of a specimen's history.
type change struct {
	Kind watch.EventType
	Name string
}

// specimen is one collection with a known history: of a kind of srenix, or the Roles
// of a namespace, which kube-apiserver serves. What happens to one happens to the
// others, so the same expectations hold.
type specimen struct {
	kind
	namespace string // empty for what is of the cluster
	path      string
	client    client
	// old is a version, and oldNames the content then; history is what followed.
	old      string
	oldNames []string
	history  []change
	// previous is the version before the last change.
	previous string
	changes  int
}

// kind is what specimens are of.
type kind struct {
	resource schema.GroupVersionResource
	// own is whether it is a kind of srenix.
	own bool
	// name is by what a test knows an object.
	name func(*unstructured.Unstructured) string
	// create, update and remove make, change and take away what an object is about.
	create func(ctx context.Context, namespace, name string) error
	update func(ctx context.Context, namespace, name string, round int) error
	remove func(ctx context.Context, namespace, name string) error
}

// kinds are all that specimens are of.
var kinds = map[string]kind{
	"roles of kube-apiserver": {
		resource: rbacv1.SchemeGroupVersion.WithResource("roles"), name: (*unstructured.Unstructured).GetName,
		create: createWide, update: updateWide, remove: deleteRole,
	},
	"findings": {
		resource: findingsResource, own: true, name: subject,
		create: createWide, update: updateWide, remove: deleteRole,
	},
	"clusterfindings": {
		resource: clusterFindingsResource, own: true,
		name:   func(o *unstructured.Unstructured) string { return strings.TrimPrefix(subject(o), clusterRolePrefix) },
		create: createClusterRole, update: updateClusterRole, remove: deleteClusterRole,
	},
	"proposals": {
		resource: proposalsResource, own: true, name: target,
		create: createRunbook, update: updateRunbook, remove: deleteRunbook,
	},
}

// clusterScope is held by who has the clusterfindings to itself. Whoever waits for it
// takes the place of a parallel test, so who holds it must not wait for such a place.
var clusterScope sync.Mutex

// specimens runs a test on a collection of each kind.
func specimens(t *testing.T, test func(t *testing.T, s *specimen)) {
	for name, of := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &specimen{kind: of, client: newClient(t, admin)}
			s.place(t)
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				s.change(t, watch.Added, name)
			}
			s.history = nil
			list := s.client.get(t, s.path, "", jsonType).list(t)
			s.old, s.oldNames = list.GetResourceVersion(), s.namesOf(list.Items)
			s.change(t, watch.Deleted, "a")
			s.change(t, watch.Added, "f")
			s.change(t, watch.Modified, "b")
			test(t, s)
		})
	}
}

// place finds a collection that nobody else changes.
func (s *specimen) place(t *testing.T) {
	t.Helper()
	if s.resource != clusterFindingsResource {
		s.namespace = namespace(t)
		s.path = fmt.Sprintf("/apis/%s/namespaces/%s/%s", s.resource.GroupVersion(), s.namespace, s.resource.Resource)
		return
	}
	clusterScope.Lock()
	t.Cleanup(clusterScope.Unlock)
	s.path = groupPath + "/clusterfindings"
	withoutClusterRoles(t)
	t.Cleanup(func() { deleteClusterRoles(t) })
}

// change makes a change and waits until it shows.
func (s *specimen) change(t *testing.T, kind watch.EventType, name string) {
	t.Helper()
	from := s.client.get(t, s.path, "", jsonType).list(t).GetResourceVersion()
	changes := s.client.watch(t, s.path, selecting("resourceVersion", from), jsonType)
	defer changes.stop()
	switch kind {
	case watch.Added:
		must(t, s.create(t.Context(), s.namespace, name))
	case watch.Modified:
		s.changes++
		must(t, s.update(t.Context(), s.namespace, name, s.changes))
	case watch.Deleted:
		must(t, s.remove(t.Context(), s.namespace, name))
	}
	if e := changes.next(t); e.kind != kind || s.name(e.object) != name {
		t.Fatalf("changing %s gave %s of %s, want %s", name, e.kind, s.name(e.object), kind)
	}
	s.history, s.previous = append(s.history, change{kind, name}), from
}

// marker makes a change that comes after all that a test did.
func (s *specimen) marker(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("marker-%d", len(s.history))
	s.change(t, watch.Added, name)
	return name
}

// current is the version and the content now.
func (s *specimen) current(t *testing.T) (resourceVersion string, names []string) {
	t.Helper()
	list := s.client.get(t, s.path, "", jsonType).list(t)
	return list.GetResourceVersion(), s.namesOf(list.Items)
}

func (s *specimen) namesOf(items []unstructured.Unstructured) []string {
	names := []string{}
	for i := range items {
		names = append(names, s.name(&items[i]))
	}
	return names
}

// query fills in the versions that a row speaks of.
func (s *specimen) query(t *testing.T, template string) string {
	t.Helper()
	current, _ := s.current(t)
	return strings.NewReplacer("{old}", s.old, "{previous}", s.previous, "{current}", current, "{future}", foreign(t, current)).Replace(template)
}

// queryVersion is the version that a query names.
func (s *specimen) queryVersion(t *testing.T, query string) string {
	t.Helper()
	values, err := url.ParseQuery(query)
	must(t, err)
	return values.Get("resourceVersion")
}

// eventsOf are events as changes.
func (s *specimen) eventsOf(events []event) []change {
	changes := []change{}
	for _, e := range events {
		name := s.name(e.object)
		if e.kind == watch.Bookmark || e.kind == watch.Error {
			name = ""
		}
		changes = append(changes, change{e.kind, name})
	}
	return changes
}

func added(names []string) []change {
	changes := []change{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		changes = append(changes, change{watch.Added, name})
	}
	return changes
}

// checkVersions checks what holds of every list: it has a version, every object
// has one, and none is newer than the list.
func checkVersions(t *testing.T, list *unstructured.UnstructuredList) {
	t.Helper()
	whole := version(t, list.GetResourceVersion())
	if whole == 0 {
		t.Error("the list has resourceVersion 0")
	}
	for i := range list.Items {
		if own := version(t, list.Items[i].GetResourceVersion()); own == 0 || own > whole {
			t.Errorf("%s has resourceVersion %d, and the list %d", list.Items[i].GetName(), own, whole)
		}
	}
}

// refusal is how a version that is none is refused where ours is a bad request: the
// error comes out of kube-apiserver's cache untranslated, as one of its own.
func (s *specimen) refusal(code int, reason metav1.StatusReason) (int, metav1.StatusReason) {
	if !s.own && code == http.StatusBadRequest {
		return http.StatusInternalServerError, ""
	}
	return code, reason
}

// checkRefusal checks an answer that is a refusal.
func checkRefusal(t *testing.T, a answer, code int, reason metav1.StatusReason) {
	t.Helper()
	if a.code != code {
		t.Fatalf("have %d, want %d: %s", a.code, code, a.body)
	}
	status := a.status(t)
	if int(status.Code) != code || status.Reason != reason {
		t.Errorf("the status has code %d and reason %s, want %d and %s: %s", status.Code, status.Reason, code, reason, status.Message)
	}
	if code != http.StatusGatewayTimeout {
		return
	}
	// What tells clients to ask again, and why.
	if status.Details == nil || status.Details.RetryAfterSeconds == 0 || a.header.Get("Retry-After") == "" {
		t.Errorf("there is nothing on when to ask again: %s", a.body)
	}
	if status.Details == nil || len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != metav1.CauseTypeResourceVersionTooLarge {
		t.Errorf("the cause is not %s: %s", metav1.CauseTypeResourceVersionTooLarge, a.body)
	}
}
