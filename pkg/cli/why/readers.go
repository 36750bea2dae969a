// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package why

import (
	"cmp"
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/offline"
)

// reader is where all that is told comes from. What is not there is NotFound.
type reader interface {
	finding(ctx context.Context, namespace, name string) (*v1alpha1.Finding, error)
	clusterFinding(ctx context.Context, name string) (*v1alpha1.ClusterFinding, error)
	proposal(ctx context.Context, namespace, name string) (*v1alpha1.Proposal, error)
	approval(ctx context.Context, namespace, name string) (*opsv1alpha1.Approval, error)
	silence(ctx context.Context, namespace, name string) (*opsv1alpha1.Silence, error)
	// eventsOf returns the events about an object. Those about one that is in no
	// namespace are in that called default (client-go, tools/record).
	eventsOf(ctx context.Context, object *v1alpha1.ObjectReference) ([]*corev1.Event, error)

	eachFinding(ctx context.Context, namespace string, do func(*v1alpha1.Finding)) error
	eachClusterFinding(ctx context.Context, do func(*v1alpha1.ClusterFinding)) error
	eachProposal(ctx context.Context, namespace string, do func(*v1alpha1.Proposal)) error
	eachApproval(ctx context.Context, namespace string, do func(*opsv1alpha1.Approval)) error
}

// cluster reads from the API.
type cluster struct {
	client versioned.Interface
	events corev1client.EventsGetter
}

func (c *cluster) finding(ctx context.Context, namespace, name string) (*v1alpha1.Finding, error) {
	return c.client.SrenixV1alpha1().Findings(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (c *cluster) clusterFinding(ctx context.Context, name string) (*v1alpha1.ClusterFinding, error) {
	return c.client.SrenixV1alpha1().ClusterFindings().Get(ctx, name, metav1.GetOptions{})
}

func (c *cluster) proposal(ctx context.Context, namespace, name string) (*v1alpha1.Proposal, error) {
	return c.client.SrenixV1alpha1().Proposals(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (c *cluster) approval(ctx context.Context, namespace, name string) (*opsv1alpha1.Approval, error) {
	return c.client.OpsV1alpha1().Approvals(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (c *cluster) silence(ctx context.Context, namespace, name string) (*opsv1alpha1.Silence, error) {
	return c.client.OpsV1alpha1().Silences(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (c *cluster) eventsOf(ctx context.Context, object *v1alpha1.ObjectReference) ([]*corev1.Event, error) {
	selector := fields.Set{"involvedObject.kind": object.Kind, "involvedObject.name": object.Name}
	if object.Namespace != "" && object.UID != "" {
		// Of a Node, kubelets give the name as the UID.
		selector["involvedObject.uid"] = string(object.UID)
	}
	var events []*corev1.Event
	err := cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		options.FieldSelector = selector.String()
		return c.events.Events(cmp.Or(object.Namespace, metav1.NamespaceDefault)).List(ctx, options)
	}, func(event *corev1.Event) { events = append(events, event) })
	return events, err
}

func (c *cluster) eachFinding(ctx context.Context, namespace string, do func(*v1alpha1.Finding)) error {
	return cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return c.client.SrenixV1alpha1().Findings(namespace).List(ctx, options)
	}, do)
}

func (c *cluster) eachClusterFinding(ctx context.Context, do func(*v1alpha1.ClusterFinding)) error {
	return cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return c.client.SrenixV1alpha1().ClusterFindings().List(ctx, options)
	}, do)
}

func (c *cluster) eachProposal(ctx context.Context, namespace string, do func(*v1alpha1.Proposal)) error {
	return cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return c.client.SrenixV1alpha1().Proposals(namespace).List(ctx, options)
	}, do)
}

func (c *cluster) eachApproval(ctx context.Context, namespace string, do func(*opsv1alpha1.Approval)) error {
	return cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return c.client.OpsV1alpha1().Approvals(namespace).List(ctx, options)
	}, do)
}

// inFiles reads from what files told. An empty namespace stands for all.
type inFiles struct{ cluster *offline.Cluster }

// pick returns the object of a name, or that there is none.
func pick[T live.Object](resource string, all []T, namespace, name string) (T, error) {
	for _, object := range all {
		if object.GetName() == name && (namespace == "" || object.GetNamespace() == namespace) {
			return object, nil
		}
	}
	var none T
	return none, apierrors.NewNotFound(v1alpha1.SchemeGroupVersion.WithResource(resource).GroupResource(), name)
}

func each[T live.Object](all []T, namespace string, do func(T)) error {
	for _, object := range all {
		if namespace == "" || object.GetNamespace() == namespace {
			do(object)
		}
	}
	return nil
}

func (f inFiles) finding(_ context.Context, namespace, name string) (*v1alpha1.Finding, error) {
	finding, err := pick(findings, f.cluster.Findings, namespace, name)
	return finding.DeepCopy(), err
}

func (f inFiles) clusterFinding(_ context.Context, name string) (*v1alpha1.ClusterFinding, error) {
	finding, err := pick(clusterFindings, f.cluster.ClusterFindings, "", name)
	return finding.DeepCopy(), err
}

func (f inFiles) proposal(_ context.Context, namespace, name string) (*v1alpha1.Proposal, error) {
	proposal, err := pick(proposals, f.cluster.Proposals, namespace, name)
	return proposal.DeepCopy(), err
}

// approval finds none, as eachApproval does.
func (f inFiles) approval(_ context.Context, _, name string) (*opsv1alpha1.Approval, error) {
	return nil, apierrors.NewNotFound(opsv1alpha1.Resource(approvals), name)
}

func (f inFiles) silence(_ context.Context, namespace, name string) (*opsv1alpha1.Silence, error) {
	silence, err := pick("silences", f.cluster.Silences, namespace, name)
	return silence.DeepCopy(), err
}

func (f inFiles) eventsOf(_ context.Context, object *v1alpha1.ObjectReference) ([]*corev1.Event, error) {
	return f.cluster.EventsOf(object)
}

func (f inFiles) eachFinding(_ context.Context, namespace string, do func(*v1alpha1.Finding)) error {
	return each(f.cluster.Findings, namespace, do)
}

func (f inFiles) eachClusterFinding(_ context.Context, do func(*v1alpha1.ClusterFinding)) error {
	return each(f.cluster.ClusterFindings, "", do)
}

func (f inFiles) eachProposal(_ context.Context, namespace string, do func(*v1alpha1.Proposal)) error {
	return each(f.cluster.Proposals, namespace, do)
}

// eachApproval finds none: files are not looked at for what srenix stores.
func (f inFiles) eachApproval(context.Context, string, func(*opsv1alpha1.Approval)) error { return nil }
