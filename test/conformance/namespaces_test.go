// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

func TestWatchesSeeTheirNamespaces(t *testing.T) {
	t.Parallel()
	first, second := namespace(t), namespace(t)
	c := newClient(t, admin)
	withFindings(t, first, "before")
	withFindings(t, second, "before")
	from := c.get(t, findings(""), "", jsonType).list(t).GetResourceVersion()
	query := selecting("resourceVersion", from)
	streams := map[string][]*stream{
		first:  {c.watch(t, findings(first), query, jsonType)},
		second: {c.watch(t, findings(second), query, jsonType), c.watch(t, findings(""), query+"&"+selecting("fieldSelector", "metadata.namespace="+second), jsonType)},
	}
	type step struct {
		Namespace string
		change
	}
	steps := []step{
		{first, change{watch.Added, "a"}}, {second, change{watch.Added, "a"}}, {first, change{watch.Modified, "before"}},
		{second, change{watch.Deleted, "before"}}, {first, change{watch.Deleted, "a"}},
	}
	// Watching all namespaces there is what other tests do too.
	var seen []step
	ctx, everything := limited(t), make(chan error, 1)
	go func() {
		everything <- c.follow(ctx, findings(""), from, func(e event) (bool, error) {
			if ns := e.object.GetNamespace(); ns == first || ns == second {
				seen = append(seen, step{ns, change{e.kind, subject(e.object)}})
			}
			return len(seen) == len(steps), nil
		})
	}()
	// One after the other, so that there is one right order.
	for _, step := range steps {
		switch step.Kind {
		case watch.Added:
			must(t, createRole(t.Context(), step.Namespace, step.Name))
		case watch.Modified:
			must(t, updateRole(t.Context(), step.Namespace, step.Name, "other"))
		case watch.Deleted:
			must(t, deleteRole(t.Context(), step.Namespace, step.Name))
		}
		for i, w := range streams[step.Namespace] {
			e := w.next(t)
			if e.kind != step.Kind || subject(e.object) != step.Name || e.object.GetNamespace() != step.Namespace {
				t.Errorf("watch %d of %s: have %s of %s in %s, want %v", i, step.Namespace, e.kind, subject(e.object), e.object.GetNamespace(), step)
			}
		}
	}
	err, _ := receive(t, "all events", everything)
	must(t, err)
	if diff := cmp.Diff(steps, seen, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("watching all namespaces (-want +have):\n%s", diff)
	}
}

// TestListsOfAllNamespacesAreTheSumOfEach finds what hides in no namespace and
// what shows in two.
func TestListsOfAllNamespacesAreTheSumOfEach(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	c := newClient(t, admin)
	withFindings(t, ns, "a", "b")
	for _, item := range c.get(t, findings(ns), "", jsonType).list(t).Items {
		if item.GetNamespace() != ns {
			t.Errorf("%s of namespace %s is among the findings of %s", item.GetName(), item.GetNamespace(), ns)
		}
	}
	// A name that begins like another namespace's is a trap for key prefixes.
	prefix := c.get(t, findings(ns[:len(ns)-1]), "", jsonType).list(t)
	for _, item := range prefix.Items {
		if item.GetNamespace() == ns {
			t.Errorf("%s of namespace %s is among the findings of %s", item.GetName(), ns, ns[:len(ns)-1])
		}
	}
	inAll := slices.DeleteFunc(c.get(t, findings(""), "", jsonType).list(t).Items, func(u unstructured.Unstructured) bool { return u.GetNamespace() != ns })
	if diff := cmp.Diff(c.get(t, findings(ns), "", jsonType).list(t).Items, inAll); diff != "" {
		t.Errorf("the namespace's part of all differs from its own list (-own +all):\n%s", diff)
	}
}

// grant makes a Role on findings and binds it to a user.
func grant(t *testing.T, ns, user string, verbs []string, resourceNames ...string) {
	t.Helper()
	_, err := kube.RbacV1().Roles(ns).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Rules:      []rbacv1.PolicyRule{{Verbs: verbs, APIGroups: []string{"srenix.io"}, Resources: []string{"findings"}, ResourceNames: resourceNames}},
	}, metav1.CreateOptions{})
	must(t, err)
	_, err = kube.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{})
	must(t, err)
}

