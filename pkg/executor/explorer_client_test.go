// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// line is the way of one run to the API server. What it does not implement is
// not used, and would panic.
type line struct {
	client.Client
	*run
	// stops makes every request a place to stop at, also those that change nothing.
	stops bool
}

func (l *line) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if l.head != nil {
		return l.remembered(key, object)
	}
	_, constant := object.(*corev1.Namespace)
	given := l.ask(ctx, &request{
		verb: verbGet, resource: resourceOf(object), namespace: key.Namespace, name: key.Name, quiet: constant && !l.stops,
	})
	if given.err == nil {
		given.into(object)
	}
	return given.err
}

func (l *line) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if l.head != nil {
		list.(*opsv1alpha1.AuditEventList).Items = []opsv1alpha1.AuditEvent{*l.head.DeepCopy()}
		return nil
	}
	asked := (&client.ListOptions{}).ApplyOptions(options)
	// There are none in any scenario.
	_, constant := list.(*srenix.ClusterFindingList)
	given := l.ask(ctx, &request{
		verb: verbList, resource: resourceOf(list), selector: asked.LabelSelector, limit: asked.Limit, quiet: constant && !l.stops,
	})
	if given.err != nil {
		return given.err
	}
	for _, found := range given.items {
		switch list := list.(type) {
		case *opsv1alpha1.ApprovalList:
			list.Items = append(list.Items, *found.object.(*opsv1alpha1.Approval).DeepCopy())
		case *opsv1alpha1.AuditEventList:
			list.Items = append(list.Items, *found.object.(*opsv1alpha1.AuditEvent).DeepCopy())
		}
	}
	return nil
}

func (l *line) Create(ctx context.Context, object client.Object, _ ...client.CreateOption) error {
	if review, is := object.(*authorizationv1.SubjectAccessReview); is {
		attributes := review.Spec.ResourceAttributes
		given := l.ask(ctx, &request{verb: verbReview, resource: attributes.Resource, name: review.Spec.User, quiet: !l.stops})
		review.Status.Allowed = given.allow
		return given.err
	}
	return l.write(ctx, verbCreate, object)
}

func (l *line) write(ctx context.Context, what verb, object client.Object) error {
	given := l.ask(ctx, &request{
		verb: what, resource: resourceOf(object), namespace: object.GetNamespace(), name: object.GetName(),
		object: object.DeepCopyObject().(client.Object),
	})
	if given.err == nil {
		given.into(object)
	}
	return given.err
}

func (l *line) Delete(ctx context.Context, object client.Object, options ...client.DeleteOption) error {
	asked := (&client.DeleteOptions{}).ApplyOptions(options)
	return l.ask(ctx, &request{
		verb: verbDelete, resource: resourceOf(object), namespace: object.GetNamespace(), name: object.GetName(),
		preconditions: asked.Preconditions, dryRun: len(asked.DryRun) > 0,
	}).err
}

func (l *line) Patch(ctx context.Context, object client.Object, patch client.Patch, options ...client.PatchOption) error {
	data, err := patch.Data(object)
	if err != nil {
		return err
	}
	given := l.ask(ctx, &request{
		verb: verbPatch, resource: resourceOf(object), namespace: object.GetNamespace(), name: object.GetName(),
		patch: data, dryRun: len((&client.PatchOptions{}).ApplyOptions(options).DryRun) > 0,
	})
	if given.err == nil {
		given.into(object)
	}
	return given.err
}

func (l *line) Status() client.SubResourceWriter { return statusLine{line: l} }

// statusLine writes the status of Approvals.
type statusLine struct {
	client.SubResourceWriter
	line *line
}

func (s statusLine) Update(ctx context.Context, object client.Object, _ ...client.SubResourceUpdateOption) error {
	return s.line.write(ctx, verbStatus, object)
}

// cachedLine stands for the watch. What it says is looked up once more before
// anything is done, so that nothing is gained by stopping at it.
type cachedLine struct{ *line }

func (c cachedLine) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	given := c.ask(ctx, &request{verb: verbGet, resource: resourceOf(object), namespace: key.Namespace, name: key.Name, quiet: true})
	if given.err == nil {
		given.into(object)
	}
	return given.err
}

// remembered answers as a server would whose chain begins and ends with one event.
func (l *line) remembered(key client.ObjectKey, object client.Object) error {
	if key.Name != l.head.Name {
		return apierrors.NewNotFound(groupOf("auditevents"), key.Name)
	}
	l.head.DeepCopyInto(object.(*opsv1alpha1.AuditEvent))
	return nil
}

// remind lets a new chain know what the process that it stands for had seen last.
// What is left of a process between two runs is this and nothing else.
func (l *line) remind(ctx context.Context, chain *audit.Chain, head *opsv1alpha1.AuditEvent) {
	if head == nil {
		return
	}
	l.head = head
	defer func() { l.head = nil }()
	if err := chain.CheckHead(ctx); err != nil {
		panic(fmt.Sprintf("making a chain remember event %d at %s: %v", head.Spec.Index, l.clock.Now().Format(time.TimeOnly), err))
	}
}
