// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// controller is a kind that speaks for the pods that it has made, as long as it is there:
// what is being deleted itself may wait for them.
type controller struct {
	apiVersion, kind string
	subject          live.KindRef
	get              func(*live.View, live.Key) (metav1.Object, bool)
	// above is who speaks in the place of one that it has made.
	above *controller
	// below are what it makes that makes pods; nil where it makes those itself.
	below     func(view *live.View, uid types.UID) []types.UID
	belowKind live.KindRef
}

func of[T live.Object](apiVersion, kind string, input live.Kind[T]) controller {
	return controller{apiVersion: apiVersion, kind: kind, subject: input.Ref(), get: func(view *live.View, key live.Key) (metav1.Object, bool) {
		object, exists := input.Get(view, key)
		return object, exists
	}}
}

// over has a kind speak for what the controllers below it have made.
func over[T live.Object](c controller, below live.Kind[T]) controller {
	c.belowKind = below.Ref()
	c.below = func(view *live.View, uid types.UID) (uids []types.UID) {
		for _, object := range below.ByIndex(view, inputs.ByController, inputs.Controls(uid)) {
			uids = append(uids, object.GetUID())
		}
		return uids
	}
	return c
}

func under(c, above controller) controller {
	c.above = &above
	return c
}

func controllers() []controller {
	deployment := over(of("apps/v1", "Deployment", inputs.Deployments), inputs.ReplicaSets)
	cronJob := over(of("batch/v1", "CronJob", inputs.CronJobs), inputs.Jobs)
	return []controller{
		deployment, under(of("apps/v1", "ReplicaSet", inputs.ReplicaSets), deployment),
		of("apps/v1", "StatefulSet", inputs.StatefulSets), of("apps/v1", "DaemonSet", inputs.DaemonSets),
		cronJob, under(of("batch/v1", "Job", inputs.Jobs), cronJob),
	}
}

func controllerReads() (refs []live.KindRef) {
	for _, c := range controllers() {
		refs = append(refs, c.subject)
	}
	return refs
}

// claimed tells whether a controller of pods is there.
func claimed(view *live.View, namespace string, owner *metav1.OwnerReference) bool {
	return slices.ContainsFunc(controllers(), func(c controller) bool { return c.is(view, namespace, owner) })
}

// is tells whether an owner is of the kind, and there.
func (c controller) is(view *live.View, namespace string, owner *metav1.OwnerReference) bool {
	if owner.Kind != c.kind || owner.APIVersion != c.apiVersion {
		return false
	}
	object, exists := c.get(view, live.Key{Namespace: namespace, Name: owner.Name})
	return exists && object.GetUID() == owner.UID
}

// rules tell which pods of each controller do not go.
func rules() (all []analyzers.Rule) {
	for _, c := range controllers() {
		reads := []live.KindRef{held.Ref()}
		if c.below != nil {
			reads = append(reads, c.belowKind)
		}
		if c.above != nil {
			reads = append(reads, c.above.subject)
		}
		all = append(all, analyzers.Rule{Subject: c.subject, Reads: reads, Analyze: c.analyze})
	}
	return all
}

func (c controller) analyze(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	object, exists := c.get(view, subject)
	if !exists {
		return nil, nil
	}
	if c.above != nil {
		if owner := metav1.GetControllerOfNoCopy(object); owner != nil && c.above.is(view, subject.Namespace, owner) {
			return nil, nil
		}
	}
	makers := []types.UID{object.GetUID()}
	if c.below != nil {
		makers = c.below(view, object.GetUID())
	}
	var pods []*Held
	for _, maker := range makers {
		pods = append(pods, held.ByIndex(view, byController, string(maker))...)
	}
	reference := v1alpha1.ObjectReference{APIVersion: c.apiVersion, Kind: c.kind, Namespace: subject.Namespace, Name: subject.Name, UID: object.GetUID()}
	return together(view, reference, "", pods), nil
}