func TestReadersOfOneNamespace(t *testing.T) {
	t.Parallel()
	ns, other := namespace(t), namespace(t)
	list := withFindings(t, ns, "a", "b")
	withFindings(t, other, "c")
	user := "reader-of-" + ns
	grant(t, ns, user, []string{"get", "list", "watch"})
	reader := newClient(t, userConfig(t, user))
	eventually(t, "the right to read", func(context.Context) (bool, string) {
		answered := reader.get(t, findings(ns), "", jsonType)
		return answered.code == http.StatusOK, string(answered.body)
	})
	initial := reader.watch(t, findings(ns), streamedList, jsonType).until(t, event.endsInitial)
	checkInitial(t, list, initial[:len(initial)-1])
	for name, path := range map[string]string{
		"all namespaces":           findings(""),
		"another namespace":        findings(other),
		"an object in another":     findings(other) + "/any",
		"another kind":             collection(groupPath, ns, "proposals"),
		"clusterfindings":          groupPath + "/clusterfindings",
		"all, by its own as field": findings("") + "?fieldSelector=metadata.namespace%3D" + ns,
	} {
		for verb, query := range map[string]string{"list": "", "watch": "watch=true&timeoutSeconds=5", "watch from 0": "watch=true&timeoutSeconds=5&resourceVersion=0"} {
			t.Run(fmt.Sprintf("%s of %s", verb, name), func(t *testing.T) {
				t.Parallel()
				checkRefusal(t, reader.get(t, path, query, jsonType), http.StatusForbidden, metav1.StatusReasonForbidden)
			})
		}
	}
}

// TestReadersOfOneName is about rights that name an object: they allow a list
// and a watch of exactly that name.
func TestReadersOfOneName(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	list := withFindings(t, ns, "a", "b")
	allowed, secret := list.Items[0], list.Items[1]
	user := "reader-of-one-in-" + ns
	grant(t, ns, user, []string{"get", "list", "watch"}, allowed.GetName())
	reader := newClient(t, userConfig(t, user))
	byName := selecting("fieldSelector", "metadata.name="+allowed.GetName())
	eventually(t, "the right to read", func(context.Context) (bool, string) {
		answered := reader.get(t, findings(ns)+"/"+allowed.GetName(), "", jsonType)
		return answered.code == http.StatusOK, string(answered.body)
	})
	if diff := cmp.Diff([]unstructured.Unstructured{allowed}, reader.get(t, findings(ns), byName, jsonType).list(t).Items); diff != "" {
		t.Errorf("listing the name (-want +have):\n%s", diff)
	}
	w := reader.watch(t, findings(ns), byName+"&"+selecting("resourceVersion", list.GetResourceVersion()), jsonType)
	must(t, updateRole(t.Context(), ns, subject(&secret), "other"))
	must(t, updateRole(t.Context(), ns, subject(&allowed), "other"))
	if e := w.next(t); e.kind != watch.Modified || e.object.GetName() != allowed.GetName() {
		t.Errorf("have %s of %s, want %s modified", e.kind, e.object.GetName(), allowed.GetName())
	}
	for name, path := range map[string]string{
		"everything":          findings(ns),
		"another name":        findings(ns) + "?" + selecting("fieldSelector", "metadata.name="+secret.GetName()),
		"all names but one":   findings(ns) + "?" + selecting("fieldSelector", "metadata.name!="+secret.GetName()),
		"another field":       findings(ns) + "?" + selecting("fieldSelector", "spec.subject.name="+subject(&allowed)),
		"its name everywhere": findings("") + "?" + byName,
		"another object":      findings(ns) + "/" + secret.GetName(),
	} {
		for verb, query := range map[string]string{"list": "", "watch": "watch=true&timeoutSeconds=5"} {
			t.Run(fmt.Sprintf("%s of %s", verb, name), func(t *testing.T) {
				t.Parallel()
				checkRefusal(t, reader.get(t, path, query, jsonType), http.StatusForbidden, metav1.StatusReasonForbidden)
			})
		}
	}
}
