// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package why

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

// mostEvents is how many events are told, the newest.
const mostEvents = 5

// known is what is known of one finding or clusterfinding.
type known struct {
	// approval is what was asked about, or nil for a finding.
	approval *opsv1alpha1.Approval
	// object is the finding, with its spec and status, nil if that of the approval is
	// gone; namespace is empty for a clusterfinding.
	object          runtime.Object
	namespace, name string
	spec            *v1alpha1.FindingSpec
	status          *v1alpha1.FindingStatus

	proposals []*v1alpha1.Proposal
	// earlier are the newest approvals for the finding, or of what is proposed for it.
	earlier []*opsv1alpha1.Approval
	silence *opsv1alpha1.Silence
	// events of the subject, the newest first.
	events []*corev1.Event
	// unread are the errors of what could not be read, by resource.
	unread map[string]error
}

// read finds what the name is of, and then all that belongs to it.
func (o *Options) read(ctx context.Context) (*known, error) {
	found, err := o.find(ctx)
	if err != nil {
		return nil, err
	}
	found.unread = map[string]error{}
	if found.object == nil {
		return found, nil
	}
	for _, name := range found.status.Proposals {
		proposal, err := o.from.proposal(ctx, found.namespace, name)
		if err == nil {
			found.proposals = append(found.proposals, proposal)
		}
		found.leave(proposals, err)
	}
	found.earlier, err = o.earlier(ctx, found)
	found.leave("approvals", err)
	if name := found.status.SilencedBy; name != "" {
		silence, err := o.from.silence(ctx, found.namespace, name)
		if err == nil {
			found.silence = silence
		}
		found.leave("silences", err)
	}
	events, err := o.eventsOf(ctx, &found.spec.Subject)
	found.events = events
	found.leave("events", err)
	return found, nil
}

// earlier returns what was approved for a finding, or was the same as what is proposed
// for it. Who may not read approvals is told nothing of them.
func (o *Options) earlier(ctx context.Context, of *known) ([]*opsv1alpha1.Approval, error) {
	if of.namespace == "" {
		return nil, nil // Nothing is proposed for what is in no namespace.
	}
	var same []*opsv1alpha1.Approval
	err := o.from.eachApproval(ctx, of.namespace, func(approval *opsv1alpha1.Approval) {
		if of.approval != nil && of.approval.Name == approval.Name {
			return // It is told of by itself.
		}
		if approval.Spec.Snapshot.Finding.Name == of.name || slices.ContainsFunc(of.proposals, func(p *v1alpha1.Proposal) bool { return cli.SameRepair(approval, &p.Spec) }) {
			same = append(same, approval)
		}
	})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	return cli.Newest(same), err
}

// leave notes what could not be read. What has gone meanwhile is not there to be told.
func (k *known) leave(resource string, err error) {
	if err != nil && !apierrors.IsNotFound(err) {
		k.unread[resource] = err
	}
}

// find looks for the name among what it may be of.
func (o *Options) find(ctx context.Context) (*known, error) {
	var decisive error
	for i, resource := range o.searched() {
		found, err := o.get(ctx, resource)
		if err == nil {
			return found, nil
		}
		// Where the first cannot be read, nobody knows whether it is there. The others are
		// for convenience.
		if i == 0 && (!apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)) {
			decisive = fmt.Errorf("reading %s %q: %w", resource, o.name, err)
		}
	}
	if decisive != nil {
		return nil, cli.ExplainRead(decisive, "kubectl srenix why NAME", *o.Namespace)
	}
	return nil, o.unknown(ctx)
}

func (o *Options) get(ctx context.Context, resource string) (*known, error) {
	namespace, name := o.namespace, o.name
	switch resource {
	case clusterFindings:
		f, err := o.from.clusterFinding(ctx, name)
		if err != nil {
			return nil, err
		}
		return &known{object: f, name: name, spec: &f.Spec, status: &f.Status}, nil
	case proposals:
		proposal, err := o.from.proposal(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		namespace, name = proposal.Namespace, proposal.Spec.Finding.Name
	case approvals:
		approval, err := o.from.approval(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		found, err := o.finding(ctx, approval.Namespace, approval.Spec.Snapshot.Finding.Name)
		if apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
			found, err = &known{namespace: approval.Namespace, name: approval.Spec.Snapshot.Finding.Name}, nil
		}
		if err != nil {
			return nil, err
		}
		found.approval = approval
		return found, nil
	}
	return o.finding(ctx, namespace, name)
}

func (o *Options) finding(ctx context.Context, namespace, name string) (*known, error) {
	f, err := o.from.finding(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return &known{object: f, namespace: f.Namespace, name: name, spec: &f.Spec, status: &f.Status}, nil
}

// eventsOf returns the newest events about an object.
func (o *Options) eventsOf(ctx context.Context, object *v1alpha1.ObjectReference) ([]*corev1.Event, error) {
	events, err := o.from.eventsOf(ctx, object)
	slices.SortFunc(events, func(a, b *corev1.Event) int {
		return cmp.Or(lastSeen(b).Compare(lastSeen(a)), cmp.Compare(a.Name, b.Name))
	})
	return events[:min(len(events), mostEvents)], err
}

// lastSeen is when an event happened last, in whichever of its fields that is.
func lastSeen(event *corev1.Event) time.Time {
	switch {
	case event.Series != nil:
		return event.Series.LastObservedTime.Time
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp.Time
	case !event.EventTime.IsZero():
		return event.EventTime.Time
	}
	return event.CreationTimestamp.Time
}

// objects are the approval that was asked about, the finding, then its proposals, approvals, its silence, and the events of its
// subject.
func (k *known) objects() *metav1.List {
	list := &metav1.List{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}}
	add := func(object runtime.Object, kind schema.GroupVersionKind) {
		object.GetObjectKind().SetGroupVersionKind(kind)
		list.Items = append(list.Items, runtime.RawExtension{Object: object})
	}
	if k.approval != nil {
		add(k.approval, opsv1alpha1.SchemeGroupVersion.WithKind("Approval"))
	}
	if k.object == nil {
		return list
	}
	kind := "Finding"
	if k.namespace == "" {
		kind = "ClusterFinding"
	}
	add(k.object, v1alpha1.SchemeGroupVersion.WithKind(kind))
	for _, proposal := range k.proposals {
		add(proposal, v1alpha1.SchemeGroupVersion.WithKind("Proposal"))
	}
	for _, approval := range k.earlier {
		add(approval, opsv1alpha1.SchemeGroupVersion.WithKind("Approval"))
	}
	if k.silence != nil {
		add(k.silence, opsv1alpha1.SchemeGroupVersion.WithKind("Silence"))
	}
	for _, event := range k.events {
		add(event, corev1.SchemeGroupVersion.WithKind("Event"))
	}
	return list
}
