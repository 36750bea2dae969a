// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// verb is what a request does.
type verb string

const (
	verbGet    verb = "get"
	verbList   verb = "list"
	verbCreate verb = "create"
	verbStatus verb = "update status of"
	verbDelete verb = "delete"
	verbPatch  verb = "patch"
	verbReview verb = "review access to"
)

// request is what a process asks of the API server, copied when it was asked.
type request struct {
	verb
	resource, namespace, name string
	// object is what is created, or whose status is updated.
	object        client.Object
	selector      labels.Selector
	limit         int64
	patch         []byte
	preconditions *metav1.Preconditions
	dryRun        bool

	// deadline is when the process gives up waiting; zero means never.
	deadline time.Time
	// quiet requests have no effect and an answer that nothing in the scenario can
	// change, so that nothing is gained by stopping at them.
	quiet bool
	// admits is the first request of a webhook that judges an Approval.
	admits bool
}

func (r *request) key() string { return keyFor(r.resource, r.namespace, r.name) }

// mutates tells whether the request can change what is stored.
func (r *request) mutates() bool {
	switch r.verb {
	case verbCreate, verbStatus, verbDelete, verbPatch:
		return !r.dryRun
	}
	return false
}

// acts tells whether it is what an approval is for.
func (r *request) acts() bool {
	return (r.verb == verbDelete || r.verb == verbPatch) && !r.dryRun
}

func (r *request) String() string {
	text := fmt.Sprintf("%s %s", r.verb, r.resource)
	if r.name != "" {
		text += " " + shortName(r.name)
	}
	switch object := r.object.(type) {
	case *opsv1alpha1.AuditEvent:
		text += fmt.Sprintf(" (%s for %s)", object.Spec.Type, shortName(object.Spec.References.Approval))
	case *opsv1alpha1.Approval:
		text += fmt.Sprintf(" (phase %q)", object.Status.Phase)
	}
	if r.dryRun {
		text += ", dry run"
	}
	return text
}

// shortName leaves out the zeros of audit events and most of a token's ID.
func shortName(name string) string {
	if rest, is := strings.CutPrefix(name, "approval-"); is && len(rest) > 6 {
		return "approval-" + rest[:6]
	}
	if short := strings.TrimLeft(name, "0"); len(name) == 20 {
		return "#" + short
	}
	return name
}

// answer is what the API server says.
type answer struct {
	err   error
	item  *item
	items []*item
	allow bool
	// mark is the same for answers that are the same.
	mark string
}

func refusal(err error) answer { return answer{err: err, mark: err.Error()} }

// into copies the answered object to where the process wants it: in its type, or
// whole.
func (a *answer) into(object client.Object) {
	if whole, is := object.(*unstructured.Unstructured); is {
		gvk := whole.GroupVersionKind()
		whole.Object = contentOf(a.item.object)
		whole.SetGroupVersionKind(gvk)
		return
	}
	reflect.ValueOf(object).Elem().Set(reflect.ValueOf(a.item.object.DeepCopyObject()).Elem())
}

// serve does what kube-apiserver does with a request: the answer, and the new
// version of the one object that it changed, if any.
func (r *request) serve(stored shelf, now time.Time, rights bool) (answer, *item) {
	group := groupOf(r.resource)
	have := stored.get(r.key())
	switch r.verb {
	case verbReview:
		return answer{allow: rights, mark: fmt.Sprint(rights)}, nil
	case verbList:
		return r.list(stored), nil
	case verbCreate:
		if have != nil {
			return refusal(apierrors.NewAlreadyExists(group, r.name)), nil
		}
		return changed(r.created(stored.last(r.key()), now))
	}
	if have == nil {
		return refusal(apierrors.NewNotFound(group, r.name)), nil
	}
	switch r.verb {
	case verbStatus:
		return r.updated(have)
	case verbDelete:
		return r.deleted(have, now)
	case verbPatch:
		return r.patched(have)
	}
	return answer{item: have, mark: have.version}, nil
}

