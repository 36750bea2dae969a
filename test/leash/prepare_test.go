// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/policy"
)

const (
	pollInterval = 50 * time.Millisecond
	deadline     = 90 * time.Second
)

// question is a case with its target as it is stored, and what is asked about it.
type question struct {
	row
	object client.Object
	input  *policy.Input
	send   request
}

// ask puts a case to the leash in CEL.
func (q *question) ask(ctx context.Context) (policy.Layer, error) {
	_, err := q.send(ctx, cluster.executor, q.object)
	if apierrors.IsAlreadyExists(err) {
		// Admission comes before storage, which has the object already.
		return "", nil
	}
	return refusal(err)
}

var (
	preparing sync.Once
	prepared  []*question
)

// questions are all cases, with their targets stored.
func questions(t *testing.T) []*question {
	t.Helper()
	preparing.Do(func() {
		if err := newNamespaces(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows := table()
		var all []*question
		for i := range rows {
			all = append(all, prepare(t, rows[i], fmt.Sprintf("case-%d", i)))
		}
		// Only now, for nothing can be created in it any more.
		if err := cluster.admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: terminating}}); err != nil {
			t.Fatal(err)
		}
		for _, q := range all {
			complete(t, q)
		}
		awaitLeash(t)
		prepared = all
	})
	if prepared == nil {
		t.Fatal("the cases could not be prepared")
	}
	return prepared
}

// prepare stores the target of a case.
func prepare(t *testing.T, of row, name string) *question {
	t.Helper()
	newTarget := func(namespace, name string) client.Object { return newObject(of.kind, namespace, name) }
	if of.target != nil {
		newTarget = of.target
	}
	object := newTarget(of.in, name)
	if of.is != nil {
		of.is(object)
	}
	// Some are there already, such as a CustomResourceDefinition.
	err := cluster.admin.Get(t.Context(), client.ObjectKeyFromObject(object), object)
	if apierrors.IsNotFound(err) {
		err = cluster.admin.Create(t.Context(), object)
	}
	if err != nil {
		t.Fatalf("%s: storing the target: %v", of.name, err)
	}
	if of.status != nil {
		of.status(object)
		if err := cluster.admin.Status().Update(t.Context(), object); err != nil {
			t.Fatalf("%s: storing the target's status: %v", of.name, err)
		}
	}
	if of.deleted {
		if err := cluster.admin.Delete(t.Context(), object, client.GracePeriodSeconds(3600)); err != nil {
			t.Fatalf("%s: deleting the target: %v", of.name, err)
		}
		if err := cluster.admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Fatalf("%s: reading the target: %v", of.name, err)
		}
	}
	return &question{row: of, object: object}
}

// complete gathers what the two leashes are asked: for a patch, the API server
// tells what it would store, as it tells the executor before it acts.
func complete(t *testing.T, q *question) {
	t.Helper()
	q.send = q.row.send
	if q.kind != "" {
		in := newInput(t, q.kind, q.object, q.propose)
		if q.knows != nil {
			q.knows(&in)
		}
		q.input = &in
		if q.send == nil {
			q.send = approved(q.object, &in.Proposal.Spec, start.Format(time.RFC3339), q.also...)
		}
	}
	stored, err := q.send(t.Context(), cluster.admin, q.object)
	switch {
	case apierrors.IsAlreadyExists(err):
	case q.connects:
		// It got as far as looking for the node, or for its address.
		if !apierrors.IsNotFound(err) && !apierrors.IsBadRequest(err) {
			t.Errorf("%s: %v, and there is nothing to connect to: %v", q.name, errNotAsked, err)
		}
	case err != nil:
		t.Errorf("%s: %v: %v", q.name, errNotAsked, err)
	case q.input != nil && policy.Patches(q.kind) && stored != nil:
		q.input.DryRun = whole(t, stored)
	}
}

// probe is a request that the leash refuses and that changes nothing.
func probe(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: open, Name: name}}
}

// awaitLeash waits until kube-apiserver enforces the leash on the executor.
func awaitLeash(t *testing.T) { awaitRefusal(t.Context(), t, "probe", "denied request: layer") }

// awaitRefusal waits until the creation of a ConfigMap is refused with these words.
func awaitRefusal(ctx context.Context, t *testing.T, name, words string) {
	t.Helper()
	eventually(ctx, t, fmt.Sprintf("the leash to refuse with %q", words), func(ctx context.Context) (bool, string) {
		err := cluster.executor.Create(ctx, probe(name), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), words), fmt.Sprint(err)
	})
}

// eventually polls a condition until it holds; detail tells what was seen last.
func eventually(ctx context.Context, t *testing.T, what string, condition func(ctx context.Context) (ok bool, detail string)) {
	t.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(ctx, pollInterval, deadline, true, func(ctx context.Context) (bool, error) {
		var ok bool
		ok, detail = condition(ctx)
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}
