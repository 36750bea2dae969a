// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// controllerOf is who makes another of a target that is deleted, or nil.
func controllerOf(target client.Object) *srenix.ObjectReference {
	owner := metav1.GetControllerOf(target)
	if owner == nil {
		return nil
	}
	return &srenix.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: target.GetNamespace(), Name: owner.Name, UID: owner.UID}
}

// unready tells what is not Ready yet of what comes in the place of the old pods, or
// nothing. An analyzer gives a new pod its grace, so that the finding is gone for that
// long, whatever becomes of the pod.
func (r *reconciler) unready(ctx context.Context, approval *opsv1alpha1.Approval) (string, error) {
	snapshot, record := &approval.Spec.Snapshot, approval.Status.Execution
	switch {
	case snapshot.ActionKind == srenix.ActionPatchDeploymentAnnotation:
		return r.rollingOut(ctx, snapshot.Target)
	case snapshot.ActionKind != srenix.ActionDeletePod || record == nil || record.Controller == nil:
		return "", nil
	}
	controller := *record.Controller
	if isOf(controller, "StatefulSet") {
		return r.ordinal(ctx, controller, snapshot.Target.Name)
	}
	if record.ReadyBefore == nil {
		return "", nil
	}
	ready, want, exists, err := r.count(ctx, controller)
	if err != nil || !exists {
		return "", err
	}
	// Others of its pods may not be Ready for reasons of their own, as on a dead node.
	return lacking(controller, ready, min(want, *record.ReadyBefore+1)), nil
}

// readyBefore is how many pods of the controller of a target are Ready, where it counts
// them and its pods have no names that stay; else nil.
func (r *reconciler) readyBefore(ctx context.Context, kind srenix.ActionKind, target client.Object) (*int32, error) {
	controller := controllerOf(target)
	if kind != srenix.ActionDeletePod || controller == nil {
		return nil, nil
	}
	ready, _, exists, err := r.count(ctx, *controller)
	if err != nil || !exists {
		return nil, err
	}
	return &ready, nil
}

// count tells how many pods of a ReplicaSet or a DaemonSet are Ready and how many it
// wants, and whether it is one and is there.
func (r *reconciler) count(ctx context.Context, controller srenix.ObjectReference) (ready, want int32, exists bool, err error) {
	switch {
	case isOf(controller, "ReplicaSet"):
		set := &appsv1.ReplicaSet{}
		exists, err = r.read(ctx, controller, set)
		return set.Status.ReadyReplicas, ptr.Deref(set.Spec.Replicas, 1), exists, err
	case isOf(controller, "DaemonSet"):
		set := &appsv1.DaemonSet{}
		exists, err = r.read(ctx, controller, set)
		return set.Status.NumberReady, set.Status.DesiredNumberScheduled, exists, err
	}
	return 0, 0, false, nil
}

func isOf(controller srenix.ObjectReference, kind string) bool {
	return controller.APIVersion == "apps/v1" && controller.Kind == kind
}

// rollingOut tells whether a Deployment is not through with its rollout, as kubectl
// rollout status does.
func (r *reconciler) rollingOut(ctx context.Context, target srenix.ObjectReference) (string, error) {
	deployment := &appsv1.Deployment{}
	if exists, err := r.read(ctx, target, deployment); err != nil || !exists {
		return "", err
	}
	want, status := ptr.Deref(deployment.Spec.Replicas, 1), &deployment.Status
	if status.ObservedGeneration < deployment.Generation || status.Replicas > status.UpdatedReplicas {
		return fmt.Sprintf("the rollout of Deployment %s is under way", target.Name), nil
	}
	return lacking(target, min(status.UpdatedReplicas, status.AvailableReplicas), want), nil
}

// ordinal tells whether the pod of a StatefulSet that has the name of the deleted one
// is there and Ready, unless the set wants it no more.
func (r *reconciler) ordinal(ctx context.Context, controller srenix.ObjectReference, name string) (string, error) {
	set := &appsv1.StatefulSet{}
	if exists, err := r.read(ctx, controller, set); err != nil || !exists {
		return "", err
	}
	first := int32(0)
	if set.Spec.Ordinals != nil {
		first = set.Spec.Ordinals.Start
	}
	// What is no number is no name that the set gives.
	own, err := strconv.ParseInt(name[strings.LastIndexByte(name, '-')+1:], 10, 32)
	if wanted := err == nil && own >= int64(first) && own < int64(first)+int64(ptr.Deref(set.Spec.Replicas, 1)); !wanted {
		return "", nil
	}
	pod := &corev1.Pod{}
	err = r.client.Get(ctx, client.ObjectKey{Namespace: controller.Namespace, Name: name}, pod)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("StatefulSet %s has not made another Pod %s", controller.Name, name), nil
	case err != nil:
		return "", fmt.Errorf("looking at the new Pod %s/%s: %w", controller.Namespace, name, err)
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
			return "", nil
		}
	}
	return fmt.Sprintf("the new Pod %s is not Ready", name), nil
}

// read reads the very object that is referred to, and tells whether it is there and
// stays.
func (r *reconciler) read(ctx context.Context, of srenix.ObjectReference, object client.Object) (bool, error) {
	err := r.client.Get(ctx, client.ObjectKey{Namespace: of.Namespace, Name: of.Name}, object)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking at %s %s/%s: %w", of.Kind, of.Namespace, of.Name, err)
	}
	return object.GetUID() == of.UID && object.GetDeletionTimestamp() == nil, nil
}

// lacking tells how many of a workload's pods are Ready, if that is not all.
func lacking(of srenix.ObjectReference, ready, want int32) string {
	if ready >= want {
		return ""
	}
	return fmt.Sprintf("%d of %d pods of %s %s are Ready", ready, want, of.Kind, of.Name)
}