func changed(next *item) (answer, *item) {
	return answer{item: next, mark: next.version}, next
}

func (r *request) list(stored shelf) answer {
	var found answer
	for _, candidate := range stored.all(r.resource) {
		if r.limit > 0 && int64(len(found.items)) == r.limit {
			break
		}
		if r.selector == nil || r.selector.Matches(labels.Set(candidate.object.GetLabels())) {
			found.items = append(found.items, candidate)
			found.mark += candidate.version + " "
		}
	}
	return found
}

func (r *request) created(last *item, now time.Time) *item {
	object := r.object.DeepCopyObject().(client.Object)
	switch {
	case object.GetUID() != "":
		// It went through admission, which sees the UID already.
	case last != nil:
		object.SetUID(types.UID(fmt.Sprintf("%s-%d", r.name, last.births+1)))
	default:
		object.SetUID(types.UID(r.name + "-1"))
	}
	object.SetCreationTimestamp(metav1.NewTime(now.UTC().Truncate(time.Second)))
	return newItem(last, r.key(), object)
}

func (r *request) updated(have *item) (answer, *item) {
	asked := r.object.(*opsv1alpha1.Approval)
	if asked.ResourceVersion != have.version || asked.UID != have.object.GetUID() {
		return refusal(apierrors.NewConflict(groupOf(r.resource), r.name, errors.New("the object has been modified"))), nil
	}
	next := have.object.DeepCopyObject().(*opsv1alpha1.Approval)
	asked.Status.DeepCopyInto(&next.Status)
	return changed(newItem(have, r.key(), next))
}

// deleted lets a Pod have its grace period: it stays, and can be deleted again,
// so that a second deletion is not hidden by the first.
func (r *request) deleted(have *item, now time.Time) (answer, *item) {
	if want := r.preconditions; want == nil || want.UID == nil || want.ResourceVersion == nil {
		return refusal(apierrors.NewBadRequest("a deletion without preconditions")), nil
	} else if *want.UID != have.object.GetUID() || *want.ResourceVersion != have.version {
		return refusal(apierrors.NewConflict(groupOf(r.resource), r.name, errors.New("a precondition failed"))), nil
	}
	if r.dryRun || have.object.GetDeletionTimestamp() != nil {
		return answer{item: have, mark: have.version}, nil
	}
	next := have.object.DeepCopyObject().(*corev1.Pod)
	next.DeletionTimestamp = &metav1.Time{Time: now.UTC().Truncate(time.Second)}
	return changed(newItem(have, r.key(), next))
}

func (r *request) patched(have *item) (answer, *item) {
	content := contentOf(have.object)
	var operations []operation
	if err := json.Unmarshal(r.patch, &operations); err != nil {
		panic(err)
	}
	for _, operation := range operations {
		if err := apply(content, operation); err != nil {
			return refusal(apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "patch", groupOf(r.resource), r.name, err.Error(), 0, false)), nil
		}
	}
	next := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, next); err != nil {
		panic(err)
	}
	next.Generation++
	if !r.dryRun {
		return changed(newItem(have, r.key(), next))
	}
	tried := newItem(have, r.key(), next)
	next.SetResourceVersion(have.version)
	return answer{item: tried, mark: tried.version}, nil
}

// contentOf is an object as JSON has it.
func contentOf(object client.Object) map[string]any {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		panic(err)
	}
	return content
}

// apply does one operation of RFC 6902, as far as the executor uses them.
func apply(content map[string]any, operation operation) error {
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	path := strings.Split(strings.TrimPrefix(operation.Path, "/"), "/")
	for i := range path {
		path[i] = unescape.Replace(path[i])
	}
	switch operation.Op {
	case "test":
		if have, _, _ := unstructured.NestedFieldNoCopy(content, path...); have != operation.Value {
			return fmt.Errorf("testing %s: it is %v", operation.Path, have)
		}
		return nil
	case "add":
		return unstructured.SetNestedField(content, operation.Value, path...)
	}
	panic("the explorer's API server does not know the operation " + operation.Op)
}
